package chaos

import (
	"context"
	"database/sql"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// patient is a client of the backend through a HAProxy that has no timeout of its own: a client that is connected to a
// host that falls silent waits for as long as HAProxy has it wait.
type patient struct {
	name  string
	ended chan time.Time // when its session was over
}

// patients of a proxy: one whose connection lies in a pool, one that waits for an answer, and one that asks all the
// time.
func (d *deployment) patients(h *lab.HAProxy) []patient {
	d.Helper()
	open := func() (*sql.Conn, net.Conn) {
		d.Helper()
		c, raw := mysql.NewConfig(), net.Conn(nil)
		c.User, c.Passwd, c.Addr, c.Logger = lab.BackendUser, lab.BackendPassword, h.Database, &mysql.NopLogger{}
		c.DialFunc = func(ctx context.Context, network, address string) (_ net.Conn, err error) {
			raw, err = (&net.Dialer{KeepAlive: -1}).DialContext(ctx, network, address)
			return raw, err
		}
		connector, err := mysql.NewConnector(c)
		d.must(err)
		db := sql.OpenDB(connector)
		session, err := db.Conn(d.ctx) // one: database/sql would open another in the place of one that is over
		d.must(err)
		d.Cleanup(func() { raw.Close(); session.Close(); db.Close() })
		return session, raw
	}
	var out []patient
	begin := func(name string, untilEnded func()) {
		p := patient{name, make(chan time.Time, 1)}
		go func() { untilEnded(); p.ended <- time.Now() }()
		out = append(out, p)
	}
	_, idle := open()
	begin("idle", func() { _, _ = idle.Read(make([]byte, 1)) }) // nobody asks, so nothing comes but the end
	waits, _ := open()
	begin("waiting", func() { _ = waits.QueryRowContext(context.Background(), "SELECT SLEEP(600)").Scan(new(int)) })
	asks, _ := open()
	begin("asking", func() {
		for asks.QueryRowContext(context.Background(), "SELECT 1").Scan(new(int)) == nil {
			time.Sleep(time.Millisecond)
		}
	})
	return out
}

// without is a second HAProxy beside the first daemon, whose configuration lacks a line of the first one's.
func (d *deployment) without(line string) *lab.HAProxy {
	d.Helper()
	h, err := d.lab.NewHAProxy("")
	d.must(err)
	text, err := exec.CommandContext(d.ctx, binary, "haproxy", "config", "--config", d.daemons[0].ConfigFile,
		"--version", "2.6").Output()
	d.must(err)
	config := strings.NewReplacer(d.proxies[0].Socket, h.Socket, d.proxies[0].Host, h.Host, line,
		"").Replace(string(text))
	if !strings.Contains(string(text), line) {
		d.Fatalf("the configuration has no %q:\n%s", line, text)
	}
	d.must(h.Write(config))
	d.must(h.Start(d.ctx))
	d.active(h)
	return h
}

// The host of the active member falls silent, as one does that loses its power: no reset comes, and no end. Whoever is
// connected to it through HAProxy is thrown off in the time that the switch takes. It is on-marked-down that does it:
// without that line they wait on.
func TestSessionsWithASilentMemberEnd(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		for range runs() {
			d := deploy(t, l, flavor, 2)
			d.settled()
			active, passive := d.active(d.proxies[0])
			control := d.patients(d.without("    default-server on-marked-down shutdown-sessions\n"))
			thrown := d.patients(d.proxies[0])
			time.Sleep(100 * time.Millisecond) // the one that waits has asked

			cut := time.Now()
			d.must(l.Cut(active))
			d.await("the other member serves", func() bool {
				servers, err := d.proxies[0].Runtime().Servers(d.ctx, "members")
				for _, s := range servers {
					if err == nil && s.Serves() && s.Address == passive.Key.String() {
						return true
					}
				}
				return false
			})
			switched := time.Since(cut)
			for _, p := range thrown {
				select {
				case at := <-p.ended:
					t.Logf("a session that is %s ended %.2f s after the host fell silent; the other member served "+
						"after %.2f s", p.name, at.Sub(cut).Seconds(), switched.Seconds())
				case <-time.After(time.Second):
					t.Errorf("a session that is %s has not ended %v after the host fell silent; the other member "+
						"served after %v", p.name, time.Since(cut), switched)
				}
			}
			d.await("the daemon itself writes to the other member", func() bool {
				ctx, stop := context.WithTimeout(d.ctx, time.Second)
				defer stop()
				return d.daemons[0].SetTag(ctx, d.server, "after", "silence") == nil
			})
			t.Logf("the daemon took a declared write %.2f s after the host fell silent", time.Since(cut).Seconds())
			if since := time.Since(cut); since > 10*time.Second {
				t.Errorf("that took %v", since)
			}
			time.Sleep(2 * time.Second)
			for _, p := range control {
				select {
				case at := <-p.ended:
					t.Errorf("without the line, too, a session that is %s ended, after %v: the test can't tell", p.name,
						at.Sub(cut))
				default:
				}
			}
			d.must(l.Heal())
			d.reset()
		}
	})
}
