package hard

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// forget makes a replica one no more.
func forget(f *watched.Fleet, s *lab.Server) {
	f.Helper()
	threads(f, s, "STOP", "")
	if s.Flavor == lab.MariaDB {
		f.Must(s.Exec(f.Ctx, "RESET SLAVE ALL"))
	} else {
		f.Must(s.Exec(f.Ctx, "RESET REPLICA ALL"))
	}
}

// A former replica that somebody uses as a scratch copy, with rows of its own, was taken for the new primary, and all
// good replicas were moved below it.
func TestAScratchCopyIsNotAdopted(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := shop(t, l, lab.Spec{Flavor: flavor}, 3)
		sell(f, 1, 20)
		for _, r := range f.Replicas {
			caughtUp(f, r)
		}
		scratch := f.Replicas[2]
		f.Replicas = f.Replicas[:2]
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy,
			Seeds: []topology.Key{f.Primary.Key, scratch.Key}})
		_, err := f.API.AwaitServers(f.Ctx, 4)
		f.Must(err)
		forget(f, scratch)
		f.Must(scratch.SetReadOnly(f.Ctx, false))
		for i := range 60 {
			f.Must(scratch.Exec(f.Ctx, fmt.Sprintf("INSERT INTO shop.t VALUES (%d)", 1000+i)))
		}
		f.Within(10*time.Second, "the daemon sees the copy", func() bool {
			s, err := f.API.Snapshot(f.Ctx, "")
			v := s.Snapshot.Server(scratch.Key)
			return err == nil && v != nil && v.Up() && len(v.Instance.Channels) == 0 && !v.Instance.ReadOnly
		})
		f.Must(f.Primary.Kill())
		_, primary := f.Promoted()
		f.Settled(primary)
		for _, s := range f.Replicas {
			caughtUpWith(f, s, primary)
			if n := sold(f, s); n != 20 {
				t.Errorf("%v has %d rows, and the primary had 20", s.Key, n)
			}
		}
	})
}

func caughtUpWith(f *watched.Fleet, r, source *lab.Server) {
	f.Helper()
	f.Await("it has executed what the new primary has", func() bool {
		want, err := source.Executed(f.Ctx)
		have, err2 := r.Executed(f.Ctx)
		return err == nil && err2 == nil && have.Contains(want)
	})
}

// An intermediate lost its source to a person's mistake, and stood at the top of a tree. When it died, its replica was
// promoted beside the primary, which took writes all the time.
func TestAnIntermediateWithoutItsSourceIsNoPrimary(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := shop(t, l, lab.Spec{Flavor: flavor}, 2)
		middle, below := f.Replicas[0], f.Replicas[1]
		f.Must(l.ReplicateFrom(f.Ctx, below, middle))
		sell(f, 1, 20)
		for _, r := range f.Replicas {
			caughtUp(f, r)
		}
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy})
		_, err := f.API.AwaitServers(f.Ctx, 3)
		f.Must(err)
		forget(f, middle)
		f.Within(10*time.Second, "the daemon sees it without a source", func() bool {
			s, err := f.API.Snapshot(f.Ctx, "")
			v := s.Snapshot.Server(middle.Key)
			return err == nil && v != nil && v.Up() && len(v.Instance.Channels) == 0
		})
		f.Must(middle.Kill())
		f.Replicas = []*lab.Server{below}
		const why = "it is the primary, and %v was between the two"
		f.Within(30*time.Second, "the daemon says why nobody is promoted", func() bool {
			return strings.Contains(fmt.Sprint(f.Refused()), fmt.Sprintf(why, middle.Key))
		})
		f.During(2*time.Second, "nobody is promoted", func() bool { return f.NoFailover() != "" })
	})
}

// A refusal is an event: hooks hear that the primary died and that nothing is done, once, and it goes on by itself when
// a person lifts the reason.
func TestARefusalReachesHooks(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		chat := watched.NewChat(t)
		f := watched.Start(t, l, lab.Spec{Flavor: flavor}, 1, lab.DaemonSpec{Binary: binary, Config: chat.Config(t)})
		r := f.Replicas[0]
		f.Must(f.API.SetRule(f.Ctx, r.Key.String(), topology.MustNot))
		f.Must(f.Primary.Kill())
		f.Within(30*time.Second, "the hook hears that it is blocked", func() bool {
			return slices.Contains(chat.Heard(), "blocked")
		})
		f.During(3*time.Second, "the hook hears it once", func() bool {
			return slices.Equal(chat.Heard(), []string{"opened", "blocked"})
		})
		es, err := f.API.Episodes(f.Ctx, "", "")
		f.Must(err)
		if len(es) != 1 || !strings.Contains(es[0].Blocked, "its promotion rule is must_not") {
			t.Errorf("on record: %+v", es)
		}
		f.Must(f.API.SetRule(f.Ctx, r.Key.String(), topology.Neutral))
		e, primary := f.Promoted()
		if primary != r || e.ID != es[0].ID {
			t.Errorf("episode %s of %v, and %s was blocked", e.ID, e.Candidate, es[0].ID)
		}
	})
}

// The primary dies just after an intermediate source, whose work is still open.
func TestThePrimaryDiesAfterAnIntermediate(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 5)
		middle := f.Replicas[0]
		for _, r := range f.Replicas[1:3] {
			f.Must(l.ReplicateFrom(f.Ctx, r, middle))
		}
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy, Seeds: []topology.Key{f.Primary.Key}})
		_, err := f.API.AwaitServers(f.Ctx, 6)
		f.Must(err)
		f.Must(middle.Kill())
		time.Sleep(50 * time.Millisecond)
		f.Must(f.Primary.Kill())
		_, primary := f.Promoted()
		f.Settled(primary, middle)
	})
}
