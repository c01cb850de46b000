package topology_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/drawing"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

func TestParseKey(t *testing.T) {
	for text, want := range map[string]topology.Key{
		"db1":                   {"db1", 3306},
		" DB1.Example.com:3307": {"db1.example.com", 3307},
		"10.0.0.1:3306":         {"10.0.0.1", 3306},
		"::1":                   {"::1", 3306},
		"[2001:DB8::1]:3307":    {"2001:db8::1", 3307},
		"a_b-c":                 {"a_b-c", 3306},
	} {
		k, err := topology.ParseKey(text)
		if err != nil || k != want {
			t.Errorf("ParseKey(%q) = %v, %v; want %v", text, k, err, want)
		}
		if back, err := topology.ParseKey(k.String()); err != nil || back != k {
			t.Errorf("%v is read back as %v, %v", k, back, err)
		}
	}
	for text, want := range map[string]string{
		"":                       "want host or host:port",
		"db1:":                   "port must be a number",
		"db1:0":                  "port must be a number",
		"db1:65536":              "port must be a number",
		"db1:mysql":              "port must be a number",
		":3306":                  "want host or host:port",
		"[db1]:3306":             "no IPv6 address",
		"2001:db8::zz:1:3306":    "[address]:port",
		"db 1":                   "want host or host:port",
		"db1;drop":               "want host or host:port",
		"//db1":                  "want host or host:port",
		"db1..":                  "want host or host:port",
		"a..b":                   "want host or host:port",
		strings.Repeat("x", 256): "want host or host:port",
	} {
		if k, err := topology.ParseKey(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseKey(%q) = %v, %v; want an error with %q", text, k, err, want)
		}
	}
}

func TestKeyAsText(t *testing.T) {
	for text, want := range map[string]topology.Key{
		`""`:             {},
		`"db1:3306"`:     {"db1", 3306},
		`"//db1:3306"`:   {"//db1", 3306},
		`"//[::1]:3307"`: {"//::1", 3307},
	} {
		var k topology.Key
		if err := json.Unmarshal([]byte(text), &k); err != nil || k != want {
			t.Errorf("%s is read as %v, %v", text, k, err)
		}
		if data, err := json.Marshal(k); err != nil || string(data) != text {
			t.Errorf("%v is written as %s, %v; want %s", k, data, err, text)
		}
	}
	k := topology.Key{"db1", 3306}
	if err := json.Unmarshal([]byte(`"//"`), &k); err == nil || (k != topology.Key{"db1", 3306}) {
		t.Errorf("a mark alone is read as %v, %v", k, err)
	}
	if d := k.Detach(); !d.Detached() || d.Detach() != d || d.Attached() != k || k.Attached() != k || k.Detached() {
		t.Errorf("detach, attach: %v", d)
	}
	if (topology.Key{"a", 2}).Compare(topology.Key{"a", 10}) >= 0 ||
		(topology.Key{"a", 2}).Compare(topology.Key{"b", 1}) >= 0 {
		t.Error("keys sort by host, then by port as a number")
	}
}

func TestParseVersion(t *testing.T) {
	for _, c := range []struct {
		text   string
		flavor topology.Flavor
		want   topology.Version
	}{
		{"8.0.36-28", topology.MySQL, topology.Version{8, 0, 36}},
		{"5.7.44-log", topology.MySQL, topology.Version{5, 7, 44}},
		{"9.7", topology.MySQL, topology.Version{9, 7, 0}},
		{"10.11.19-MariaDB-0+deb12u1-log", topology.MariaDB, topology.Version{10, 11, 19}},
		{"5.5.5-10.11.19-MariaDB", topology.MariaDB, topology.Version{10, 11, 19}},
	} {
		if f, v, err := topology.ParseVersion(c.text); err != nil || f != c.flavor || v != c.want {
			t.Errorf("ParseVersion(%q) = %v %v, %v", c.text, f, v, err)
		}
	}
	for _, text := range []string{"", "8", "x.y", "8.-1", "8.0.x"} {
		if _, v, err := topology.ParseVersion(text); err == nil {
			t.Errorf("ParseVersion(%q) = %v", text, v)
		}
	}
	v := topology.Version{10, 11, 6}
	if !v.AtLeast(8, 4, 0) || !v.AtLeast(10, 11, 6) || v.AtLeast(10, 11, 7) {
		t.Error("versions compare as numbers")
	}
}

func TestRoots(t *testing.T) {
	for _, c := range []struct{ name, drawing, roots, primary string }{
		{"a tree", "db1\n  db2\n    db3\n  db4", "db1", "db1"},
		{"nobody", "", "", ""},
		{"the one that most follow", "db1\ndb2 of=db1\n  db3", "db1 db2", "db2"},
		{"among equals one that is up and writable", "db1 ro\ndb2 of=db1\ndb3 of=db1 down", "db1 db2 db3", "db2"},
		{"then one that is up", "db1 down\ndb2 of=db1 ro", "db1 db2", "db2"},
		{"then the first", "db2 down\ndb1 of=db2 down", "db1 db2", "db1"},
		{"a dead primary keeps its place while they follow it", "db1 down\n  db2\n  db3\ndb4 of=db1", "db1 db4", "db1"},
		{"the promoted one, even if replicas still follow the former one",
			"db1 down\n  db2\n  db3\ndb4 of=db1 promoted", "db1 db4",
			"db4"},
		{"the promoted one that has found another source is it no more", "db1\n  db2 promoted", "db1", "db1"},
		{"a circle: the writable", "a ro source=b\n  b rw", "b", "b"},
		{"a circle: both writable", "a rw source=b\n  b rw\n  c", "a b", "a"},
		{"a circle: none writable", "b source=a\n  a", "a", "a"},
		{"a circle beside a root, and what hangs below it", "z\na ro source=b of=z\n  b rw\n    c\n  d", "b z", "b"},
		{"a source outside", "db1 source=far\n  db2", "db1", "db1"},
		{"following itself", "db1 source=db1\n  db2", "db1", "db1"},
		{"several sources, one of them in a circle", "a source=b\n  b also=z\nz of=a", "z", "z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := drawing.MustParse(c.drawing)
			var roots []string
			for _, r := range s.Roots() {
				roots = append(roots, r.Key.Host)
			}
			primary := ""
			if p := s.Primary(); p != nil {
				primary = p.Key.Host
				if p != s.Server(p.Key) {
					t.Error("Primary is not the server in the snapshot")
				}
			}
			if got := strings.Join(roots, " "); got != c.roots || primary != c.primary {
				t.Errorf("roots %q, primary %q; want %q, %q", got, primary, c.roots, c.primary)
			}
			slices.Reverse(s.Servers)
			if p := s.Primary(); p != nil && p.Key.Host != c.primary && !strings.Contains(c.name, "circle") {
				t.Errorf("in another order the primary is %v", p.Key)
			}
		})
	}
}

func TestName(t *testing.T) {
	for _, c := range []struct{ name, drawing, before, want string }{
		{"by the key of the root", "db1\n  db2\n    db3\ndb9\n  db8", "", "db1=db1 db2=db1 db3=db1 db8=db9 db9=db9"},
		{"a root keeps its name", "db2\n  db3", "db2=shop", "db2=shop db3=shop"},
		{"after a failover the new primary has the name, and the dead one keeps it", "db2\n  db3\ndb1 down",
			"db1=shop db2=shop db3=shop", "db1=shop db2=shop db3=shop"},
		{"so does the dead one that somebody still follows", "db2\n  db3\n  db4\ndb1 down\n  db5", "db1=shop db2=shop",
			"db1=shop db2=shop db3=shop db4=shop db5=shop"},
		{"a live root with replicas of its own goes its own way", "db2\n  db3\n  db4\ndb1\n  db5", "db1=shop db2=shop",
			"db1=db1 db2=shop db3=shop db4=shop db5=db1"},
		{"unless it only passed on what the other wrote: it has lost its data",
			"db1 exec=db1:1-100\n  db5\ndb2 exec=none\n  db3 exec=db1:1-90\n  db4 exec=db1:1-90", "db1=shop db2=shop",
			"db1=shop db2=shop db3=shop db4=shop db5=shop"},
		{"or its source", "db1 exec=db1:1-100\n  db5\n  db6\ndb2 ro exec=db1:1-100\n  db3 exec=db1:1-90",
			"db1=shop db2=shop", "db1=shop db2=shop db3=shop db5=shop db6=shop"},
		{"one that was opened goes its own way",
			"db1 exec=db1:1-100\n  db5\n  db6\ndb2 rw exec=db1:1-100\n  db3 exec=db1:1-90", "db1=shop db2=shop",
			"db1=shop db2=db2 db3=db2 db5=shop db6=shop"},
		{"a live root without replicas stays", "db2\n  db3\ndb1", "db1=shop db2=shop", "db1=shop db2=shop db3=shop"},
		{"who was moved is named after its new root", "db1\n  db3\ndb2", "db1=a db2=b db3=b", "db1=a db2=b db3=a"},
		{"a circle is one cluster", "a rw source=b\n  b rw\n    c\nz", "", "a=a b=a c=a z=z"},
		{"several sources: the first", "a\n  b also=c\nc", "", "a=a b=a c=c"},
		{"a first source that nobody knows", "b source=far also=c\nc", "", "b=c c=c"},
		{"never answered", "db1 never", "db1=shop", "db1=shop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := map[topology.Key]string{}
			for word := range strings.FieldsSeq(c.before) {
				host, name, _ := strings.Cut(word, "=")
				before[topology.Key{host, 3306}] = name
			}
			names := drawing.MustParse(c.drawing).Name(before)
			var got []string
			for _, k := range slices.SortedFunc(maps.Keys(names), topology.Key.Compare) {
				got = append(got, k.Host+"="+strings.TrimSuffix(names[k], ":3306"))
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got  %v\nwant %v", strings.Join(got, " "), c.want)
			}
		})
	}
}

func TestNameOfALargeFleet(t *testing.T) {
	var b strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&b, "p%d\n  q%d\n  r%d\n", i, i, i)
	}
	s := drawing.MustParse(b.String())
	begin := time.Now()
	if names := s.Name(nil); len(names) != 9000 || names[topology.Key{"r7", 3306}] != "p7:3306" {
		t.Errorf("%d names", len(names))
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("naming 9000 servers took %v", took)
	}
}

func TestSnapshotParts(t *testing.T) {
	s := drawing.MustParse("db1\n  db2\ndb9 promoted\n  db8 also=db1")
	if got := s.Clusters(); !slices.Equal(got, []string{"db1:3306", "db9:3306"}) {
		t.Errorf("clusters %v", got)
	}
	of := s.Of("db9:3306")
	if len(of.Servers) != 2 || of.Promoted["db9:3306"].Host != "db9" || !of.At.Equal(s.At) {
		t.Errorf("of db9: %+v", of)
	}
	if of := s.Of("db1:3306"); of.Promoted != nil || len(of.Servers) != 2 {
		t.Errorf("of db1: %+v", of)
	}
	if r := s.Replicas(topology.Key{"db1", 3306}); len(r) != 2 {
		t.Errorf("replicas %v", r)
	}
	if s.Server(topology.Key{"nobody", 1}) != nil || (topology.Snapshot{}).Primary() != nil {
		t.Error("something is made of nothing")
	}
}

func TestServer(t *testing.T) {
	s := drawing.MustParse("db1\n  db2 recv=1-120 exec=1-90\n  db3 also=db9\n  db4 never\n  db5 down\n  db6 nogtid\n " +
		" db7 nogtid read=binlog.000002:4\n  db8 asked=never")
	at := func(host string) topology.Server { return *s.Server(topology.Key{host, 3306}) }
	db2 := at("db2")
	if db2.Received().Count() != 120 || at("db4").Received().Count() != 0 {
		t.Errorf("received %v", db2.Received())
	}
	if db2.Channel() == nil || at("db1").Channel() != nil || at("db3").Channel() != nil || at("db4").Channel() != nil {
		t.Error("Channel is the only one of a plain replica")
	}
	if db2.MultiSource() || !at("db3").MultiSource() || at("db4").MultiSource() {
		t.Error("MultiSource")
	}
	if !db2.Up() || at("db4").Up() || at("db5").Up() || at("db8").Up() {
		t.Error("Up")
	}
	if db2.Channel().Drained(db2.Instance.Executed) ||
		!db2.Channel().Drained(gtid.MustParse(drawing.UUID(topology.Key{"db1", 3306})+":1-120")) {
		t.Error("drained is when all that was received is executed")
	}
	if !at("db6").Channel().Drained(gtid.Set{}) || at("db7").Channel().Drained(gtid.Set{}) {
		t.Error("without GTID coordinates say what is drained")
	}
	if unread := (topology.Channel{AutoPosition: true, ReadPos: 4}); !unread.Drained(gtid.Set{}) {
		t.Error("a receiver that has not begun to read has received nothing")
	}
	if at("db4").ChannelFrom(topology.Key{"db1", 3306}) != nil {
		t.Error("who never answered has no channel")
	}
}

func TestFailureAlive(t *testing.T) {
	for f, alive := range map[topology.Failure]bool{topology.OK: true, topology.Denied: true, topology.TooMany: true,
		topology.Refused: false, topology.Timeout: false, topology.Reset: false, topology.Shutdown: false} {
		if f.Alive() != alive {
			t.Errorf("%q alive: %v", f, f.Alive())
		}
	}
}

func TestParseThreadState(t *testing.T) {
	for word, want := range map[string]topology.ThreadState{"Yes": topology.Running, "Connecting": topology.Connecting,
		"Preparing": topology.Connecting, "No": topology.Stopped, "": topology.Stopped} {
		if got := topology.ParseThreadState(word); got != want {
			t.Errorf("%q is %q, want %q", word, got, want)
		}
	}
}

func TestHalted(t *testing.T) {
	for _, c := range []struct {
		name   string
		c      topology.Channel
		halted bool
	}{
		{"it runs", topology.Channel{IO: topology.Running}, false},
		{"it tries to connect", topology.Channel{IO: topology.Connecting, IOErrno: 2003}, false},
		{"somebody stopped it", topology.Channel{IO: topology.Stopped}, true},
		{"it gave up connecting", topology.Channel{IO: topology.Stopped, IOErrno: 2003}, true},
		{"the network broke while it read", topology.Channel{IO: topology.Stopped, IOErrno: 1158}, true},
		{"it failed for a reason that starting does not remove", topology.Channel{IO: topology.Stopped, IOErrno: 1236},
			false},
		{"TLS fails for dead hosts and for expired certificates", topology.Channel{IO: topology.Stopped, IOErrno: 2026},
			false},
	} {
		if got := c.c.Halted(); got != c.halted {
			t.Errorf("%s: halted is %v", c.name, got)
		}
	}
}

func TestVersionAsText(t *testing.T) {
	var v topology.Version
	if err := json.Unmarshal([]byte(`"10.11.6"`), &v); err != nil || v != (topology.Version{10, 11, 6}) {
		t.Errorf("read as %v, %v", v, err)
	}
	if data, err := json.Marshal(v); err != nil || string(data) != `"10.11.6"` {
		t.Errorf("written as %s, %v", data, err)
	}
	if err := json.Unmarshal([]byte(`"eight"`), &v); err == nil {
		t.Errorf("read as %v", v)
	}
}

func TestMakeKey(t *testing.T) {
	for _, c := range []struct {
		host, want string
		port       int
	}{
		{"DB1.Shop.Example.", "db1.shop.example:3306", 3306},
		{"::1", "[::1]:3307", 3307},
		{"db1:3306", "", 3306},
		{"db 1", "", 3306},
		{"", "", 3306},
		{".", "", 3306},
		{"db1", "", 0},
		{"db1", "", 70000},
	} {
		k, err := topology.MakeKey(c.host, c.port)
		if (err == nil) != (c.want != "") || err == nil && k.String() != c.want {
			t.Errorf("%q, %d: %v, %v", c.host, c.port, k, err)
		}
	}
}

func TestTheZeroKeyIsUnknown(t *testing.T) {
	if got := (topology.Key{}).String(); got != "unknown" {
		t.Errorf("printed as %q", got)
	}
}

// Who is shown as the primary, and whether a root keeps the name of its cluster, is told by who wrote what the replicas
// have.
func TestRightful(t *testing.T) {
	for _, c := range []struct{ name, drawing, want string }{
		{"an emptied intermediate", `
db1 of=c exec=db1:1-100
db2 of=c exec=none
  db3 exec=db1:1-90
  db4 exec=db1:1-90`, "db1"},
		{"the same on MariaDB", `
db1 mariadb=10.11.6 of=c exec=0-1-100
db2 mariadb=10.11.6 of=c exec=none
  db3 exec=0-1-90`, "db1"},
		{"the primary is silent", `
db1 of=c down=timeout exec=db1:1-100
db2 of=c exec=none
  db3 exec=db1:1-90`, "db1"},
		{"an intermediate whose source somebody removed", `
db1 of=c exec=db1:1-100
db2 of=c ro exec=db1:1-100
  db3 exec=db1:1-100`, "db1"},
		{"people opened it when the primary was dead", `
db1 of=c down exec=db1:1-100
db2 of=c rw exec=db1:1-100
  db3 exec=db1:1-100`, "db2"},
		{"people opened it, and it has written since", `
db1 of=c exec=db1:1-100
db2 of=c rw exec=db1:1-100+db2:1-5
  db3 exec=db1:1-100+db2:1-5`, "db2"},
		{"a promotion on record tells more", `
db1 of=c exec=db1:1-100
db2 of=c rw promoted exec=db1:1-100
  db3 exec=db1:1-100`, "db2"},
		{"a former primary that people have made read-only", `
db1 of=c ro exec=db1:1-100
db2 of=c rw exec=db1:1-100
  db3 exec=db1:1-100`, "db2"},
		{"a copy that was written to", `
db1 of=c exec=db1:1-100
  db3 exec=db1:1-100
db2 of=c rw exec=db1:1-100+db2:1-10`, "db1"},
		{"a copy with the server id of the primary", `
db1 of=c exec=db1:1-100
  db3 exec=db1:1-100
db2 of=c id=1 rw exec=db1:1-90`, "db1"},
		{"a replica of several sources tells nothing", `
db1 of=c exec=db1:1-100
db2 of=c exec=none
  db3 also=db9 exec=db1:1-90
db9 of=c ro exec=none`, "db2"},
		{"nobody", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if p := drawing.MustParse(c.drawing).Rightful(); p != nil {
				got = p.Key.Host
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
