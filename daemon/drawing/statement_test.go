package drawing

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// rich has every kind of statement.
const rich = `
off "work on the network"
thresholds lag=1m
db1 down=timeout since=9s
  db2 io=no
  db3 io=connecting ioerr=2003
policy recover_primary anti_flap=10m drain_timeout=10s
request recover db1 by=ann reason="it must not wait"
request recover db3 id=before ended
episode primary_failover db1 candidate=db2 touched=db2+db3 request=recover/db1:3306 why="it is ahead"
episode primary_failover db9 request=before candidate=db1 promoted=10m closed=9m acknowledged=8m comment=seen
episode primary_failover db3 touched=db1+db2 unreached="db1 db2" events_off="db1 3s 9s" lost="db9 error 1236" failing="db1 2 error 3857"
claim db1 locks=db2 alive=db2+db3 term=7
  peer b reaches
  peer c silent refused

shop1
  shop2 down
    shop3
episode intermediate_failover shop2 blocked="no server is left"
`

func read(t *testing.T, text string) Saved {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Each case says what must be in the JSON of what was read.
func TestStatementSays(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"recoveries are off", "off \"power\"\ndb1", `"off": "power"`},
		{"thresholds", "thresholds silence=5s", `"silence": 5000000000`},
		{"what is not said of them is as usual", "thresholds silence=5s", `"lag": 10000000000`},
		{"a policy allows what it says", "db1\npolicy recover_primary anti_flap=1m",
			`"recover_primary": true, "recover_intermediate": false`},
		{"it is of the cluster above", "db1\n  db2\ndb8\npolicy\ndb9", `"cluster": "db8:3306", "policy"`},
		{"or of another", "db1\ndb8\npolicy of=db1", `"cluster": "db1:3306", "policy"`},
		{"a request", "db1\nrequest recover db1 by=ann at=3s",
			`"requests": [ { "id": "recover/db1:3306", "kind": "recover", "server": "db1:3306", "by": "ann", "at": "2026-01-01T00:00:07Z" } ]`},
		{"an episode has just begun", "db1\nepisode primary_failover db1",
			`"code": "DeadPrimary", "opened": "2026-01-01T00:00:10Z", "stage": "suspected" }`},
		{"one with servers that were touched is committed", "db1\n  db2\nepisode primary_failover db1 touched=db2",
			`"stage": "committed"`},
		{"one with a candidate has chosen", "db1\n  db2\nepisode primary_failover db1 candidate=db2",
			`"stage": "chosen"`},
		{"one that has promoted goes on", "db1\n  db2\nepisode primary_failover db1 candidate=db2 promoted=3s",
			`"stage": "promoted"`},
		{"one that is closed has ended", "db1\n  db2\nepisode primary_failover db1 candidate=db2 promoted=3s closed=1s",
			`"outcome": "db2:3306 replaces db1:3306"`},
		{"an episode knows its request", "db1\nepisode primary_failover db1 request=r\nrequest recover db1 id=r",
			`"request": { "id": "r"`},
		{"one that ended is known to the episode alone", "db1\nrequest recover db1 ended\nepisode primary_failover " +
			"db1 request=recover/db1:3306", `"clusters": [ { "cluster": "db1:3306", "episodes"`},
		{"a claim is for the episode of its server", "db1\nepisode primary_failover db1 id=e7\nclaim db1",
			`"work": "e7"`},
		{"a peer agrees", "db1\nclaim db1 term=7\n  peer b",
			`"name": "b", "answered": true, "status": { "id": "b#1", "name": "b", "leading": false, "leader": "a#1", "term": 7, "face": "backend" }`},
		{"one that leads knows itself as the leader", "db1\nclaim db1\n  peer b leading",
			`"leading": true, "leader": "b#1"`},
		{"one that is silent said nothing", "db1\nclaim db1\n  peer b silent",
			`"peers": [ { "name": "b", "answered": false } ]`},
		{"a server of that name", "peer:3306\n  off:3306", `"key": "peer:3306"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Join(strings.Fields(asJSON(read(t, c.text))), " ")
			if !strings.Contains(got, c.want) {
				t.Errorf("%s\nis %s\nwant %s", c.text, got, c.want)
			}
		})
	}
}

func TestStatementRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"off":                    "line 1: off needs more: off REASON",
		"off a b":                `line 1: off: want one reason: off "work on the network"`,
		"off a\noff b":           "line 2: off: it was already said",
		"thresholds\nthresholds": "line 2: thresholds: they were already said",
		"thresholds lag=long":    `lag=long: "long" is no time`,

		"db1\npolicy\npolicy":     "line 3: policy: that of cluster db1:3306 was already said",
		"policy":                  "it belongs to no cluster: write it below the servers of one, or say of=CLUSTER",
		"db1\npolicy recover":     `"recover" is not known here; want named, recover_primary, recover_intermediate, drain_timeout=10s`,
		"db1\npolicy max_lag":     `"max_lag" needs a value: max_lag=30s`,
		"db1\npolicy named=maybe": `named=maybe: "maybe" is not known here (want named=yes|no)`,
		"db1\npolicy named named": "named was already said",

		"db1\nrequest recover":                                    "line 2: request needs more: request KIND SERVER",
		"db1\nrequest rest db1":                                   `"rest" is no kind of request; want one of [recover`,
		"db1\nrequest recover !":                                  "want host or host:port",
		"db1\nrequest recover db1 id=":                            "id= is empty",
		"db1\nrequest recover db1 id=a\nrequest recover db1 id=a": `line 3: request: "a" was already said`,
		"db1\nrequest recover db1 who=ann":                        `"who=ann" is not known here; want id=ID, by=NAME`,
		"request recover db1":                                     "it belongs to no cluster",

		"db1\nepisode failover db1":                                       `"failover" is no kind of episode; want one of [primary_failover intermediate_failover`,
		"db1\nepisode primary_failover !":                                 "want host or host:port",
		"episode primary_failover db1":                                    "it belongs to no cluster",
		"db1\nepisode primary_failover db1 touched=a+":                    "want host or host:port",
		"db1\nepisode primary_failover db1 candidate=":                    "want host or host:port",
		"db1\nepisode primary_failover db1 lost=a/b":                      "want host or host:port",
		"db1\nepisode primary_failover db1 comment=seen":                  "goes with acknowledged=",
		"db1\nepisode primary_failover db1 \"unreached=! db2\"":           "want host or host:port",
		"db1\nepisode primary_failover db1 \"unreached=db2 !\"":           "want host or host:port",
		"db1\nepisode primary_failover db1 \"events_off=! 1s\"":           "want host or host:port",
		"db1\nepisode primary_failover db1 \"failing=! 2 why\"":           "want host or host:port",
		"db1\nepisode primary_failover db1 \"failing=db2 two why\"":       "is no such number",
		"db1\nepisode primary_failover db1 stage=begun":                   "there is no such stage",
		"db1\nepisode primary_failover db1 promoted=1s":                   "it has no candidate",
		"db1\nepisode primary_failover db1 request=r":                     `request=r: no line tells of this request`,
		"db1\nepisode primary_failover db1\nepisode primary_failover db1": `line 3: episode: "primary_failover/db1:3306" was already said`,

		"claim db1":                               "it belongs to no cluster",
		"db1\nclaim !":                            "want host or host:port",
		"db1\nclaim db1 term=-1":                  "is no such number",
		"db1\npeer b":                             "line 2: a peer must stand below the claim that it answers",
		"db1\nclaim db1\n  peer b asleep":         `line 2: claim: peer on line 3: "asleep" is not known here; want silent, why=REASON`,
		"db1\nclaim db1\n  peer b silent=perhaps": "is not known here",
	} {
		if s, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want an error with %q", text, s, err, want)
		}
	}
	defer func() {
		if said := recover(); said == nil || !strings.Contains(said.(string), "there is more in it than servers") {
			t.Errorf("a snapshot with statements: %v", said)
		}
	}()
	MustParse(rich)
}

func TestStatementsArePrinted(t *testing.T) {
	const want = `off "work on the network"
thresholds lag=1m
db1        mysql=8.4.0  rw  down=timeout since=9s  # primary
  db2      mysql=8.4.0  ro  io=no
  db3      mysql=8.4.0  ro  ioerr=2003
policy recover_primary drain_timeout=10s anti_flap=10m
request recover db1 by=ann reason="it must not wait"
request recover db3 id=before ended
episode primary_failover db1 request=recover/db1:3306 touched=db2+db3 candidate=db2 why="it is ahead"
episode primary_failover db9 request=before candidate=db1 promoted=10m closed=9m acknowledged=8m comment=seen
episode primary_failover db3 touched=db1+db2 unreached="db1 db2" events_off="db1 3s 9s" lost="db9 error 1236" failing="db1 2 error 3857"
claim db1 locks=db2 alive=db2+db3 term=7
  peer b reaches
  peer c silent refused

shop1      mysql=8.4.0  rw  # primary
  shop2    mysql=8.4.0  ro  down
    shop3  mysql=8.4.0  ro
episode intermediate_failover shop2 blocked="no server is left"
`
	if got := Print(read(t, rich)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Whatever a daemon knew is printed so that it reads back as the same.
func TestAnySavedIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySaved(t)
		s.Snapshot = drawable(s.Snapshot)
		for i, v := range s.Servers { // what a drawing leaves out of the further channels of a server
			s.Servers[i] = plain(topology.Snapshot{Servers: []topology.Server{v}}).Servers[0]
		}
		text := Print(s)
		back, err := Parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		back.Snapshot = plain(back.Snapshot)
		if want, got := asJSON(s), asJSON(back); want != got {
			t.Fatalf("%s\nis read back as\n%s\ndrawn as\n%s", want, got, text)
		}
		if again := Print(back); again != text {
			t.Fatalf("drawn\n%s\nand again\n%s", text, again)
		}
	})
}

func anySaved(t *rapid.T) Saved {
	s := Saved{Snapshot: anySnapshot(t)}
	some := func(name string) bool { return rapid.Bool().Draw(t, name) }
	words := rapid.SampledFrom([]string{"", "x", "two words", "none", `a "quoted" one`, "ünï\n", "#", "a=b"})
	word := func(name string) string { return words.Draw(t, name) }
	ago := func(name string) time.Time {
		return s.At.Add(time.Duration(rapid.Int64Range(-100000, 1000000).Draw(t, name)) * -time.Millisecond).UTC()
	}
	hosts := rapid.SampledFrom([]string{"db1", "db2", "web1", "off", "none", "x-3"})
	key := func(name string) topology.Key {
		return topology.Key{Host: hosts.Draw(t, name), Port: rapid.IntRange(3306, 3307).Draw(t, "port")}
	}
	keys := func(name string) (out []topology.Key) {
		for range rapid.IntRange(0, 2).Draw(t, name) {
			out = append(out, key(name))
		}
		return out
	}
	texts := func(name string) (out []string) {
		for range rapid.IntRange(0, 2).Draw(t, name) {
			out = append(out, "x"+word(name))
		}
		return out
	}
	standing := func(name string) plan.PeerStatus {
		return plan.PeerStatus{ID: word("id"), Name: name, Leading: some("leading"), Leader: word("leader"),
			Term: rapid.Int64Range(0, 9).Draw(t, "term"), Identity: word("identity"), Left: texts("farewells"),
			Excused: texts("excused")}
	}
	s.Off = word("off")
	if some("thresholds") {
		s.Thresholds = &analysis.Thresholds{Lag: time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "lag")),
			Silence: time.Second}
	}
	names := append(s.Snapshot.Clusters(), "gone")
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		c := Cluster{Cluster: name}
		if name == "" {
			continue
		}
		if some("policy") {
			c.Policy = &plan.Policy{Named: some("named"), RecoverPrimary: some("primary"), AllowErrant: some("errant"),
				MaxLag: time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "max lag"))}
		}
		if some("request") {
			c.Requests = []plan.Request{{ID: "r" + word("id"), Kind: plan.Recover, Server: key("server"),
				Candidate: key("candidate"), By: word("by"),
				Reason: word("reason"), At: ago("at")}}
		}
		for n := range rapid.IntRange(0, 3).Draw(t, "episodes") {
			e := plan.Episode{ID: string(rune('a'+n)) + word("id"), Kind: rapid.SampledFrom(plan.EpisodeKinds()).Draw(t,
				"kind"),
				Cluster: name, Failed: key("failed"), FailedUUID: word("uuid"), Code: analysis.Code(word("code")),
				Evidence: texts("evidence"),
				Opened:   ago("opened"), Touched: keys("touched"), Why: word("why"), Stage: plan.Suspected,
				Challenged: ago("challenged")}
			if some("candidate") {
				e.Candidate, e.Stage, e.DrainSince, e.Donor = key("candidate"), plan.Chosen, ago("drain"), key("donor")
				e.Opening = keys("opening")
				if some("promoted") && e.Kind.Promotes() {
					e.Promoted, e.Stage, e.Unfinished, e.Fenced = ago("promoted"), plan.Promoted, some("unfinished"),
						ago("fenced")
					e.Unacknowledged = some("unacknowledged")
					e.Had, e.Committed = rapid.Uint64().Draw(t, "had"), ago("committed")
				}
			}
			if some("closed") {
				e.Closed, e.Outcome = ago("closed"), "o"+word("outcome")
				if e.Stage == plan.Promoted {
					e.Stage = plan.Ended
				} else {
					e.Left = keys("left")
				}
			} else {
				e.Blocked = word("blocked")
			}
			if some("lost") {
				e.Lost = []plan.Lost{{Key: key("lost"), Why: word("why")}}
				e.Abandoned = keys("abandoned")
			}
			if some("acknowledged") {
				e.Acknowledged = &plan.Acknowledgement{By: word("by"), Comment: word("comment"),
					At: ago("acknowledged")}
			}
			if some("asked") {
				e.Request = &plan.Request{ID: "q" + e.ID, Kind: plan.Recover, Server: e.Failed, At: ago("at")}
			}
			if err := e.Check(); err != nil {
				t.Fatalf("the test makes an impossible episode: %v", err)
			}
			c.Episodes = append(c.Episodes, e)
		}
		for range rapid.IntRange(0, 2).Draw(t, "claims") {
			claim := plan.Claim{Work: word("work"), Failed: key("failed"), Promoted: some("promoted"),
				Self:  standing(word("name")),
				Locks: plan.Locks{Held: keys("held"), Alive: keys("alive")}, Transfer: word("transfer")}
			for range rapid.IntRange(0, 2).Draw(t, "peers") {
				claim.Peers = append(claim.Peers, plan.Peer{Name: word("peer"), Answered: some("answered"),
					Why:     word("why"),
					Refused: some("refused"), Reaches: some("reaches"), PeerStatus: standing(word("name"))})
			}
			c.Claims = append(c.Claims, claim)
		}
		if c.Policy != nil || len(c.Requests)+len(c.Episodes)+len(c.Claims) > 0 {
			s.ByCluster = append(s.ByCluster, c)
		}
	}
	return s
}

func TestReservedWords(t *testing.T) {
	for _, k := range statementKinds {
		if !slices.Contains(reserved, k.word) {
			t.Errorf("a server of the name %s would be printed as a statement", k.word)
		}
	}
}

// A field that plan adds must get a word here too, or a drawing would lose it.
func TestStatementsHaveAllFields(t *testing.T) {
	other := map[string]string{ // what JSON has is in the arguments, in lines of its own, or under another name
		"kind": "", "cluster": "", "failed": "", "server": "", "self": "", "peers": "", "locks": "", "status": "",
		"failed_uuid": "uuid", "witnesses": "touched", "answered": "silent", "farewells": "farewell",
		"face": "identity",
	}
	for _, c := range []struct {
		of   any
		have []string
	}{
		{analysis.Thresholds{}, names(thresholdFields)},
		{plan.Policy{}, names(policyFields)},
		{plan.Request{}, names(requestFields)},
		{plan.Episode{}, names(episodeFields)},
		{plan.Claim{}, names(claimFields)},
		{plan.Peer{}, append(names(peerFields), "name")},
		{plan.PeerStatus{}, names(claimFields)},
	} {
		for _, field := range jsonFields(reflect.TypeOf(c.of)) {
			word, named := other[field]
			if !named {
				word = field
			}
			if word != "" && !slices.Contains(c.have, word) {
				t.Errorf("%T: no word for %q", c.of, field)
			}
		}
	}
}
