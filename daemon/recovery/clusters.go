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

// clusters shows the clusters to Prometheus: what was judged last, and only while this daemon leads. One that has lost the lead would show
// what it saw then for ever, beside what the leader sees.
type clusters struct{ *Runner }

var (
	infoDesc = desc("orchestrator_cluster_info", "1; the labels name the cluster, its alias, and its present primary (empty: none).", "cluster", "alias", "primary")

	serversDesc  = desc("orchestrator_cluster_servers", "Servers of the cluster, by state: up, failing, unknown (not asked yet).", "cluster", "state")
	findingsDesc = desc("orchestrator_cluster_findings", "Present findings, by cluster and code; downtimed is true for those that are expected.", "cluster", "code", "downtimed")
	enabledDesc  = desc("orchestrator_cluster_recovery_enabled", "1 while a dead primary of the cluster would be replaced: by policy, and recoveries are on.", "cluster")
	readyDesc    = desc("orchestrator_cluster_failover_ready", "1 while the primary could be replaced if it died now, else 0; asked every 15 seconds, the reasons are in the API.", "cluster")
	openDesc     = desc("orchestrator_cluster_recovery_open", "1 while a recovery of the cluster is under way.", "cluster")
	refusedDesc  = desc("orchestrator_cluster_recovery_refused", "1 while something is found in the cluster that is not acted on, or a recovery can't go on; the reasons are in the API.", "cluster")
	closedDesc   = desc("orchestrator_cluster_recovery_closed_timestamp_seconds",
		"When the last recovery of the cluster ended, by result (recovered, lossy, withdrawn); 0 when none has.", "cluster", "result")

	upDesc       = desc("orchestrator_server_up", "1 while the server answers, else 0.", "cluster", "server")
	writableDesc = desc("orchestrator_server_writable", "1 while the server takes writes, else 0; none while it does not answer.", "cluster", "server")
	lagDesc      = desc("orchestrator_server_lag_seconds", "How far the replica is behind its source, as it says itself; none while it can't tell.", "cluster", "server")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe is for prometheus.Collector.
func (c clusters) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{infoDesc, serversDesc, findingsDesc, enabledDesc, readyDesc, openDesc, refusedDesc, closedDesc,
		upDesc, writableDesc, lagDesc} {
		ch <- d
	}
}

// Collect is for prometheus.Collector.
func (c clusters) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	judged := c.judged
	c.mu.Unlock()
	for _, s := range judged { // it is never changed, only replaced
		c.mu.Lock()
		last := c.last[s.Cluster]
		ready, asked := c.ready[s.Cluster]
		c.mu.Unlock()
		show := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{s.Cluster}, labels...)...)
		}
		primary := ""
		if p := s.Snapshot.Primary(); p != nil {
			primary = p.Key.String()
		}
		show(infoDesc, 1, c.Alias(s.Cluster), primary)
		show(enabledDesc, flag(s.Policy.RecoverPrimary && s.Off == ""))
		if asked {
			show(readyDesc, flag(ready))
		}
		open, blocked, closed := incidents(s.Episodes)
		show(openDesc, flag(open))
		show(refusedDesc, flag(blocked || len(last.Refused()) > 0))
		for _, result := range results {
			show(closedDesc, closed[result], result)
		}
		servers(s.Snapshot.Servers, show)
		count := map[finding]float64{}
		for _, f := range s.Findings {
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

// incidents says whether one is open, whether it is blocked, and when the last ended with each result.
func incidents(episodes []plan.Episode) (open, blocked bool, closed map[string]float64) {
	closed = map[string]float64{}
	for _, e := range episodes {
		if e.Closed.IsZero() {
			open, blocked = true, blocked || e.Blocked != ""
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

// show has Collect tell of these; nil: of nothing, because this daemon does not lead.
func (r *Runner) show(judged []plan.Situation) {
	for _, s := range judged {
		r.metrics.failures.WithLabelValues(s.Cluster)
	}
	r.mu.Lock()
	gone := map[string]bool{}
	for _, s := range r.judged {
		gone[s.Cluster] = true
	}
	for _, s := range judged {
		delete(gone, s.Cluster)
	}
	if r.judged = judged; judged == nil {
		r.ready = nil
	}
	r.mu.Unlock()
	for cluster := range gone { // also when the lead is lost: the next leader counts on
		r.metrics.failures.DeleteLabelValues(cluster)
	}
}

// keepReady asks of each cluster, again and again until ctx ends, whether its primary could be replaced.
func (r *Runner) keepReady(ctx context.Context) {
	for pause(ctx, r.Tick) { // what was judged first is asked soon
		r.prepare(ctx)
		if !pause(ctx, readyEvery-r.Tick) {
			return
		}
	}
}

func (r *Runner) prepare(ctx context.Context) {
	r.mu.Lock()
	judged := r.judged
	r.mu.Unlock()
	ready := map[string]bool{}
	for _, s := range judged {
		if ctx.Err() != nil {
			return
		}
		p := s.Snapshot.Primary()
		ready[s.Cluster] = p != nil && p.Up() && plan.IfDies(s, p.Key).Ready()
	}
	r.mu.Lock()
	r.ready = ready
	r.mu.Unlock()
}
