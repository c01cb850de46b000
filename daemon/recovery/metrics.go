package recovery

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
)

type metrics struct {
	steps       *prometheus.CounterVec
	stepSeconds *prometheus.HistogramVec
	episodes    *prometheus.CounterVec
	seconds     prometheus.Histogram
	promotions  prometheus.Counter
	bookkeeping prometheus.Counter
	refused     *prometheus.GaugeVec
	findings    *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orchestrator_recovery_steps_total",
			Help: "Steps done at servers, by kind and outcome (ok, failed)."}, []string{"kind", "outcome"}),
		stepSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "orchestrator_recovery_step_duration_seconds",
			Help: "Time that steps took, by kind.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 9)}, []string{"kind"}),
		episodes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orchestrator_recovery_episodes_total",
			Help: "Episodes closed, by kind and result (recovered, lossy, withdrawn)."}, []string{"kind", "result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "orchestrator_recovery_duration_seconds",
			Help: "Time from the opening of an episode to its end.", Buckets: prometheus.ExponentialBuckets(0.01, 3, 9)}),
		promotions: prometheus.NewCounter(prometheus.CounterOpts{Name: "orchestrator_recovery_promotions_total",
			Help: "Servers promoted to primary."}),
		bookkeeping: prometheus.NewCounter(prometheus.CounterOpts{Name: "orchestrator_recovery_bookkeeping_failures_total",
			Help: "Episodes or steps that could not be stored; the recovery went on."}),
		refused: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "orchestrator_cluster_recovery_refused",
			Help: "1 while something is found in the cluster that is not acted on; the reasons are in the API."}, []string{"cluster"}),
		findings: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "orchestrator_cluster_findings",
			Help: "Present findings, by cluster and code."}, []string{"cluster", "code"}),
	}
	if reg != nil {
		reg.MustRegister(m.steps, m.stepSeconds, m.episodes, m.seconds, m.promotions, m.bookkeeping, m.refused, m.findings)
	}
	return m
}

func (m *metrics) step(d plan.Done) {
	outcome := "ok"
	if d.Error != "" {
		outcome = "failed"
	}
	m.steps.WithLabelValues(string(d.Step.Kind), outcome).Inc()
	m.stepSeconds.WithLabelValues(string(d.Step.Kind)).Observe(d.Took.Seconds())
}

func (m *metrics) closed(e plan.Episode) {
	result := "recovered"
	switch {
	case e.Kind == plan.PrimaryFailover && e.Promoted.IsZero():
		result = "withdrawn"
	case len(e.Lost) > 0:
		result = "lossy"
	}
	m.episodes.WithLabelValues(string(e.Kind), result).Inc()
	m.seconds.Observe(e.Closed.Sub(e.Opened).Seconds())
}

func (m *metrics) blocked(cluster string, yes bool) {
	v := 0.0
	if yes {
		v = 1
	}
	m.refused.WithLabelValues(cluster).Set(v)
}

func (m *metrics) judged(s plan.Situation) {
	count := map[analysis.Code]int{}
	for _, f := range s.Findings {
		count[f.Code]++
	}
	m.findings.DeletePartialMatch(prometheus.Labels{"cluster": s.Cluster})
	codes := make([]analysis.Code, 0, len(count))
	for c := range count {
		codes = append(codes, c)
	}
	slices.Sort(codes)
	for _, c := range codes {
		m.findings.WithLabelValues(s.Cluster, string(c)).Set(float64(count[c]))
	}
}
