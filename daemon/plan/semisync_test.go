package plan_test

import (
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// What was acknowledged, and by whom, decides whether a promotion may lose what clients were told is safe.
func TestWhatWasAcknowledged(t *testing.T) {
	const lost = "acknowledged"
	for _, c := range []struct {
		name, drawing string
		loss          bool
		want          string // promoted host, or "refused"
		bound         string // part of the stated bound; "" when it must not speak of acknowledgements
	}{
		{"the only acknowledger is silent", `
db1 down semisync=source,active,wait=1,clients=1
  db2 ioerr=2003
  db3 down=timeout since=5s semisync=replica`, false, "refused", ""},
		{"the only acknowledger is silent, and the policy allows the loss", `
db1 down semisync=source,active,wait=1,clients=1
  db2 ioerr=2003
  db3 down=timeout since=5s semisync=replica`, true, "db2", "what only db3:3306 acknowledged is lost"},
		{"the only acknowledger was taken away, with what it had acknowledged", `
db1 down of=c semisync=source,active,wait=1
  db2 ioerr=2003 exec=db1:1-99 recv=db1:1-99
db3 of=c ro left=db1,1s semisync=replica exec=db1:1-100`, false, "refused", ""},
		{"the only acknowledger was taken away, and has nothing more", `
db1 down of=c semisync=source,active,wait=1
  db2 ioerr=2003 exec=db1:1-100
db3 of=c ro left=db1,1s semisync=replica exec=db1:1-100`, false, "db2", ""},
		{"both acknowledgers are silent", `
db1 down semisync=source,active,wait=1,clients=2
  db2 ioerr=2003
  db3 down=timeout since=5s semisync=replica
  db4 down since=5s semisync=replica`, false, "refused", ""},
		{"nobody in reach acknowledges, and the primary counted one", `
db1 down semisync=source,active,wait=1,clients=1
  db2 ioerr=2003`, false, "refused", ""},
		{"one of two acknowledgers is silent: what only that one has is lost, and said", `
db1 down semisync=source,active,wait=1,clients=2
  db2 ioerr=2003 semisync=replica
  db3 down=timeout since=5s semisync=replica`, false, "db2", "what only db3:3306 acknowledged is lost"},
		{"a commit waited for both, so the one in reach has all that was acknowledged", `
db1 down semisync=source,active,wait=2,clients=2
  db2 ioerr=2003 semisync=replica
  db3 down=timeout since=5s semisync=replica`, false, "db2", ""},
		{"a replica that fell silent long before acknowledged nothing of late", `
db1 down semisync=source,active,wait=1
  db2 ioerr=2003
  db3 down=timeout since=1h semisync=replica`, false, "db2", ""},
		{"the only acknowledger filters: what it acknowledged it has in part", `
db1 down semisync=source,active,wait=1,clients=1
  db2 ioerr=2003 semisync=replica filters recv=1-120
  db3 ioerr=2003 recv=1-100`, false, "refused", ""},
		{"the same, and the policy allows the loss", `
db1 down semisync=source,active,wait=1,clients=1
  db2 ioerr=2003 semisync=replica filters recv=1-120
  db3 ioerr=2003 recv=1-100`, true, "db3", "what only db2:3306, which filters what it replicates, acknowledged is lost"},
		{"the primary counted one more than we reach: it may be the one that is silent to us for long", `
db1 down semisync=source,active,wait=1,clients=2
  db2 ioerr=2003 semisync=replica
  db3 down=timeout since=1h semisync=replica`, false, "db2",
			"what only db3:3306, which this daemon has not reached for longer, acknowledged is lost"},
		{"an acknowledger that may not be promoted gives what it has", `
db1 down semisync=source,active,wait=1,clients=1
  db2 ioerr=2003 semisync=replica must_not recv=1-120
  db3 ioerr=2003 recv=1-100`, false, "db3", ""},
		{"the only acknowledger died with a server below it that has something, not all", `
db1 down semisync=source,active,wait=1,clients=1
  db2 down since=5s semisync=replica
    db3 ioerr=2003 exec=1-120 recv=1-120
  db4 ioerr=2003`, false, "refused", ""},
		{"the primary had fallen back: nothing was acknowledged", `
db1 down semisync=source,wait=1,clients=1
  db2 ioerr=2003
  db3 down=timeout since=5s semisync=replica`, false, "db2", ""},
		{"the primary counted one that was there, and not one that has been started since", `
db1 down semisync=source,active,wait=1,clients=1
  db2 ioerr=2003 semisync=replica started=1s
  db3 down=timeout since=5s semisync=replica`, false, "db2", "what only db3:3306 acknowledged is lost"},
		{"the primary counted two, and a candidate below another replica is none of them", `
db1 down semisync=source,active,wait=1,clients=2
  db2 ioerr=2003 semisync=replica must_not
    db3 semisync=replica
  db4 down=timeout since=5s semisync=replica`, false, "db3", "what only db4:3306 acknowledged is lost"},
		{"it had, and a replica that acknowledges was moved under it since it last answered", `
db1 down semisync=source,wait=1,clients=0
  db2 ioerr=2003
  db3 down=timeout since=5s semisync=replica`, false, "refused", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := situation(c.drawing).Facts
			f.Policy.AllowReceivedLoss = c.loss
			w := plan.Preview(plan.Situate(f)).Main()
			got := w.Promoted().Host
			if len(w.Refused) > 0 {
				got = "refused"
			}
			said := strings.Contains(w.Bound, lost)
			if got != c.want || !strings.Contains(w.Bound, c.bound) || said != (c.bound != "") {
				t.Errorf("%s%v, bound %q", got, w.Refused, w.Bound)
			}
		})
	}
}

// A promoted server waits for acknowledgements only if they can come.
func TestTheSourceSideOfAPromotedServer(t *testing.T) {
	for _, c := range []struct {
		name, drawing string
		want          plan.Switch
	}{
		{"a replica that acknowledges follows", `
db1 down semisync
  db2 ioerr=2003 semisync
  db3 ioerr=2003 semisync`, plan.On},
		{"nobody is left", `
db1 down semisync
  db2 ioerr=2003 semisync`, plan.Off},
		{"the others do not acknowledge", `
db1 down semisync=source,active,wait=1
  db2 ioerr=2003 semisync
  db3 ioerr=2003`, plan.Off},
		{"its own side is on already and waits for two", `
db1 down semisync=source,active,wait=1,clients=2
  db2 ioerr=2003 semisync=source,replica,wait=2
  db3 ioerr=2003 semisync`, plan.Off},
		{"the one that acknowledges can't follow it", `
db1 down semisync
  db2 ioerr=2003 semisync prefer mysql=8.4.0
  db3 ioerr=2003 semisync mysql=8.0.36 must_not`, plan.Off},
		{"the failed primary did not wait, so its successor need not", `
db1 down
  db2 ioerr=2003 semisync
  db3 ioerr=2003 semisync`, ""},
		{"no server knows semi-sync", `
db1 down
  db2 ioerr=2003`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := plan.Preview(situation(c.drawing))
			for _, s := range p.Steps {
				if s.Kind == plan.Promote {
					if s.SemiSync != c.want || p.Main().Episode.Unacknowledged != (c.want == plan.Off) {
						t.Errorf("%q: %s", s.SemiSync, s.Why)
					}
					return
				}
			}
			t.Errorf("nobody is promoted: %v", p.Main().Refused)
		})
	}
}

// After the promotion the source side follows what the replicas do.
func TestTheSourceSideAfterAPromotion(t *testing.T) {
	at := situation("db1").Snapshot.At
	ended := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db9"), Candidate: key("db1"),
		Stage: plan.Ended, Promoted: at.Add(-time.Hour), Closed: at, Outcome: "db1 replaces db9", Unacknowledged: true}
	open := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db9"), Candidate: key("db1"),
		Stage: plan.Promoted, Promoted: at.Add(-time.Second), Touched: []topology.Key{key("db2")}}
	late, before, ahead := open, ended, open
	ahead.Promoted = at.Add(tenYears) // by a clock that was ahead
	late.Promoted, before.Unacknowledged = at.Add(-3*time.Second), false
	for _, c := range []struct {
		name, drawing string
		episode       plan.Episode
		want          string
	}{
		{"enough acknowledge again", `
db1 semisync=replica
  db2 semisync=replica`, ended, "semi_sync_on db1"},
		{"too few acknowledge", `
db1 semisync=replica,wait=2
  db2 semisync=replica`, ended, ""},
		{"the one that acknowledges does not receive", `
db1 semisync=replica
  db2 semisync=replica io=no`, ended, ""},
		{"somebody else switched it off", `
db1 semisync=replica
  db2 semisync=replica`, before, ""},
		{"the acknowledger has a moment to come", `
db1 semisync=source,active
  db2 semisync=replica io=connecting`, open, "wait"},
		{"the acknowledger does not come", `
db1 semisync=source,active
  db2 semisync=replica io=connecting`, late, "semi_sync_off db1"},
		{"the acknowledger does not come, and the promotion is yet to come by this clock", `
db1 semisync=source,active
  db2 semisync=replica io=connecting`, ahead, "semi_sync_off db1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := plan.Next(under(c.drawing, c.episode))
			var got []string
			for _, s := range d.Steps() {
				got = append(got, string(s.Kind)+" "+s.At.Host)
			}
			text := strings.Join(got, "; ")
			if d.Wait() != "" && text == "" {
				text = "wait"
			}
			if text != c.want {
				t.Errorf("got %s (%s), want %s", text, d.Wait(), c.want)
			}
		})
	}
}

// A cluster whose primary does not wait for acknowledgements as it was set up to, or whose commits hang, is not ready.
func TestReadinessKnowsSemiSync(t *testing.T) {
	for _, c := range []struct{ name, drawing, doubt string }{
		{"enough acknowledge", `
db1 semisync
  db2 semisync
  db3 semisync`, ""},
		{"fallen back", `
db1 semisync=source,wait=1,clients=1
  db2 semisync
  db3`, "has fallen back to asynchronous replication"},
		{"too few", `
db1 semisync=source,active,wait=2,clients=1,timeout=10s
  db2 semisync
  db3`, "its next commit hangs, for 10 s at most"},
		{"the source side is off", `
db1 semisync=replica
  db2 semisync
  db3`, "has the source side of semi-synchronous replication off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := plan.IfDies(situation(c.drawing), key("db1"))
			got := strings.Join(p.Doubts, "; ")
			ready := c.doubt == ""
			if !p.Done() || p.Ready() != ready || (got == "") != ready || !strings.Contains(got, c.doubt) {
				t.Errorf("done %v, ready %v, doubts %q, %v", p.Done(), p.Ready(), got, p.Main().Refused)
			}
		})
	}
}

// A promoted server died before it was asked whether its commits wait, since it was promoted, or told to wait again.
func TestItMayHaveWaitedSinceItWasAsked(t *testing.T) {
	at := situation("db1").Snapshot.At
	last := plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Failed: key("db9"), Candidate: key("db1"), Opened: at,
		Stage: plan.Ended, Promoted: at.Add(-time.Hour), Closed: at, Outcome: "db1 replaces db9"}
	again, just := last, last
	again.Unacknowledged, just.Promoted = true, at
	for name, c := range map[string]struct {
		last    plan.Episode
		refused bool
	}{
		"it was asked since":          {last, false},
		"it was told to wait again":   {again, true},
		"it was promoted just now":    {just, true},
		"nobody knows of a promotion": {plan.Episode{ID: "n", Kind: plan.Aftercare}, false},
	} {
		s := under("db1 down semisync=replica,wait=1\n  db2 ioerr=2003\n  db3 down=timeout since=5s semisync=replica",
			c.last)
		if w := plan.Preview(s).Main(); (len(w.Refused) > 0) != c.refused {
			t.Errorf("%s: refused: %v", name, w.Refused)
		}
	}
}
