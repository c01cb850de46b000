package pair

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"orchestrator/backend"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

var keyA, keyB = topology.Key{Host: "a", Port: 3306}, topology.Key{Host: "b", Port: 3306}

// draw reads a member from words: "term=3 newest=10 ro row bare down silent=2s has=1-50 io=no sql=no lagging"; it
// replicates from the other one.
func draw(t interface{ Fatalf(string, ...any) }, k, other topology.Key, words string) Member {
	m := Member{Key: k, Up: true, Flavor: topology.MySQL, GTID: true, LogBin: true, Format: "STATEMENT", Tables: true,
		Hold: backend.Hold{Term: 3}, Newest: 10, Executed: set("1-50")}
	c := Channel{Channel: topology.Channel{Source: other, IO: topology.Running, SQL: topology.Running,
		AutoPosition: true}}
	replicates := true
	for _, w := range strings.Fields(words) {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "term":
			fmt.Sscan(value, &m.Hold.Term)
		case "newest":
			fmt.Sscan(value, &m.Newest)
		case "id":
			m.ID = value
		case "ro":
			m.ReadOnly = true
		case "row":
			m.Format = "ROW"
		case "bare":
			m.Tables, m.Hold, m.Newest = false, backend.Hold{}, 0
		case "refused", "silent":
			m.Up, m.Failure, m.Err = false, topology.Refused, "refused"
			if name == "silent" {
				m.Failure, m.Err = topology.Timeout, "no answer"
			}
			d, err := time.ParseDuration(value)
			if err != nil {
				t.Fatalf("%q: %v", w, err)
			}
			m.Unreachable = d
		case "has":
			m.Executed = set(value)
		case "received":
			c.Received = set(value)
		case "io":
			c.IO = topology.Stopped
		case "sql":
			c.SQL = topology.Stopped
		case "alone":
			replicates = false
		case "blind":
			m.Blind, replicates = "privilege", false
		default:
			t.Fatalf("no word %q", w)
		}
	}
	if replicates && m.Up {
		c.Received = c.Received.Union(m.Executed)
		m.Channels = []Channel{c}
	}
	return m
}

func set(intervals string) gtid.Set {
	return gtid.MustParse("00000000-0000-0000-0000-000000000001:" + intervals)
}

func TestChoose(t *testing.T) {
	for _, c := range []struct{ name, a, b, known, want string }{
		{"a new pair: the first that is named", "", "", "", "a"},
		{"the one that serves keeps its place", "", "", "previous=b", "b"},
		{"also when the other one has come back, and is equal", "", "has=1-50", "previous=b", "b"},
		{"a daemon that starts takes what the leader serves", "", "", "leader=b", "b"},
		{"what the leader serves wins over what we chose", "", "", "previous=a leader=b", "b"},
		{"what the leader serves, and is out of reach from here: nobody", "silent=9s", "", "leader=a", "nobody"},
		{"the serving one refuses, and the other has everything: at once", "refused=1ms", "",
			"previous=a term=3 newest=10", "b"},
		{"the serving one is silent: it goes on serving for a while", "silent=300ms id=x", "", "previous=a", "a"},
		{"and when the leader serves it, too", "silent=300ms id=x", "", "previous=a leader=a", "a"},
		{"the leader has moved on meanwhile", "silent=300ms id=x", "", "previous=a leader=b", "b"},
		{"nobody looked for a while, and then it is silent", "silent=300ms id=x", "", "previous=a away", "nobody"},
		{"the one that served in a former life has to answer first", "silent=300ms", "", "previous=a", "nobody"},
		{"the serving one has been silent for long", "silent=1s", "", "previous=a", "b"},
		{"the other lacks what we remember: not at once", "refused=300ms", "newest=9", "previous=a newest=10",
			"nobody"},
		{"the other lacks what we remember, and is all that is left", "refused=1s", "newest=9", "previous=a newest=10",
			"b"},
		{"an older term is stale", "refused=300ms", "term=2", "previous=a term=3", "nobody"},
		{"all that is left, but the leader reaches the better one", "silent=9s", "newest=9",
			"previous=b newest=10 leader=a", "nobody"},
		{"relay logs are applied first", "refused=300ms", "received=1-60", "previous=a", "nobody"},
		{"relay logs that no applier applies don't block for good", "refused=1s", "received=1-60 sql=no", "previous=a",
			"b"},
		{"relay logs of a dead passive don't take the place from the active", "received=1-60", "refused=1ms",
			"previous=a", "a"},
		{"the stale one returns: it waits, although it is named first", "newest=5 has=1-20", "", "previous=b newest=10",
			"b"},
		{"and when nobody remembers anything", "newest=5 has=1-20", "", "", "b"},
		{"read-only is unfit: so a switch is made by hand", "ro", "", "previous=a", "b"},
		{"which waits until the other has it all", "ro has=1-51", "", "previous=a", "nobody"},
		{"row format is unfit", "row", "", "previous=a", "b"},
		{"row format is unfit for ever", "row", "refused=1h", "previous=b", "nobody"},
		{"without tables is unfit", "bare", "", "previous=a", "b"},
		{"without tables, and all that is left of what we remember", "bare", "refused=1h", "term=3", "nobody"},
		{"a new pair, without tables", "bare has=1-50", "bare", "", "a"},
		{"a new pair, of which one can't be reached: not at once", "bare", "refused=1ms", "", "nobody"},
		{"a new pair, of which one was never there", "bare", "refused=1h", "", "a"},
		{"both lost what we remember: nothing better is left", "newest=5", "newest=5", "previous=a newest=10", "a"},
		{"the active restarted without its last writes, which the other has", "newest=9 has=1-49", "",
			"previous=a newest=10", "b"},
		{"broken replication: the newer one", "has=1-50 io=no", "has=1-60 newest=20 io=no", "", "b"},
		{"parted: each has what the other lacks: the newer one, not nobody", "has=1-50 io=no",
			"has=1-40:60 newest=9 io=no", "", "a"},
		{"parted, and equally new: the same on all daemons", "has=1-50 io=no", "has=1-40:60 io=no", "", "a"},
		{"catching up is waited for", "ro", "has=1-40 newest=8", "previous=a", "nobody"},
		{"blind for replication: the records tell", "ro", "blind", "previous=a", "b"},
		{"blind for replication, and behind", "ro", "blind newest=9", "previous=a", "nobody"},
		{"nobody looked for a while: what served before has nothing to prove, if the other one has no more", "", "",
			"previous=a away", "a"},
		{"nobody looked for a while: the other one has served meanwhile", "has=1-50 io=no", "has=1-60 newest=20 io=no",
			"previous=a term=3 newest=10 away", "b"},
		{"but for whoever did look it goes on serving", "has=1-50 io=no", "has=1-60 newest=20 io=no",
			"previous=a term=3 newest=10", "a"},
		{"nobody looked for a while, and the leader says where it is", "has=1-50 io=no", "has=1-60 newest=20 io=no",
			"previous=b leader=a away", "a"},
		{"nobody looked for a while: it catches up, and is waited for", "has=1-50", "ro has=1-60 newest=20",
			"previous=a away", "nobody"},
		{"both down", "refused=1h", "silent=1h", "previous=a", "nobody"},
	} {
		t.Run(c.name, func(t *testing.T) {
			members := []Member{draw(t, keyA, keyB, c.a), draw(t, keyB, keyA, c.b)}
			got := Choose(members, known(t, c.known))
			name := got.Serve.Host
			if got.Serve.IsZero() {
				name = "nobody"
			}
			if name != c.want {
				t.Errorf("serves %s, want %s; why: %s; unfit: %v", name, c.want, got.Why, got.Unfit)
			}
			if got.Why == "" {
				t.Error("no reason")
			}
		})
	}
}

func TestBehind(t *testing.T) {
	for _, c := range []struct{ name, a, b, identity, want string }{
		{"the one that has it", "x", "y", "y", "b"},
		{"no identity, no member", "x", "", "", ""},
		{"a stranger is none of those that are known", "x", "y", "z", ""},
		{"who never answered here is who is left", "x", "", "z", "b"},
		{"of two who never answered it may be either", "", "", "z", ""},
		{"but not where the other has it", "", "y", "y", "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Behind([]Member{{Key: keyA, ID: c.a}, {Key: keyB, ID: c.b}}, c.identity); got.Host != c.want {
				t.Errorf("got %v, want %q", got, c.want)
			}
		})
	}
}

func known(t *testing.T, words string) (k Known) {
	for _, w := range strings.Fields(words) {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "term":
			fmt.Sscan(value, &k.Term)
		case "newest":
			fmt.Sscan(value, &k.Newest)
		case "previous":
			k.Previous = topology.Key{Host: value, Port: 3306}
		case "away":
			k.Away = true
		case "leader":
			k.Leader = topology.Key{Host: value, Port: 3306}
		default:
			t.Fatalf("no word %q", w)
		}
	}
	return k
}

func TestOneMemberAlone(t *testing.T) {
	m := draw(t, keyA, keyB, "newest=1")
	if got := Choose([]Member{m}, Known{Newest: 10}); got.Serve != keyA {
		t.Errorf("the only member is not served: %s", got.Why)
	}
}

// What must hold of every choice, in random worlds.
func TestChooseNever(t *testing.T) {
	words := []string{"", "ro", "row", "bare", "refused=1ms", "refused=2s", "silent=100ms", "silent=2s", "newest=5",
		"newest=20", "term=2", "term=4",
		"has=1-40", "has=1-60", "has=1-40:60-70", "received=1-90", "io=no", "sql=no", "alone", "blind"}
	rapid.Check(t, func(r *rapid.T) {
		member := func(k, other topology.Key) Member {
			return draw(r, k, other, strings.Join(rapid.SliceOfN(rapid.SampledFrom(words), 0, 4).Draw(r, k.Host), " "))
		}
		members := []Member{member(keyA, keyB), member(keyB, keyA)}
		keys := []topology.Key{{}, keyA, keyB}
		k := Known{
			Term:     rapid.Int64Range(0, 4).Draw(r, "term"),
			Newest:   rapid.Int64Range(0, 20).Draw(r, "newest"),
			Previous: rapid.SampledFrom(keys).Draw(r, "previous"),
			Leader:   rapid.SampledFrom(keys).Draw(r, "leader"),
			Away:     rapid.Bool().Draw(r, "away"),
		}
		got := Choose(members, k)
		if again := Choose(members, Known{k.Term, k.Newest, got.Serve, k.Leader, false}); !got.Serve.IsZero() &&
			again.Serve != got.Serve {
			r.Fatalf("%v was chosen (%s), and loses its place at the next look: %v, %s", got.Serve, got.Why,
				again.Serve, again.Why)
		}
		if got.Serve.IsZero() {
			for _, m := range members {
				if got.Unfit[m.Key] == "" && k.Leader.IsZero() && (k.Previous.IsZero() || k.Previous == m.Key) {
					r.Fatalf("nobody serves, and %v is fit: %s", m.Key, got.Why)
				}
			}
			return
		}
		m := find(members, got.Serve)
		other := members[0]
		if other.Key == m.Key {
			other = members[1]
		}
		switch {
		case !m.Up || m.ReadOnly || m.Format != "STATEMENT":
			r.Fatalf("%+v serves", m)
		case !m.Tables && (k.Term > 0 || k.Newest > 0 || other.Up && other.Tables):
			r.Fatalf("a member without tables serves: %s", got.Why)
		case !k.Leader.IsZero() && k.Leader != m.Key:
			r.Fatalf("not what the leader serves")
		case (m.Hold.Term < k.Term || m.Newest < k.Newest) && other.Up && farther(other, *m) > 0:
			r.Fatalf("a stale member serves while a better one answers: %s", got.Why)
		case (m.Hold.Term < k.Term || m.Newest < k.Newest) && !other.Up && other.Unreachable < Grace:
			r.Fatalf("a stale member serves although the other was there a moment ago: %s", got.Why)
		case k.Away && k.Leader.IsZero() && other.Up && farther(other, *m) > 0:
			r.Fatalf("nobody looked for a while, and the member that has less serves: %s", got.Why)
		case k.Previous == other.Key && other.Up && got.Unfit[other.Key] == "" && k.Leader.IsZero():
			r.Fatalf("the fit serving member lost its place: %s", got.Why)
		}
	})
}
