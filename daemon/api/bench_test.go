package api_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/api"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/paper"
)

// large is a fleet that is looked up as a daemon's is: clusters of five, each judged once a change.
type large struct {
	names  []string
	views  map[string]api.View
	around map[topology.Key]string
	now    time.Time
	round  uint64
}

func newLarge(clusters int) *large {
	f := &large{views: map[string]api.View{}, around: map[topology.Key]string{}, now: time.Now()}
	for c := range clusters {
		f.judge(c)
	}
	f.names = slices.Sorted(maps.Keys(f.views))
	return f
}

// judge makes another view of a cluster, all of whose servers have moved on.
func (f *large) judge(c int) {
	f.round++
	address := func(i int) topology.Key {
		return topology.Key{Host: fmt.Sprintf("db-%04d-%d.example.com", c, i), Port: 3306}
	}
	executed, err := gtid.Parse(fmt.Sprintf("3e11fa47-71ca-11e1-9e33-%012x:1-%d", c, 1000000+f.round))
	if err != nil {
		panic(err)
	}
	of := topology.Snapshot{At: f.now}
	for i := range 5 {
		k := address(i)
		s := topology.Server{Key: k, Cluster: address(0).String(), Probe: topology.Probe{Asked: f.now, Answered: f.now},
			Instance: &topology.Instance{UUID: fmt.Sprintf("3e11fa47-71ca-11e1-9e33-%06x%06x", c, i),
				ServerID: uint32(c*5 + i + 1), Hostname: k.Host, ReportHost: k.Host, Port: 3306,
				Flavor: topology.MySQL, StartedAt: f.now, ReadOnly: i > 0, SuperReadOnly: i > 0,
				LogBin: true, LogReplicaUpdates: true, BinlogFormat: "ROW", GTID: true, Executed: executed,
				BinlogFile: "binlog.000012", BinlogPos: 81827 * f.round}}
		if i > 0 {
			s.Instance.Channels = []topology.Channel{{Source: address(0),
				SourceUUID: fmt.Sprintf("3e11fa47-71ca-11e1-9e33-%06x%06x", c, 0),
				SourceID:   uint32(c*5 + 1), IO: topology.Running, IOSince: f.now, SQL: topology.Running,
				AutoPosition: true, Received: executed, Lag: new(int64),
				ReadFile: "binlog.000012", ReadPos: 81827 * f.round,
				ExecFile: "binlog.000012", ExecPos: 81827 * f.round, HeartbeatSecs: 30, User: "repl"}}
		}
		f.around[k] = s.Cluster
		of.Servers = append(of.Servers, s)
	}
	s := plan.Situate(plan.Facts{Cluster: address(0).String(), Snapshot: of, Thresholds: analysis.Defaults,
		Policy: plan.Policy{Named: true, RecoverPrimary: true, DrainTimeout: 10 * time.Second}})
	ready := plan.IfDies(s, address(0))
	f.views[s.Cluster] = api.View{Edition: f.round, Situation: s, Decide: func() plan.Decision { return plan.Next(s) },
		Readiness: func() (plan.Previewed, bool) { return ready, true }}
}

func (f *large) Views() []api.View {
	out := make([]api.View, 0, len(f.names))
	for _, name := range f.names {
		out = append(out, f.views[name])
	}
	return out
}

func (f *large) View(cluster string) (api.View, bool) {
	v, ok := f.views[cluster]
	return v, ok
}
func (f *large) Around(k topology.Key) (api.View, bool) { return f.View(f.around[k]) }
func (f *large) Aliased(string) []string                { return nil }

// nobody takes an answer and keeps nothing of it.
type nobody struct {
	head http.Header
	n    int
}

func (w *nobody) Header() http.Header         { return w.head }
func (w *nobody) WriteHeader(int)             {}
func (w *nobody) Write(b []byte) (int, error) { w.n += len(b); return len(b), nil }

// BenchmarkRead is the cost of one read at 10,000 servers, once for a program that accepts gzip and once for one that
// does not. Between two reads of a list some clusters have changed: 20 of 2,000 change in 10 ms if each server is
// probed every 5 s.
func BenchmarkRead(b *testing.B) {
	f := newLarge(2000)
	d := paper.New("")
	nouns := d.Nouns()
	nouns.Fleet = f
	a, err := api.New(nouns, api.Options{})
	if err != nil {
		b.Fatal(err)
	}
	root, err := httpd.New(httpd.Options{}, a.Mounts()...)
	if err != nil {
		b.Fatal(err)
	}
	one := "/api/v1/clusters/" + f.names[7]
	for _, c := range []struct {
		name, path string
		changes    int
	}{
		{"cluster", one, 0}, {"cluster by server", "/api/v1/clusters/db-0007-3.example.com", 0},
		{"plan", one + "/plan", 0},
		{"findings of one", one + "/findings", 0}, {"drawing", one + "/drawing", 0},
		{"instance", "/api/v1/instances/db-0007-3.example.com", 0},
		{"clusters", "/api/v1/clusters", 20}, {"findings", "/api/v1/findings", 20},
		{"instances", "/api/v1/instances", 20},
		{"snapshot", "/api/v1/snapshot", 20},
	} {
		for _, accept := range []string{"gzip", "identity"} {
			b.Run(c.name+"/"+accept, func(b *testing.B) {
				r := httptest.NewRequest("GET", c.path, nil)
				r.Header.Set("Accept-Encoding", accept)
				n, next := 0, 0
				root.ServeHTTP(&nobody{head: http.Header{}}, r)
				for b.Loop() {
					b.StopTimer()
					for range c.changes {
						f.judge(next % 2000)
						next++
					}
					w := &nobody{head: http.Header{}}
					b.StartTimer()
					root.ServeHTTP(w, r)
					n = w.n
				}
				b.ReportMetric(float64(n), "bytes")
			})
		}
	}
}
