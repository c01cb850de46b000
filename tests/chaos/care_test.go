package chaos

import (
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/backend/report"
	"orchestrator/daemon/analysis"
	"orchestrator/daemon/api"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// What the operator wants of the pair is done by the API too: by the daemon that leads, which goes on leading, and
// which steps down when it is asked to.
func TestThePairIsCaredForByTheAPI(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		d := deploy(t, l, flavor, 2)
		d.settled()
		leader := d.leaders()[0]
		follower := d.daemons[1-slices.Index(d.daemons, leader)]
		_, passive := d.active(d.proxies[0])

		if _, err := follower.Promote(d.ctx, api.BackendPromoteRequest{To: passive.Key, By: "ann"}); err == nil ||
			!strings.Contains(err.Error(), "ask that daemon") {
			t.Errorf("the follower says %v", err)
		}
		w, err := leader.Promote(d.ctx, api.BackendPromoteRequest{To: passive.Key, By: "ann", DryRun: true})
		d.must(err)
		if w.Report == nil || !w.Report.DryRun || len(w.Report.Steps) == 0 || w.Report.Steps[0].Done {
			t.Errorf("would do %+v", w.Report)
		}
		at := time.Now()
		w, err = leader.Promote(d.ctx, api.BackendPromoteRequest{To: passive.Key, By: "ann"})
		d.must(err)
		t.Logf("promoted in %v:\n%v", time.Since(at), w.Report)
		for _, o := range d.daemons {
			d.await("all use the other member", func() bool {
				b, err := o.Backend(d.ctx)
				return err == nil && b.Serves == passive.Key && b.Identity != "" && b.Unavailable == ""
			})
		}
		b, err := leader.Backend(d.ctx)
		d.must(err)
		if i := slices.IndexFunc(b.Proxy, func(s report.ProxyServer) bool { return s.Up }); i < 0 ||
			b.Proxy[i].Key != passive.Key {
			t.Errorf("HAProxy serves %+v (%s)", b.Proxy, b.ProxyError)
		}
		v, err := leader.Verify(d.ctx, api.BackendVerifyRequest{By: "ann", Repair: true})
		d.must(err)
		if v.Comparison == nil || !v.Comparison.Equal || v.Comparison.Records == 0 {
			t.Errorf("compared: %+v", v.Comparison)
		}
		if _, err := leader.Doctor(d.ctx, api.BackendDoctorRequest{By: "ann"}); err != nil {
			t.Errorf("doctor: %v", err)
		}
		if _, err := leader.Rejoin(d.ctx, api.BackendRejoinRequest{Member: d.primary.Key, By: "ann"}); err == nil ||
			!strings.Contains(err.Error(), "is not a member of the pair") {
			t.Errorf("a stranger rejoins: %v", err)
		}

		if err := follower.StepDown(d.ctx, "ann", "upgrade"); err == nil {
			t.Error("the follower steps down")
		}
		at = time.Now()
		d.must(leader.StepDown(d.ctx, "ann", "upgrade"))
		d.await("the other leads", func() bool { ls := d.leaders(); return len(ls) == 1 && ls[0] == follower })
		t.Logf("no leader for %v", time.Since(at))
	})
}

// Two daemons, each with a member of its own, lead and take declarations. When the network heals, each is there, and
// the report says what came from where, although the members didn't replicate.
func TestASplitIsToldAndMerged(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		d := deploy(t, l, flavor, 2)
		d.settled()
		for _, m := range d.members {
			d.must(m.Exec(d.ctx, stopReceiver[flavor]))
		}
		d.must(l.Sides(
			lab.Side{Servers: d.members[:1], Daemons: d.daemons[:1], Proxies: d.proxies[:1]},
			lab.Side{Servers: d.members[1:], Daemons: d.daemons[1:], Proxies: d.proxies[1:]}))
		d.await("both lead", func() bool { return len(d.leaders()) == 2 })
		server := d.replicas[0].Key.String()
		for i, o := range d.daemons {
			d.must(o.SetTag(d.ctx, server, []string{"left", "right"}[i], "yes"))
			found, err := o.Findings(d.ctx, "")
			d.must(err)
			for _, code := range []analysis.Code{analysis.DaemonSilent, analysis.BackendMemberUnfit} {
				if !slices.ContainsFunc(found, func(f analysis.Finding) bool { return f.Code == code }) {
					t.Errorf("daemon %d does not find %s: %+v", i, code, found)
				}
			}
		}
		d.must(l.Heal())
		split := false
		d.await("both agree", func() bool {
			agree := len(d.leaders()) == 1
			for _, o := range d.daemons {
				found, err := o.Findings(d.ctx, "")
				split = split || slices.ContainsFunc(found,
					func(f analysis.Finding) bool { return f.Code == analysis.DaemonsSplit })
				s, failed := o.Status(d.ctx)
				agree = agree && err == nil && failed == nil && s.Split == "" && s.NotReady == ""
			}
			return agree
		})
		if !split {
			t.Error("the split was not a finding at any moment")
		}
		for _, o := range d.daemons {
			d.await("what was declared on either side is there", func() bool {
				v, err := o.Instance(d.ctx, server)
				return err == nil && v.Tags["left"] == "yes" && v.Tags["right"] == "yes"
			})
		}
		var told []api.BackendComparison
		d.await("the report says what was merged", func() bool {
			var err error
			if told, err = d.leaders()[0].Comparisons(d.ctx); err != nil {
				return false
			}
			merged := map[string]bool{}
			for _, p := range told {
				for _, m := range append(p.Comparison.Merged, p.Comparison.Arrived...) {
					merged[m.Kind+" "+m.Key] = true
				}
			}
			return slices.ContainsFunc(sortedKeys(merged),
				func(k string) bool { return strings.Contains(k, "left") }) &&
				slices.ContainsFunc(sortedKeys(merged), func(k string) bool { return strings.Contains(k, "right") })
		})
		for _, p := range told {
			t.Logf("%s, %s:\n%s", p.By, p.Why, p.Comparison)
		}
		for _, m := range d.members {
			d.must(m.Exec(d.ctx, startReceiver[flavor]))
		}
		d.same()
	})
}

func sortedKeys(m map[string]bool) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
