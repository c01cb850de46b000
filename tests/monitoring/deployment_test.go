package monitoring

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// bound ends the test on a machine that is busy.
const bound = 4 * time.Minute

// deployment is two daemons with a pair, one that is alone, a cluster, and a Prometheus that watches them.
type deployment struct {
	*testing.T
	ctx      context.Context
	lab      *lab.Lab
	members  []*lab.Server
	primary  *lab.Server
	replicas []*lab.Server
	daemons  []*lab.Daemon
	alone    *lab.Daemon
	*lab.Prometheus
}

func (d *deployment) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// await asks twice a second.
func (d *deployment) await(what string, holds func() string) {
	d.Helper()
	for {
		says := holds()
		if says == "" {
			return
		}
		select {
		case <-d.ctx.Done():
			d.Fatalf("in vain: %s: %s", what, says)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

const policy = `
[[policy]]
clusters = ["*"]
recover_primary = true

[[hook]]
name = "chat"
on = ["opened", "promoted", "recovered"]
command = ["/bin/true"]

[[hook]]
name = "pager"
on = ["promoted"]
command = ["/bin/false"]
attempts = 2
`

func deploy(t *testing.T) *deployment {
	t.Helper()
	l := lab.Test(t)
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	t.Cleanup(cancel)
	d := &deployment{T: t, ctx: ctx, lab: l}
	binary, err := lab.Build(ctx, t.TempDir())
	d.must(err)
	a, b, err := l.Pair(ctx, lab.MariaDB, lab.Quick()...)
	d.must(err)
	d.members = []*lab.Server{a, b}
	d.primary, d.replicas = l.TestCluster(t, lab.Spec{Flavor: lab.MariaDB}, 2)
	seeds := []topology.Key{d.primary.Key}
	d.daemons, _, err = l.StartDaemons(ctx, 2, lab.DaemonSpec{Binary: binary, Seeds: seeds, Config: policy}, a, b)
	t.Cleanup(func() {
		if t.Failed() {
			for _, o := range l.Daemons() {
				t.Logf("log of the daemon at %s:\n%s", o.URL, o.Log())
			}
		}
	})
	d.must(err)
	// The third has certificates, and no policy.
	d.alone, err = l.StartDaemon(ctx, lab.DaemonSpec{Binary: binary, Seeds: seeds,
		Config: fmt.Sprintf("[peers]\nca = %q\n", authority(t))})
	d.must(err)
	for _, o := range append(d.daemons, d.alone) {
		_, err := o.AwaitServers(ctx, 3)
		d.must(err)
	}
	// The example, with our addresses, and in a hurry.
	config := read(t, files+"/prometheus.yml")
	for i, o := range append(d.daemons, d.alone) {
		config = strings.ReplaceAll(config, fmt.Sprintf("orchestrator%d:3000", i+1),
			strings.TrimPrefix(o.URL, "http://"))
	}
	config = strings.ReplaceAll(config, "_interval: 15s", "_interval: 1s")
	d.Prometheus, err = l.StartPrometheus(ctx, config,
		map[string]string{"orchestrator.rules.yml": read(t, files+"/orchestrator.rules.yml")})
	d.must(err)
	t.Cleanup(func() {
		if err := d.Prometheus.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// authority is a certificate that ends in a week.
func authority(t *testing.T) string {
	t.Helper()
	cert, _ := lab.SelfSigned(t, time.Now().Add(7*24*time.Hour))
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// alerts are those that wait or fire, as "name labels", without what all have.
func (d *deployment) alerts() (out []string) {
	d.Helper()
	var data struct {
		Alerts []struct{ Labels, Annotations map[string]string }
	}
	d.must(d.Get(d.ctx, "/api/v1/alerts", nil, &data))
	for _, a := range data.Alerts {
		for k, v := range a.Annotations {
			if strings.Contains(v, "{{") || strings.Contains(v, "<no value>") || strings.Contains(v, "error") {
				d.Errorf("%s: its %s is %q", a.Labels["alertname"], k, v)
			}
		}
		says := a.Labels["alertname"]
		for _, k := range []string{"cluster", "member", "instance", "source", "use", "hook"} {
			if v := a.Labels[k]; v != "" {
				says += " " + v
			}
		}
		if !slices.Contains(out, says) {
			out = append(out, says)
		}
	}
	slices.Sort(out)
	return out
}

// alert waits for some, and says nothing of others.
func (d *deployment) alert(want ...string) {
	d.Helper()
	d.await("alerts", func() string {
		got := d.alerts()
		for _, w := range want {
			if !slices.Contains(got, "Orchestrator"+w) {
				return fmt.Sprintf("%q is missing; there are %q", w, got)
			}
		}
		return ""
	})
}

func TestARealPrometheus(t *testing.T) {
	d := deploy(t)
	cluster := d.primary.Key.String()

	// All is well. The one that is alone leads, too, and would be a second leader if it were of the same deployment, as
	// here: that is the only alert, beside those of its certificate and of recoveries that nobody wants.
	d.await("readiness", func() string {
		got, err := d.Query(d.ctx, "min(job_cluster:orchestrator_cluster_failover_ready:max)")
		if err != nil || len(got) != 1 || got[0].Value[1] != "1" {
			return fmt.Sprintf("%v (%v)", got, err)
		}
		return ""
	})
	calm := []string{"OrchestratorCertificateExpires " + instance(d.alone) + " peers", "OrchestratorTwoLeaders"}
	d.await("calm", func() string {
		if got := d.alerts(); !slices.Equal(got, calm) {
			return fmt.Sprintf("there are %q", got)
		}
		return ""
	})
	d.healthy()
	shown := d.known()

	// Things happen.
	d.must(d.replicas[1].StopReplica(d.ctx))
	d.alert("ReplicationBroken " + cluster)
	d.queries(cluster, shown) // while there is a finding
	d.must(d.replicas[1].StartReplica(d.ctx))
	_, err := d.replicas[1].DB().ExecContext(d.ctx, "SET GLOBAL read_only = 0")
	d.must(err)
	d.alert("TwoWritable " + cluster)
	d.must(d.replicas[1].Exec(d.ctx, "SET GLOBAL read_only = 1"))
	d.must(d.primary.Kill())
	told, _ := d.leader()
	d.alert("FailoverDone "+cluster, "HookFailing "+instance(told)+" pager")
	d.told(told)
	d.known() // promtool reads the metrics of what has failed over, too
	passive := d.passive()
	active := d.members[1-slices.Index(d.members, passive)]
	d.must(active.Kill())
	d.alert("BackendMemberDown "+active.Key.String(), "BackendSwitched")
	leader, other := d.leader()
	d.must(leader.Kill())
	d.alert("DaemonDown "+instance(leader), "PeersSilent "+instance(other))
	d.await("the other leads", func() string {
		if !d.leads(other) {
			return "it does not"
		}
		return ""
	})
	d.must(passive.Kill())
	d.alert("BackendBothMembersDown", "BackendUnavailable "+instance(other))
	d.healthy()
	d.remembered(cluster)
}

// told checks what is shown of the hooks after the failover: each attempt once, by the daemon that led.
func (d *deployment) told(leader *lab.Daemon) {
	d.Helper()
	for expr, want := range map[string]string{
		`orchestrator_hook_runs_total{hook="chat",outcome="ok"}`:      "3",
		`orchestrator_hook_runs_total{hook="pager",outcome="failed"}`: "2",
		`orchestrator_hook_given_up_total{hook="pager"}`:              "1",
		`orchestrator_hook_duration_seconds_count{hook="pager"}`:      "2",
	} {
		d.await(expr, func() string {
			got, err := d.Query(d.ctx, expr+" > 0")
			if err != nil || len(got) != 1 || got[0].Value[1] != want || got[0].Metric["instance"] != instance(leader) {
				return fmt.Sprintf("%v (%v), want %s of %s", got, err, want, instance(leader))
			}
			return ""
		})
	}
	for _, a := range d.alerts() {
		if strings.Contains(a, "HookFailing") && strings.HasSuffix(a, "chat") {
			d.Errorf("%s: it was told everything", a)
		}
	}
}

// leader is the one of the two that leads.
func (d *deployment) leader() (leader, other *lab.Daemon) {
	d.Helper()
	d.await("a leader", func() string {
		for i, o := range d.daemons {
			if d.leads(o) {
				leader, other = o, d.daemons[1-i]
				return ""
			}
		}
		return "neither leads"
	})
	return leader, other
}

// leads says whether a daemon does, by what Prometheus knows.
func (d *deployment) leads(o *lab.Daemon) bool {
	got, err := d.Query(d.ctx, fmt.Sprintf(`orchestrator_leader{instance="%s"} == 1`, instance(o)))
	return err == nil && len(got) == 1
}

// instance is the name of a daemon's metrics.
func instance(o *lab.Daemon) string { return strings.TrimPrefix(o.URL, "http://") }

// remembered checks that what has happened is marked on the dashboards; and that their panels can be asked for when
// little is left.
func (d *deployment) remembered(cluster string) {
	d.Helper()
	for what, q := range queries(d.T, cluster) {
		d.await(what, func() string {
			found, err := d.QueryRange(d.ctx, q.expr, bound)
			d.must(err)
			if found == 0 && strings.Contains(what, "annotation") {
				return "nothing is marked: " + q.expr
			}
			return ""
		})
	}
}

// passive is the member that is not served.
func (d *deployment) passive() *lab.Server {
	d.Helper()
	for _, m := range d.members {
		got, err := d.Query(d.ctx, fmt.Sprintf(`max(orchestrator_backend_member_serves{member="%v"})`, m.Key))
		if err == nil && len(got) == 1 && got[0].Value[1] == "0" {
			return m
		}
	}
	d.Fatal("both members serve")
	return nil
}

// healthy checks that Prometheus could evaluate every rule.
func (d *deployment) healthy() {
	d.Helper()
	d.await("every rule has been evaluated", func() string {
		var data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
		d.must(d.Get(d.ctx, "/api/v1/rules", url.Values{}, &data))
		n := 0
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				n++
				if r.LastError != "" {
					d.Errorf("%s: %s", r.Name, r.LastError)
				}
				if r.Health == "unknown" {
					return r.Name + " has not"
				}
			}
		}
		if want := len(rules(d.T)); n != want {
			return fmt.Sprintf("%d rules, want %d", n, want)
		}
		return ""
	})
}

// known are all families that the daemons show, which must pass promtool.
func (d *deployment) known() map[string]*family {
	d.Helper()
	out := map[string]*family{}
	for _, o := range append(d.daemons, d.alone) {
		text := get(d.ctx, d.T, o.URL+"/metrics")
		promtool(d.T, text, "check", "metrics")
		families(text, out)
	}
	return out
}

// queries sends every expression, and checks each name in it.
func (d *deployment) queries(cluster string, shown map[string]*family) {
	d.Helper()
	recorded := map[string]bool{}
	all := queries(d.T, cluster)
	for _, r := range rules(d.T) {
		if r.record != "" {
			recorded[r.record] = true
		}
		all[fmt.Sprintf("rule %s%s: %.30s", r.record, r.alert, r.expr)] = query{r.expr, true}
	}
	for _, o := range append(d.daemons, d.alone) { // once more: a finding is shown now
		families(get(d.ctx, d.T, o.URL+"/metrics"), shown)
	}
	d.documented(shown)
	names, drawn := map[string]bool{}, map[string]bool{}
	for _, what := range slices.Sorted(maps.Keys(all)) {
		expr := all[what].expr
		found, err := d.QueryRange(d.ctx, expr, time.Minute)
		if err != nil {
			d.Errorf("%s: %v", what, err)
		}
		if found == 0 && !all[what].mayEmpty {
			d.Errorf("%s: nothing is found: %s", what, expr)
		}
		for name, labels := range metrics(expr) {
			names[name] = true
			if !strings.HasPrefix(what, "rule") {
				drawn[name] = true
			}
			if name == "up" || name == "ALERTS" || recorded[name] {
				continue
			}
			f := shown[name]
			if f == nil {
				f = shown[regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")]
			}
			if f == nil {
				d.Errorf("%s: no daemon shows %s", what, name)
				continue
			}
			for _, l := range labels {
				if l != "job" && l != "instance" && !slices.Contains(f.labels, l) {
					d.Errorf("%s: %s has no label %s, but %q", what, name, l, f.labels)
				}
			}
		}
	}
	d.Logf("%d expressions, %d metrics in them, %d shown", len(all), len(names), len(shown))
	for name := range shown { // each of ours is for an operator to see
		if strings.HasPrefix(name, "orchestrator_") && !slices.ContainsFunc([]string{"", "_bucket", "_count"},
			func(end string) bool { return drawn[name+end] }) {
			d.Errorf("no dashboard shows %s", name)
		}
	}
}

// documented holds docs/metrics.md to what is shown.
func (d *deployment) documented(shown map[string]*family) {
	d.Helper()
	const file, begin, end = "../../docs/metrics.md", "<!-- shown -->\n", "<!-- end -->\n"
	text := read(d.T, file)
	before, rest, ok := strings.Cut(text, begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		d.Fatalf("%s has no place for the table", file)
	}
	for line := range strings.Lines(after) { // what is ours in the table of others' names
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		for _, name := range regexp.MustCompile("`(orchestrator_[a-z_]+)`").FindAllStringSubmatch(
			strings.Join(cells[2:], ""), -1) {
			if shown[name[1]] == nil {
				d.Errorf("%s promises %s, which nobody shows", file, name[1])
			}
		}
	}
	var b strings.Builder
	b.WriteString("\n| metric | type | labels | unit | meaning |\n|---|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(shown)) {
		f := shown[name]
		if !strings.HasPrefix(name, "orchestrator_") {
			continue
		}
		unit := "–"
		for _, u := range []string{"timestamp_seconds", "seconds", "bytes"} {
			if strings.HasSuffix(strings.TrimSuffix(name, "_total"), u) {
				unit = map[string]string{"timestamp_seconds": "s (Unix time)", "seconds": "s", "bytes": "bytes"}[u]
				break
			}
		}
		labels := slices.Sorted(slices.Values(f.labels))
		if len(labels) > 0 {
			labels = []string{"`" + strings.Join(labels, "` `") + "`"}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", name, f.kind, strings.Join(labels, ""), unit, f.help)
	}
	b.WriteString("\n")
	switch {
	case old == b.String():
	case *update:
		d.must(os.WriteFile(file, []byte(before+begin+b.String()+end+after), 0o644))
	default:
		d.Errorf("%s does not tell what the daemons show (go test ./tests/monitoring -update); want\n%s", file,
			b.String())
	}
}
