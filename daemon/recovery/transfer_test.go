package recovery

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// halfSeen is a dead primary one of whose replicas is silent.
const halfSeen = `
db1 down
  db2 exec=db1:1-100 recv=db1:1-100 io=connecting ioerr=2003
  db3 down=timeout`

// sighted are other daemons that reach these servers.
func sighted(hosts ...string) func(context.Context, topology.Key) []plan.Peer {
	return func(_ context.Context, k topology.Key) []plan.Peer {
		out := slices.Clone(agreeing)
		out[0].Reaches = slices.Contains(hosts, k.Host)
		return out
	}
}

func TestWhoSeesLessGivesTheLeadershipAway(t *testing.T) {
	for _, c := range []struct {
		name    string
		drawing string
		reaches []string
		fails   bool // to give it away
		yields  int
	}{
		{"another reaches the silent one as well", halfSeen, []string{"db2", "db3"}, false, 1},
		{"another reaches the silent one only", halfSeen, []string{"db3"}, false, 0},
		{"it is silent to all", halfSeen, []string{"db2"}, false, 0},
		{"nothing is silent", dead, []string{"db2", "db3"}, false, 0},
		{"it can't be given away", halfSeen, []string{"db2", "db3"}, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &others{peers: agreeing}
				o.gate()
				p := draw(c.drawing)
				r := runner(t, p, open(t))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				yields := 0
				r.Transfer = NewTransfer(func() plan.PeerStatus { return o.self }, sighted(c.reaches...),
					func(context.Context) error {
						o.change(func() { yields++ })
						if c.fails {
							return errors.New("the lease is busy")
						}
						cancel()
						return nil
					}, slog.New(slog.DiscardHandler)).Ask
				ended := make(chan struct{})
				go func() { defer close(ended); _ = r.Run(ctx) }()
				left := c.yields > 0 && !c.fails
				for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
					if es := r.Episodes(""); !left && len(es) > 0 && !es[0].Promoted.IsZero() || left &&
						ctx.Err() != nil {
						break
					}
				}
				cancel()
				<-ended
				p.mu.Lock()
				promoted := slices.ContainsFunc(p.done, func(s string) bool { return strings.HasPrefix(s, "promote") })
				p.mu.Unlock()
				if promoted == left || yields != c.yields {
					t.Errorf("promoted: %v, and the leadership was given away %d times, want %d", promoted, yields,
						c.yields)
				}
			})
		})
	}
}

// Who gets it back in the same episode acts: the others have had their turn.
func TestTheLeadershipIsGivenAwayOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &others{peers: agreeing}
		o.gate()
		h := NewTransfer(func() plan.PeerStatus { return o.self }, sighted("db2", "db3"),
			func(context.Context) error { return nil }, slog.New(slog.DiscardHandler))
		s := runner(t, draw(halfSeen), open(t)).Judged("db1:3306").Situation
		e := plan.Episode{ID: "e", Failed: topology.Key{Host: "db1", Port: 3306}}
		if why := h.Ask(t.Context(), s, e); !strings.Contains(why, "b reaches db3:3306") {
			t.Errorf("it keeps it: %q", why)
		}
		if why := h.Ask(t.Context(), s, e); why != "" {
			t.Errorf("it gives it away again: %s", why)
		}
	})
}
