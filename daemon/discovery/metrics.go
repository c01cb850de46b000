package discovery

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/daemon/topology"
)

type metrics struct {
	probes   *prometheus.CounterVec
	seconds  prometheus.Histogram
	lateness prometheus.Histogram
	closed   prometheus.Counter
	stuck    prometheus.Counter
}

// outcomes are the values of the label outcome.
var outcomes = map[topology.Failure]string{
	topology.OK: "ok", topology.Refused: "refused", topology.Reset: "reset", topology.Timeout: "timeout",
	topology.Shutdown: "shutdown",
	topology.TooMany:  "too_many_connections", topology.Denied: "access_denied", topology.TLSError: "tls",
	topology.Alien:  "not_mysql",
	topology.NoHost: "no_such_host", topology.Barred: "not_admitted", topology.Other: "other",
}

func newMetrics(reg prometheus.Registerer, f *Fleet) *metrics {
	m := &metrics{
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orchestrator_discovery_probes_total",
			Help: "Probes of servers that ended, by outcome: ok, or how they failed."}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "orchestrator_discovery_probe_duration_seconds",
			Help: "Time that probes of servers took.", Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 10)}),
		lateness: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "orchestrator_discovery_probe_lateness_seconds",
			Help: "How much later than scheduled polls began; " +
				"more than milliseconds asks for more discovery.concurrency.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9)}),
		closed: prometheus.NewCounter(prometheus.CounterOpts{Name: "orchestrator_discovery_watches_closed_total",
			Help: "Watched connections that servers with replicas closed."}),
		stuck: prometheus.NewCounter(prometheus.CounterOpts{Name: "orchestrator_discovery_probes_stuck_total",
			Help: "Probes of servers that were given up because they had not ended long after their deadline: " +
				"a fault of the daemon."}),
	}
	for _, o := range outcomes {
		m.probes.WithLabelValues(o)
	}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.probes, m.seconds, m.lateness, m.closed, m.stuck)
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_discovery_poll_interval_seconds",
			Help: "How often each server should be polled (discovery.poll)."},
			func() float64 { return f.o.Poll.Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_discovery_overdue_seconds",
			Help: "How long the server that has waited longest for its poll has waited for it; 0 when none waits."},
			f.overdue))
	for state, is := range map[string]func(*server) bool{
		"up":      (*server).up,
		"failing": (*server).failing,
		"unknown": func(s *server) bool { return !s.up() && !s.failing() },
	} {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_discovery_servers",
			Help:        "Servers known, by state: up, failing, unknown (not asked yet).",
			ConstLabels: prometheus.Labels{"state": state}},
			func() float64 { return f.count(is) }))
	}
	return m
}

func (m *metrics) probed(failure topology.Failure, took time.Duration) {
	outcome, ok := outcomes[failure]
	if !ok {
		outcome = outcomes[topology.Other]
	}
	m.probes.WithLabelValues(outcome).Inc()
	m.seconds.Observe(took.Seconds())
}

func (f *Fleet) count(is func(*server) bool) float64 {
	f.mu.Lock()
	defer f.unlock()
	n := 0
	for _, s := range f.servers {
		if !s.trial && is(s) {
			n++
		}
	}
	return float64(n)
}

// overdue is how late the poll is that waits longest.
func (f *Fleet) overdue() float64 {
	f.mu.Lock()
	defer f.unlock()
	now, late := time.Now(), time.Duration(0)
	for _, s := range f.queue {
		if !s.due.IsZero() { // the others are wanted at once, and have not been due before
			late = max(late, now.Sub(s.due))
		}
	}
	return late.Seconds()
}
