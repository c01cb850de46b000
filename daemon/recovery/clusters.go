package recovery

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// readyEvery is how often each cluster is asked whether it could lose its primary.
const readyEvery = 15 * time.Second

// clusters shows the clusters to Prometheus: what was judged last, and only while this daemon leads. One that has
// lost the lead would show what it saw then for ever, beside what the leader sees.
type clusters struct{ *Runner }

var (
	infoDesc = desc("orchestrator_cluster_info",
		"1; the labels name the cluster, its alias, and its present primary (empty: none).", "cluster", "alias",
		"primary")

	serversDesc = desc("orchestrator_cluster_servers",
		"Servers of the cluster, by state: up, failing, unknown (not asked yet).", "cluster", "state")
	findingsDesc = desc("orchestrator_cluster_findings",
		"Present findings, by cluster and code; downtimed is true for those that are expected.", "cluster", "code",
		"downtimed")
	enabledDesc = desc("orchestrator_cluster_recovery_enabled",
		"1 while a dead primary of the cluster would be replaced: by policy, and recoveries are on.", "cluster")
	readyDesc = desc("orchestrator_cluster_failover_ready",
		"1 while the primary could be replaced if it died now, else 0; "+
			"asked every 15 seconds, the reasons are in the API.", "cluster")
	openDesc = desc("orchestrator_cluster_recovery_open", "1 while a recovery of the cluster is under way.",
		"cluster")
	refusedDesc = desc("orchestrator_cluster_recovery_refused",
		"1 while something is found in the cluster that is not acted on, or a recovery can't go on; "+
			"the reasons are in the API.", "cluster")
	closedDesc = desc("orchestrator_cluster_recovery_closed_timestamp_seconds",
		"When the last recovery of the cluster ended, by result (recovered, lossy, withdrawn); 0 when none has.",
		"cluster", "result")

	upDesc       = desc("orchestrator_server_up", "1 while the server answers, else 0.", "cluster", "server")
	writableDesc = desc("orchestrator_server_writable",
		"1 while the server takes writes, else 0; none while it does not answer.", "cluster", "server")
	lagDesc = desc("orchestrator_server_lag_seconds",
		"How far the replica is behind its source, as it says itself; none while it can't tell.", "cluster", "server")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe is for prometheus.Collector.
func (c clusters) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{infoDesc, serversDesc, findingsDesc, enabledDesc, readyDesc, openDesc,
		refusedDesc, closedDesc,
		upDesc, writableDesc, lagDesc} {
		ch <- d
	}
}

// Collect is for prometheus.Collector.
func (c clusters) Collect(ch chan<- prometheus.Metric) {
	if !c.leading() {
		return
	}
	for j := range c.All() {
		c.mu.Lock()
		ready, asked := c.ready[j.Cluster]
		c.mu.Unlock()
		show := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{j.Cluster}, labels...)...)
		}
		primary := ""
		if p := j.Primary(); p != nil {
			primary = p.Key.String()
		}
		show(infoDesc, 1, c.Alias(j.Cluster), primary)
		show(enabledDesc, flag(j.Policy.RecoverPrimary && j.Off == ""))
		if asked {
			show(readyDesc, flag(ready.ready))
		}
		open, blocked, closed := incidents(j.Episodes)
		show(openDesc, flag(open))
		show(refusedDesc, flag(blocked || len(j.Decision().Refused()) > 0))
		for _, result := range results {
			show(closedDesc, closed[result], result)
		}
		servers(j.Snapshot.Admitted().Servers, show) // anybody can register any name
		count := map[finding]float64{}
		for _, f := range j.Findings {
			count[finding{f.Code, f.Downtimed}]++
		}
		for f, n := range count {
			show(findingsDesc, n, string(f.code), map[bool]string{true: "true", false: "false"}[f.downtimed])
		}
	}
}

type finding struct {
	code      analysis.Code
	downtimed bool
}

// incidents says whether one is open, whether it is blocked, and when the last ended with each result. One that is
// blocked before anything was done is not under way.
func incidents(episodes []plan.Episode) (open, blocked bool, closed map[string]float64) {
	closed = map[string]float64{}
	for _, e := range episodes {
		if e.Closed.IsZero() {
			open = open || e.Blocked == "" || e.Stage != plan.Suspected
			blocked = blocked || e.Blocked != ""
			continue
		}
		closed[result(e)] = max(closed[result(e)], float64(e.Closed.UnixMilli())/1000)
	}
	return open, blocked, closed
}

func servers(all []topology.Server, show func(*prometheus.Desc, float64, ...string)) {
	states := map[string]float64{"up": 0, "failing": 0, "unknown": 0}
	for _, v := range all {
		switch {
		case v.Up():
			states["up"]++
		case v.Probe.Failure != topology.OK:
			states["failing"]++
		default:
			states["unknown"]++
		}
		show(upDesc, flag(v.Up()), v.Key.String())
		if !v.Up() {
			continue
		}
		show(writableDesc, flag(!v.Instance.ReadOnly), v.Key.String())
		if lag, known := lagOf(v); known {
			show(lagDesc, lag, v.Key.String())
		}
	}
	for state, n := range states {
		show(serversDesc, n, state)
	}
}

// lagOf is that behind the slowest source.
func lagOf(v topology.Server) (seconds float64, known bool) {
	for _, c := range v.Instance.Channels {
		if c.Lag == nil {
			return 0, false
		}
		seconds, known = max(seconds, float64(*c.Lag)), true
	}
	return seconds, known
}

func flag(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func (r *Runner) leading() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leads
}

// hide ends what was shown of clusters, because this daemon leads no more: the next leader counts on.
func (r *Runner) hide() {
	r.metrics.failures.Reset()
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.ready)
	clear(r.noted)
}

// readiness is whether the primary of a cluster could be replaced, as it was asked last.
type readiness struct {
	ready   bool
	edition uint64 // of what it was asked of
	at      time.Time
}

// keepReady asks of each cluster that has changed, every readyEvery until ctx ends, whether its primary could be
// replaced. It does a share of them at each tick, so that nobody waits for all.
func (r *Runner) keepReady(ctx context.Context) {
	for pause(ctx, r.Tick) { // what was judged first is asked soon
		share := max(leastShare, len(r.Fleet.Clusters())*int(r.Tick)/int(readyEvery))
		for _, cluster := range r.Fleet.Clusters() {
			if share == 0 || ctx.Err() != nil {
				break
			}
			if r.prepare(cluster) {
				share--
			}
		}
	}
}

// leastShare of the clusters is asked at each tick, if that many are due.
const leastShare = 100

// prepare asks whether a cluster's primary could be replaced, if that is due; it says whether it was any work.
func (r *Runner) prepare(cluster string) bool {
	r.mu.Lock()
	last, asked := r.ready[cluster]
	r.mu.Unlock()
	if asked && time.Since(last.at) < readyEvery {
		return false
	}
	j := r.Judged(cluster)
	work := !asked || last.edition != j.Edition
	if work {
		last = readiness{ready: j.Ready(), edition: j.Edition}
	}
	last.at = time.Now()
	r.mu.Lock()
	r.ready[cluster] = last
	r.mu.Unlock()
	return work
}
