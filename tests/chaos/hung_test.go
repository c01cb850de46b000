package chaos

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/haproxy"
	"orchestrator/tests/lab"
)

// total is how many sessions a HAProxy has given to a member.
func (d *deployment) total(h *lab.HAProxy, m *lab.Server) int {
	d.Helper()
	servers, err := h.Runtime().Servers(d.ctx, "members")
	d.must(err)
	for _, s := range servers {
		if s.Address == m.Key.String() {
			return s.Total
		}
	}
	d.Fatalf("HAProxy at %s has no server %v", h.Host, m.Key)
	return 0
}

var stayStopped = map[topology.Flavor]string{lab.MariaDB: "--skip-slave-start=1", lab.MySQL: "--skip-replica-start=1"}

// A daemon hangs, the active member dies and comes back stale while it does, and the daemon goes on with what it knew
// before. Its HAProxy never serves the stale one: neither on the last word of the daemon that hangs, nor on its first.
func TestDaemonHangsWhileTheActiveChanges(t *testing.T) {
	long(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		for run := range runs() {
			d := deploy(t, l, flavor, 3)
			d.settled()
			leader := d.leaders()[0]
			// the leader, or another
			i := slices.IndexFunc(d.daemons, func(o *lab.Daemon) bool { return (o == leader) == (run%2 == 0) })
			hung, proxy := d.daemons[i], d.proxies[i]
			other := d.proxies[(i+1)%3]
			active, passive := d.active(proxy)
			d.must(passive.StopReplica(d.ctx))

			db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/%s?timeout=1s&readTimeout=1s", lab.BackendUser,
				lab.BackendPassword, proxy.Database, lab.BackendDatabase))
			d.must(err)
			defer db.Close()
			db.SetMaxIdleConns(0)
			var stale, served atomic.Int64
			ctx, cancel := context.WithCancel(d.ctx)
			var clients sync.WaitGroup
			clients.Go(func() {
				for ctx.Err() == nil {
					id := 0
					if db.QueryRowContext(ctx, "SELECT @@server_id").Scan(&id) == nil {
						served.Add(1)
						if id == active.ServerID {
							stale.Add(1)
						}
					}
					time.Sleep(2 * time.Millisecond)
				}
			})
			stop := func() { cancel(); clients.Wait() }
			defer stop()

			d.must(hung.Hang())
			at := time.Now()
			d.must(active.Kill())
			d.await("the others are served the other member",
				func() bool { got, _ := d.active(other); return got == passive })
			d.await("the HAProxy of the daemon that hangs serves nobody", func() bool {
				servers, err := proxy.Runtime().Servers(d.ctx, "members")
				return err == nil && !slices.ContainsFunc(servers, func(s haproxy.Server) bool { return s.Serves() })
			})
			fenced := time.Since(at)
			if fenced > 7*time.Second {
				t.Errorf("a daemon that hangs was believed for %v", fenced)
			}
			d.must(active.Restart(d.ctx, stayStopped[flavor]))
			stale.Store(0)
			before := d.total(proxy, active)
			var answering *lab.Daemon // one that writes to the other member
			for j, o := range d.daemons {
				if j != i {
					answering = o
				}
			}
			d.await("declared writes get through",
				func() bool { return answering.SetTag(d.ctx, d.replicas[0].Key.String(), "while", "hung") == nil })
			time.Sleep(time.Second)
			d.must(hung.Continue())
			at = time.Now()
			d.await("it is served the other member, too", func() bool {
				servers, err := proxy.Runtime().Servers(d.ctx, "members")
				return err == nil && slices.ContainsFunc(servers, func(s haproxy.Server) bool {
					return s.Serves() && s.Address == passive.Key.String()
				})
			})
			back := time.Since(at)
			time.Sleep(2 * time.Second)
			stop()
			n := d.total(proxy, active) - before
			t.Logf("nobody served %v after the daemon hung; served again %v after it went on; connections to the "+
				"stale member: HAProxy counts %d, clients %d (of %d)", fenced, back, n, stale.Load(), served.Load())
			if n > 0 || stale.Load() > 0 {
				t.Errorf("%d connections to the stale member", n)
			}
			d.must(l.Reset())
		}
	})
}
