package drawing

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

func server(t *testing.T, drawing, host string) topology.Server {
	t.Helper()
	s, err := Parse(drawing)
	if err != nil {
		t.Fatal(err)
	}
	v := s.Server(topology.Key{Host: host, Port: 3306})
	if v == nil {
		t.Fatalf("no %s in\n%s", host, drawing)
	}
	return *v
}

// Each case says what must be in the JSON of a server.
func TestDrawingSays(t *testing.T) {
	uuid := func(host string) string { return UUID(topology.Key{Host: host, Port: 3306}) }
	for _, c := range []struct{ name, drawing, host, want string }{
		{"a primary takes writes", "db1", "db1",
			`"read_only":false,"super_read_only":false,"log_bin":true,"log_replica_updates":true,"binlog_format":"ROW","gtid":true,"executed":"` + uuid("db1") + `:1-100"`},
		{"a replica does not, and has all", "db1\n  db2", "db2", `"read_only":true`},
		{"a replica follows the line above", "db1\n  db2\n      db3", "db3", `"source":"db2:3306"`},
		{"and not its sister", "db1\n  db2\n  db3", "db3", `"source":"db1:3306"`},
		{"indentation in between hangs below what is less indented", "db1\n    db2\n  db3", "db3",
			`"source":"db1:3306"`},
		{"its threads run", "db1\n  db2", "db2", `"io":"yes","sql":"yes","auto_position":true,"received":"` +
			uuid("db1") + `:1-100","lag_seconds":0`},
		{"it knows its source", "db1\n  db2", "db2", `"source_uuid":"` + uuid("db1") + `","source_server_id":1`},
		{"it is registered there", "db1\n  db2\n  db3", "db1", `"registered":["db2:3306","db3:3306"]`},
		{"down", "db1 down", "db1",
			`"answered":"2026-01-01T00:00:04Z","failure":"refused","error":"connection refused","failing_since":"2026-01-01T00:00:05Z","failures":5`},
		{"down since", "db1 down=timeout since=2500ms", "db1",
			`"failure":"timeout","error":"no answer in time","failing_since":"2026-01-01T00:00:07.5Z","failures":2`},
		{"never", "db1 never", "db1",
			`"probe":{"asked":"2026-01-01T00:00:10Z","failure":"timeout","error":"no answer in time","failing_since":"2026-01-01T00:00:05Z","failures":5}}`},
		{"never asked", "db1 never unasked", "db1", `"probe":{}}`},
		{"stale is before anybody fell silent", "db1 down since=9s\n  db2 stale", "db2",
			`"probe":{"asked":"2026-01-01T00:00:00Z","answered":"2026-01-01T00:00:00Z"}`},
		{"asked", "db1\n  db2 asked=3s", "db2",
			`"probe":{"asked":"2026-01-01T00:00:07Z","answered":"2026-01-01T00:00:07Z"}`},
		{"a receiver that can't connect", "db1\n  db2 ioerr=2003", "db2",
			`"io":"connecting","sql":"yes","io_errno":2003`},
		{"a receiver that gave up", "db1\n  db2 ioerr=1236", "db2", `"io":"no","sql":"yes","io_errno":1236`},
		{"a thread of its own mind, whatever the order of the words", "db1\n  db2 io=yes ioerr=1236", "db2",
			`"io":"yes"`},
		{"who can't apply has no lag to tell", "db1\n  db2 sqlerr=1062", "db2",
			`"sql":"no","sql_errno":1062,"sql_error":"could not apply: duplicate entry (1062)","auto_position":true,"received":"` + uuid("db1") + `:1-100","read_file"`},
		{"unless it does", "db1\n  db2 io=connecting lag=30s", "db2", `"lag_seconds":30`},
		{"lag unknown", "db1\n  db2 lag=null", "db2", `:1-100","read_file"`},
		{"delay", "db1\n  db2 delay=1h", "db2", `"delay_seconds":3600`},
		{"received and not applied", "db1\n  db2 recv=1-120 exec=1-80", "db2", `"executed":"` + uuid("db1") + `:1-80"`},
		{"applied no more than received", "db1\n  db2 recv=1-90", "db2", `"executed":"` + uuid("db1") + `:1-90"`},
		{"received all the same", "db1\n  db2 exec=1-80", "db2", `"received":"` + uuid("db1") + `:1-100"`},
		{"names for UUIDs", "db1\n  db2 exec=db1:1-100+db2:1-2:x:3", "db2", `"executed":"` +
			strings.Join(slices.Sorted(slices.Values([]string{uuid("db1") + ":1-100", uuid("db2") + ":1-2:x:3"})),
				",") + `"`},
		{"a UUID", "db1 exec=aaaaaaaa-1111-1111-1111-111111111111:7", "db1",
			`"executed":"aaaaaaaa-1111-1111-1111-111111111111:7"`},
		{"a replica has what its root has", "db1 exec=1-500\n  db2\n    db3", "db3", `"executed":"` + uuid("db1") +
			`:1-500"`},
		{"so has another root of the cluster", "db2 exec=1-500\ndb1 of=db2", "db1", `"executed":"` + uuid("db2") +
			`:1-500"`},
		{"nothing", "db1 exec=none", "db1", `"executed":""`},
		{"MariaDB below MariaDB", "db1 mariadb=10.11.6\n  db2", "db2", `"flavor":"mariadb","version":"10.11.6"`},
		{"its position", "db1 mariadb=10.11.6\n  db2", "db2", `"executed":"0-1-100","binlog_written":"0-1-100"`},
		{"it has no UUID of its source", "db1 mariadb=10.11.6\n  db2", "db2",
			`"source":"db1:3306","source_server_id":1,"io"`},
		{"the same shorthand", "db1 mariadb=10.11.6\n  db2 recv=1-90", "db2", `"received":"0-1-90"`},
		{"a sequence alone", "db1 mariadb=10.11.6 exec=90", "db1", `"executed":"0-1-90"`},
		{"positions", "db1 mariadb=10.11.6\n  db2 exec=0-1-90+1-2-5", "db2", `"executed":"0-1-90,1-2-5"`},
		{"no updates logged, no position written", "db1 mariadb=10.11.6\n  db2 nologupdates", "db2",
			`"executed":"0-1-100","binlog_file"`},
		{"no binary log", "db1 nobinlog", "db1",
			`"log_bin":false,"log_replica_updates":true,"binlog_format":"ROW","gtid":true,"executed":"` + uuid("db1") +
				`:1-100"}`},
		{"no GTID", "db1 nogtid\n  db2 nogtid", "db2",
			`"gtid":false,"executed":"","binlog_file":"binlog.000001","binlog_pos":10000,"channels":[{"source":"db1:3306","source_uuid":"` + uuid("db1") + `","source_server_id":1,"io":"yes","sql":"yes","auto_position":false,"received":"","lag_seconds":0,"read_file":"binlog.000001","read_pos":10000`},
		{"MariaDB by coordinates still has GTIDs", "db1 mariadb=10.11.6\n  db2 nogtid", "db2",
			`"gtid":true,"executed":"0-1-100"`},
		{"detached", "db1\ndb2 of=db1 detached=db1", "db2", `"source":"//db1:3306"`},
		{"detached in place", "db1\n  db2 detached=db1", "db2", `"source":"//db1:3306"`},
		{"of another name", "db1 of=shop\n  db2", "db2", `"cluster":"shop"`},
		{"no source", "db1\n  db2 nosource", "db2", `"cluster":"db1:3306"`},
		{"a source of a root", "db1 also=far", "db1", `"channels":[{"source":"far:3306"`},
		{"two sources", "db1\n  db2 also=db9", "db2", `{"name":"db9","source":"db9:3306"`},
		{"a second source by name", "db1\n  db2 channel=one also=two@db9:3307", "db2",
			`{"name":"two","source":"db9:3307"`},
		{"downtime", `db1 downtime=30m owner=ann reason="new disk # 2"`, "db1",
			`"downtime":{"owner":"ann","reason":"new disk # 2","until":"2026-01-01T00:30:10Z"}`},
		{"tags", "db1 tag=dc:west tag=spare", "db1", `"tags":{"dc":"west","spare":""}`},
		{"rule", "db1 must_not", "db1", `"promotion_rule":"must_not"`},
		{"neutral is nothing", "db1 neutral", "db1", `"failures"`[:1] + `key":"db1:3306","cluster":"db1:3306","probe"`},
		{"semi-sync of a primary", "db1 semisync\n  db2 semisync", "db1",
			`"semi_sync":{"source_enabled":true,"source_active":true,"wait_count":1,"clients":1,"timeout_ms":10000}`},
		{"semi-sync of a replica", "db1 semisync\n  db2 semisync", "db2",
			`"semi_sync":{"replica_enabled":true,"replica_active":true}`},
		{"semi-sync in detail", "db1 semisync=source,replica,replicating,active,wait=2,clients=1,timeout=3s", "db1",
			`"semi_sync":{"source_enabled":true,"source_active":true,"replica_enabled":true,"replica_active":true,"wait_count":2,"clients":1,"timeout_ms":3000}`},
		{"stalled", "db1 stalled=disk_full", "db1",
			`"stalled":{"state":"waiting for free space on the disk","seconds":30,"count":1,"cause":"disk_full"}`},
		{"stalled in detail", `db1 stalled="commit,12s,3,in, between"`, "db1",
			`"stalled":{"state":"in, between","seconds":12,"count":3,"cause":"commit"}`},
		{"super read-only", "db1 sro", "db1", `"read_only":true,"super_read_only":true`},
		{"statement format", "db1 binlog=statement", "db1", `"binlog_format":"STATEMENT"`},
		{"a moment", "at=2027-05-05T05:05:05.5Z\ndb1", "db1", `"asked":"2027-05-05T05:05:05.5Z"`},
		{"indented as a whole, with comments", "\t\t# two\n\t\tdb1 # the primary\n\n\t\t  db2 # its replica", "db2",
			`"source":"db1:3306"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, err := json.Marshal(server(t, c.drawing, c.host))
			if err != nil || !strings.Contains(string(data), c.want) {
				t.Errorf("%s\n%s is %s, %v\nwant %s", c.drawing, c.host, data, err, c.want)
			}
		})
	}
}

func TestDrawingRefuses(t *testing.T) {
	for drawing, want := range map[string]string{
		"db1 dwn":                         `line 1: db1: "dwn" is no attribute; the nearest is "down"`,
		"db1\n  db2 sqlerror=3":           `line 2: db2: "sqlerror=3" is no attribute; the nearest is "sqlerr=1062"`,
		"db1\n\n  db2 io=stopped":         `line 3: db2:3306: io=stopped: "stopped" is not known here (want io=yes|no|connecting)`,
		"db1 down=dead":                   `"dead" is no failure (want down=refused|reset`,
		"db1 io=no":                       "a server without a source has no io",
		"db1 never rw":                    "a server that never answered has no mode",
		"db1 since=3s":                    "only a server that is down has since=",
		"db1 owner=me":                    "goes with downtime=",
		"db1 reason=me":                   "goes with downtime=",
		"db1 down down":                   `"down": down was already said`,
		"db1 io":                          `"io" needs a value: io=yes|no|connecting`,
		"db1\ndb1:3306":                   "line 2: db1:3306 is already on line 1",
		"!":                               `"!": a line begins with the server`,
		"db1:99999":                       "a line begins with the server",
		"down db1":                        `"db1" is no attribute`,
		"db1\n\tdb2":                      "line 2: indent with blanks",
		"db1 tag=\"x":                     "a quote is not closed",
		"db1 tag=\"\\q\"":                 "a quote is not closed",
		"db1\nat=2026-01-01T00:00:00Z":    "at= stands alone, on the first line",
		"at=noon":                         "want a moment such as at=2026",
		"db1 exec=db7:1-3":                `"db7" names no server of the drawing`,
		"db1 exec=db1:x-":                 "no transaction number",
		"db1 mysql=new":                   "want major.minor.patch",
		"db1 id=x":                        "is no such number",
		"db1 id=4294967296":               "is no such number",
		"db1 source=":                     "want host or host:port",
		"db1 detached=a/b":                "want host or host:port",
		"db1 also=":                       "want host or host:port",
		"db1 also=a@":                     "want host or host:port",
		"db1 registered=a+":               "want host or host:port",
		"db1 down since=long":             `"long" is no time`,
		"db1 asked=long":                  "is no time",
		"db1 downtime=long":               "is no time",
		"db1\n  db2 lag=long":             "is no time",
		"db1\n  db2 ioerr=x":              "is no such number",
		"db1\n  db2 recv=x":               "names no server",
		"db1 pos=5":                       "no position",
		"db1 pos=file:x":                  "is no such number",
		"db1 semisync=maybe":              `"maybe" is unknown`,
		"db1 semisync=wait=x":             "is no such number",
		"db1 semisync=timeout=x":          "is no time",
		"db1 stalled=work":                `"work" is no cause`,
		"db1 stalled=commit,long":         "is no time",
		"db1 stalled=commit,3s,x":         "is no such number",
		"db1 mariadb=10.11.6 exec=0-1":    "", // a shorthand: domain, server and 0-1
		"db1 mariadb=10.11.6 exec=db1:1":  "no server UUID",
		"db1 nogtid=yes":                  `is no attribute; the nearest is "nogtid"`,
		"db1 also=a also=b also_io=3:no":  "it has no source number 3",
		"db1 also=a also=b also_sql=no":   "is no such number",
		"db1 also=a also=b also_recv=2:x": "names no server",
		"db1 gtid=maybe":                  "is not known here",
		"db1 " + strings.Repeat("x", 500): strings.Repeat("x", 60) + "…",
	} {
		_, err := Parse(drawing)
		if want == "" {
			if err != nil {
				t.Errorf("%q: %v", drawing, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want an error with %q", drawing, err, want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("MustParse of rubbish does not panic")
		}
	}()
	MustParse("!")
}

func TestDrawing(t *testing.T) {
	const drawing = `
db1 mysql=8.0.36 down=timeout tag=dc:west
  db2 ioerr=2003 recv=1-120 exec=1-90
    db4:3307 exec=db1:1-100+db4:3307:1-3
  db3.example.com io=no must_not downtime reason="new disk"
db9 of=db1 detached=db1 nologupdates
db5 never of=db1
shop1 of=shop mariadb=10.11.6
  shop2 lag=30s recv=1-90
  shop3 also=db9 stalled=commit,12s
`
	const want = `db1                mysql=8.0.36     rw  down=timeout tag=dc:west  # primary
  db2              mysql=8.0.36     ro  ioerr=2003 exec=1-90 recv=1-120  # 30 to apply
    db4:3307       mysql=8.0.36     ro  exec=db1:1-100+db4:3307:1-3  # has 3 more than db1
  db3.example.com  mysql=8.0.36     ro  io=no must_not downtime reason="new disk"
db5                                     of=db1 never
db9                mysql=8.0.36     ro  of=db1 detached=db1 nologupdates

shop1              mariadb=10.11.6  rw  of=shop  # primary
  shop2            mariadb=10.11.6  ro  lag=30s recv=0-1-90  # lacks 10 of shop1
  shop3            mariadb=10.11.6  ro  also=db9 stalled=commit,12s
`
	if got := Draw(MustParse(drawing)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	again(t, MustParse(drawing))
}

// again says that a drawing holds the snapshot.
func again(t interface{ Fatalf(string, ...any) }, s topology.Snapshot) {
	text := Draw(s)
	back, err := Parse(text)
	if err != nil {
		t.Fatalf("the drawing can't be read: %v\n%s", err, text)
	}
	want, got := asJSON(plain(drawable(s))), asJSON(plain(back.Snapshot))
	if want != got {
		for n, line := range strings.Split(want, "\n") {
			if others := strings.Split(got, "\n"); n >= len(others) || others[n] != line {
				t.Fatalf("line %d: %s\nis read back otherwise:\n%s\ndrawn as\n%s", n, line, got, text)
			}
		}
		t.Fatalf("%s\nis longer than\n%s", got, want)
	}
	if again := Draw(back.Snapshot); again != text {
		t.Fatalf("drawn\n%s\nand again\n%s", text, again)
	}
}

// plain leaves of further channels what a drawing holds: whose they are.
func plain(s topology.Snapshot) topology.Snapshot {
	s.Servers = slices.Clone(s.Servers)
	for n, v := range s.Servers {
		if v.MultiSource() {
			i := *v.Instance
			i.Channels = slices.Clone(i.Channels)
			for c, o := range i.Channels[1:] {
				i.Channels[c+1] = topology.Channel{Name: o.Name, Source: o.Source, IO: o.IO, SQL: o.SQL,
					Received: o.Received}
			}
			s.Servers[n].Instance = &i
		}
	}
	return s
}

func asJSON(v any) string {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err)
	}
	return string(data)
}

func TestDrawingIsReadBack(t *testing.T) {
	for _, drawing := range []string{
		"",
		"at=2027-05-05T05:05:05.123456789Z\ndb1",
		"a source=b\n  b also=c rw",
		"a source=a",
		"[::1]:3306\n  [::1]:3307 exec=[::1]:3306:1-3+[::1]:3307:7\n  x detached=[::1]:3306",
		"7\n  8 exec=7:1-100+8:7",
		"db1\n  db1:7 exec=db1:3306:7",
		"db1\n  db2 exec=none",
		"none\n  detached exec=none:3306:1-5+detached:3306:3",
		"db1\n  none\n    db3 source=none:3306",
		"db1 uuid=none exec=none\n  db2",
		"db1 uuid=strange\n  db2",
		"db1\n  db2 mariadb=10.11.6\n    db3",
		"db1 never mariadb=11.4.2\n  db2\n    db3 recv=50",
		"db1 never\n  db2",
		"db1 unasked\n  db2 answered=3s down asked=1s",
		"db1 down error=none failures=0 answered=never since=0s",
		"db1 downtime=-5m owner=none reason=none",
		`db1 error="two
lines" down tag="a b:c\"d" tag="ünï:\x01"`,
		"db1 promoted\n  db2\nx1\n  x2 of=db1",
		"db1\n  db2 nogtid auto_position=no read=x:1 applied=none pos=y:2\n  db3 gtid=no auto_position=yes",
		"db1\n  db2 exec=1-110 recv=1-110\n  db3 exec=1-90 recv=1-90\n  db4 exec=1-100 recv=1-90\n  db5 exec=1-90\n  " +
			"db6 exec=1-80 recv=1-95",
		"db1 mariadb=10.11.6\n  db2 exec=0-2-100 recv=0-2-100 written=none\n  db3 purged=0-1-5..9 exec=0-7-3+1-1-1",
		"db1 semisync=source,wait=3 stalled=commit,30s,2\n  db2 semisync registered=none names=a+b:7 started=3s " +
			"heartbeat=5s",
		"db1\n  db2 lag=9223372036854775807s delay=90s filters ssl source_uuid=none source_id=9 iotext=x " +
			"sqltext=none io_since=3s io=no",
		"a\nb of=a promoted rw\n  c also=//b also=n@m@b channel=\"x y\"",
	} {
		saved, err := Parse(strings.ReplaceAll(drawing, " heartbeat=5s", ""))
		if err != nil {
			saved, err = Parse(strings.ReplaceAll(drawing, "two\nlines", `two\nlines`))
		}
		if err != nil {
			t.Errorf("%q: %v", drawing, err)
			continue
		}
		again(t, saved.Snapshot)
	}
}

// TestAnySnapshotIsDrawn draws snapshots that no drawing made.
func TestAnySnapshotIsDrawn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { again(t, anySnapshot(t)) })
}

func anySnapshot(t *rapid.T) topology.Snapshot {
	pick := func(name string, values ...string) string { return rapid.SampledFrom(values).Draw(t, name) }
	odd := func(name string) bool { return rapid.IntRange(0, 7).Draw(t, name) == 0 }
	s := topology.Snapshot{At: At}
	if odd("at") {
		s.At = At.Add(time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "later")))
	}
	var keys []topology.Key
	for n := range rapid.IntRange(0, 7).Draw(t, "servers") {
		k := topology.Key{Host: fmt.Sprint(pick("host", "db", "web", "10.0.0.", "x-"), n), Port: 3306}
		switch {
		case odd("v6"):
			k = topology.Key{Host: fmt.Sprint("2001:db8::", n+1), Port: 3306 + n%2}
		case odd("port"):
			k.Port = 3307
		}
		keys = append(keys, k)
	}
	uuid := func(k topology.Key) string { return UUID(k) }
	set := func(f topology.Flavor) gtid.Set {
		var parts []string
		if f == topology.MariaDB {
			for d := range rapid.IntRange(0, 2).Draw(t, "domains") {
				parts = append(parts, fmt.Sprintf("%d-%d-%d", d, rapid.IntRange(1, 3).Draw(t, "server"),
					rapid.IntRange(1, 120).Draw(t, "seq")))
			}
		} else {
			for range rapid.IntRange(0, 3).Draw(t, "parts") {
				id := "aaaaaaaa-1111-1111-1111-111111111111"
				if !odd("stranger") {
					id = uuid(rapid.SampledFrom(keys).Draw(t, "writer"))
				}
				if odd("tagged") {
					id += ":tag"
				}
				from := rapid.SampledFrom([]int{1, 1, 50}).Draw(t, "from")
				parts = append(parts, fmt.Sprintf("%s:%d-%d", id, from, rapid.SampledFrom([]int{50, 100, 120}).Draw(t,
					"to")))
			}
		}
		return gtid.MustParse(strings.Join(parts, ","))
	}
	ago := func(name string) time.Time {
		return s.At.Add(-time.Duration(rapid.SampledFrom([]int{0, 0, 40, 1500, 3000, 6000}).Draw(t,
			name)) * time.Millisecond)
	}
	flavor := topology.Flavor(pick("flavor", "mysql", "mariadb"))
	for _, k := range keys {
		v := topology.Server{Key: k, Cluster: pick("cluster", "a", "a", "b", keys[0].String()),
			Rule: topology.Rule(pick("rule", "", "", "prefer", "must_not"))}
		v.Probe = topology.Probe{Asked: ago("asked")}
		v.Probe.Answered = v.Probe.Asked
		if odd("down") {
			v.Probe.Answered, v.Probe.FailingSince = ago("answered"), ago("since")
			v.Probe.Failure, v.Probe.Error, v.Probe.Failures = topology.Failure(pick("failure", "timeout", "refused",
				"other")), pick("error", "no answer in time", `a "b" c`), rapid.IntRange(0, 9).Draw(t, "failures")
		}
		if odd("downtime") {
			v.Downtime = &topology.Downtime{Owner: pick("owner", "ann", "", "a b"),
				Reason: pick("reason", "", "work", "# x"), Until: s.At.Add(time.Hour)}
		}
		if odd("tags") {
			v.Tags = map[string]string{"dc": pick("dc", "", "west", "a:b c"), "b": "x"}
		}
		if odd("never") {
			v.Probe.Answered = time.Time{}
			s.Servers = append(s.Servers, v)
			continue
		}
		f := flavor
		if odd("other flavour") {
			f = topology.MySQL
		}
		i := &topology.Instance{UUID: uuid(k), ServerID: uint32(rapid.IntRange(1, 3).Draw(t, "id")), Flavor: f,
			Version: topology.Version{Major: 8, Minor: rapid.IntRange(0, 4).Draw(t, "minor"), Patch: 1}}
		i.ReadOnly = rapid.Bool().Draw(t, "ro")
		i.SuperReadOnly = i.ReadOnly && odd("sro")
		i.LogBin, i.LogReplicaUpdates, i.BinlogFormat = !odd("nobinlog"), !odd("nologupdates"),
			pick("format", "ROW", "ROW", "STATEMENT")
		i.BinlogFilters = odd("binlog_filters")
		i.GTID = f == topology.MariaDB || !odd("nogtid")
		i.Executed, i.Hostname = set(f), "elsewhere"
		if f == topology.MariaDB {
			i.BinlogWritten = set(f)
			i.BinlogState = gtid.State{}.With(i.BinlogWritten)
			if odd("binlog_state") {
				i.BinlogState = i.BinlogState.With(gtid.MustParse("0-9-5"))
			}
		}
		if odd("purged") {
			i.Purged = set(f)
		}
		i.BinlogFile, i.BinlogPos = pick("file", "", "log.1"), uint64(rapid.IntRange(0, 9).Draw(t, "pos"))
		if odd("semisync") {
			i.SemiSync = topology.SemiSync{SourceEnabled: rapid.Bool().Draw(t, "semi"),
				WaitCount:     rapid.IntRange(0, 2).Draw(t, "wait"),
				TimeoutMillis: uint64(rapid.IntRange(0, 2000).Draw(t, "timeout"))}
		}
		if odd("stalled") {
			i.Stalled = &topology.Stall{State: pick("state", "waiting for handler commit", "a, b"),
				Seconds: rapid.Int64Range(0, 99).Draw(t, "seconds"), Count: rapid.IntRange(0, 3).Draw(t, "count"),
				Cause: pick("cause", "commit", "disk_full")}
		}
		if odd("names") {
			v.Names = []topology.Key{{Host: "other", Port: 3306}}
		}
		if odd("doubtful") {
			v.Doubtful = []topology.Key{v.Key, {Host: "vip", Port: 3306}}
		}
		if odd("unusable") {
			i.Unusable = []string{pick("what", `source "a:1", port 2`, "x"), "report_host \"\""}
		}
		if odd("strangers") {
			i.Strangers = []string{"connection 7 of app@h holds the lock 'orchestrator'; it was ended", "x"}
		}
		if odd("ungranted") {
			i.Ungranted = []topology.Ungranted{{Grant: "GRANT EVENT ON *.* TO `o`@`%`", Without: "this"},
				{Grant: "GRANT RELOAD ON *.* TO o", Without: "that"}}
		}
		i.Readers = rapid.IntRange(0, 2).Draw(t, "readers")
		if odd("registered") {
			i.Registered = []topology.Key{{Host: "lost", Port: 3306}}
		}
		if !odd("root") {
			c := topology.Channel{Source: rapid.SampledFrom(append(keys, topology.Key{Host: "far", Port: 3306})).Draw(t,
				"source")}
			if odd("detached") {
				c.Source = c.Source.Detach()
			}
			if odd("spelt") {
				c.Spelt = topology.Key{Host: pick("spelling", "vip", "x.example"), Port: 3306}
			}
			c.SourceUUID, c.SourceID = pick("source_uuid", "", uuid(c.Source), "x"),
				uint32(rapid.IntRange(0, 3).Draw(t, "source_id"))
			c.IO, c.SQL = topology.ThreadState(pick("io", "yes", "yes", "no", "connecting")),
				topology.ThreadState(pick("sql", "yes", "yes", "no"))
			if odd("ioerr") {
				c.IOErrno, c.IOError, c.IOSince = 2003, pick("iotext", "", "a b"), ago("iosince")
			}
			if odd("sqlerr") {
				c.SQLErrno, c.SQLError = 1062, pick("sqltext", "", "a b")
			}
			c.AutoPosition = !odd("no auto_position")
			c.Received = i.Executed.Union(set(f))
			if odd("anything received") {
				c.Received = set(f)
			}
			if lag := rapid.Int64Range(-1, 3).Draw(t, "lag"); lag >= 0 {
				c.Lag = &lag
			}
			c.Delay, c.Filters, c.SSL = rapid.Int64Range(0, 2).Draw(t, "delay"), odd("filters"), odd("ssl")
			c.Full = odd("full")
			c.ReadFile, c.ReadPos, c.ExecFile, c.ExecPos = pick("read", "", "log.1"), 4, "log.2", 7
			i.Channels = []topology.Channel{c}
			if odd("second source") {
				c.Source, c.Name = topology.Key{Host: "elsewhere", Port: 3307}, pick("channel", "x", "a@b", "a b")
				c.IO, c.Received = topology.ThreadState(pick("second io", "yes", "no")), set(f)
				i.Channels = append(i.Channels, c)
			}
		}
		v.Instance = i
		s.Servers = append(s.Servers, v)
	}
	s.Sort()
	if len(keys) > 0 && odd("promoted") {
		v := rapid.SampledFrom(s.Servers).Draw(t, "who")
		s.Promoted = map[string]topology.Key{v.Cluster: v.Key}
	}
	return s
}

func TestDrawingSurvivesWhatCannotBe(t *testing.T) {
	mixed := gtid.MustParse("0-1-5").Union(gtid.MustParse("aaaaaaaa-1111-1111-1111-111111111111:1"))
	s := topology.Snapshot{Servers: []topology.Server{
		{}, {Key: topology.Key{Host: "a", Port: 1}}, {Key: topology.Key{Host: "a", Port: 1}},
		{Key: topology.Key{Host: "b", Port: 1}, Probe: topology.Probe{Failure: "new"},
			Tags: map[string]string{"": "", "x\x00y": "z"}, Rule: "odd", Instance: &topology.Instance{
				Flavor: "odd", UUID: "\n\"", Executed: mixed,
				Channels: []topology.Channel{{}, {Source: topology.Key{Host: "a", Port: 1}, IO: "odd"}},
				Stalled:  &topology.Stall{Cause: "odd"}}},
	}}
	text := Draw(s)
	if back, err := Parse(text); err != nil || len(back.Servers) != 2 {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestServerID(t *testing.T) {
	for key, want := range map[string]uint32{"db7": 7, "db7.example2.com": 7, "db7:3307": 3307, "127.0.5.3": 3,
		"12": 12} {
		k, _ := topology.ParseKey(key)
		if got := ServerID(k); got != want {
			t.Errorf("%s has id %d, want %d", key, got, want)
		}
	}
	if a, b := ServerID(topology.Key{Host: "anna", Port: 3306}),
		ServerID(topology.Key{Host: "otto", Port: 3306}); a == b || a == 0 {
		t.Errorf("ids %d, %d", a, b)
	}
}

func FuzzDrawing(f *testing.F) {
	f.Add("db1 down\n  db2 io=connecting recv=1-120 exec=1-80\ndb9 of=db1 detached=db1")
	f.Add("db1 mariadb=10.11.6 never\n  db2 exec=0-1-5 tag=\"a b\" # c")
	f.Add("at=2026-01-01T00:00:00Z\n\ta source=b\n\t  b also=c stalled=commit,1s,2,x")
	f.Add("0\n 1 io=connecting recv=\n2 of=0\x00")
	f.Add("[::1]:3306 semisync=source,wait=1 exec=[::1]:3306:x:1-2+none:3")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		drawn := Print(s)
		back, err := Parse(drawn)
		if err != nil {
			t.Fatalf("%q is drawn as\n%s\nwhich can't be read: %v", text, drawn, err)
		}
		if len(back.Servers) != len(s.Servers) {
			t.Fatalf("%d servers are drawn as %d\n%s", len(s.Servers), len(back.Servers), drawn)
		}
	})
}
