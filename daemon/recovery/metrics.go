package recovery

import (
	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
)

type metrics struct {
	steps       *prometheus.CounterVec
	stepSeconds *prometheus.HistogramVec
	episodes    *prometheus.CounterVec
	seconds     prometheus.Histogram
	promotions  prometheus.Counter
	bookkeeping prometheus.Counter
	failures    *prometheus.CounterVec
	hooks       *prometheus.CounterVec
	hookSeconds *prometheus.HistogramVec
	givenUp     *prometheus.CounterVec
}

const (
	recovered = "recovered"
	lossy     = "lossy"     // some servers could not be kept
	withdrawn = "withdrawn" // nobody had to be promoted, or could be
)

var results = []string{recovered, lossy, withdrawn}

func newMetrics(r *Runner) *metrics {
	m := &metrics{
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orchestrator_recovery_steps_total",
			Help: "Steps done at servers, by kind and outcome (ok, failed)."}, []string{"kind", "outcome"}),
		stepSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "orchestrator_recovery_step_duration_seconds",
			Help: "Time that steps took, by kind.", Buckets: prometheus.ExponentialBuckets(0.001, 3,
				9)}, []string{"kind"}),
		episodes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orchestrator_recovery_episodes_total",
			Help: "Episodes closed, by kind and result (recovered, lossy, withdrawn)."}, []string{"kind", "result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "orchestrator_recovery_duration_seconds",
			Help: "Time from the opening of an episode to its end.", Buckets: prometheus.ExponentialBuckets(0.01, 3,
				9)}),
		promotions: prometheus.NewCounter(prometheus.CounterOpts{Name: "orchestrator_recovery_promotions_total",
			Help: "Servers promoted to primary."}),
		bookkeeping: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "orchestrator_recovery_bookkeeping_failures_total",
			Help: "Episodes or steps that could not be stored; the recovery went on."}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orchestrator_cluster_step_failures_total",
			Help: "Steps that failed at servers of the cluster; they are tried again."}, []string{"cluster"}),
		hooks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orchestrator_hook_runs_total",
			Help: "Attempts to tell a hook about an episode, by outcome (ok, failed, timeout, interrupted)."},
			[]string{"hook", "outcome"}),
		hookSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "orchestrator_hook_duration_seconds",
			Help: "Time that these attempts took.", Buckets: prometheus.ExponentialBuckets(0.01, 3,
				9)}, []string{"hook"}),
		givenUp: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orchestrator_hook_given_up_total",
			Help: "Moments of episodes that a hook was not told, because its last attempt failed, too, " +
				"or its daemon died in that."}, []string{"hook"}),
	}
	// what has never happened is shown as 0, so that the first time is seen to be one
	for _, kind := range plan.StepKinds() {
		m.steps.WithLabelValues(string(kind), "ok")
		m.steps.WithLabelValues(string(kind), "failed")
		m.stepSeconds.WithLabelValues(string(kind))
	}
	for _, result := range results {
		for _, kind := range plan.EpisodeKinds() {
			m.episodes.WithLabelValues(string(kind), result)
		}
	}
	if r.Registerer != nil {
		r.Registerer.MustRegister(m.steps, m.stepSeconds, m.episodes, m.seconds, m.promotions, m.bookkeeping,
			m.failures, m.hooks, m.hookSeconds, m.givenUp, clusters{r})
	}
	return m
}

// know shows hooks that were told nothing yet as 0, so that the first failure is seen to be one.
func (m *metrics) know(hooks []hook.Hook) {
	for _, h := range hooks {
		for _, o := range hook.Outcomes() {
			m.hooks.WithLabelValues(h.Name, string(o))
		}
		m.hookSeconds.WithLabelValues(h.Name)
		m.givenUp.WithLabelValues(h.Name)
	}
}

func (m *metrics) step(cluster string, d plan.Done) {
	outcome := "ok"
	if d.Error != "" {
		outcome = "failed"
		m.failures.WithLabelValues(cluster).Inc()
	}
	m.steps.WithLabelValues(string(d.Step.Kind), outcome).Inc()
	m.stepSeconds.WithLabelValues(string(d.Step.Kind)).Observe(d.Took.Seconds())
}

func (m *metrics) closed(e plan.Episode) {
	m.episodes.WithLabelValues(string(e.Kind), result(e)).Inc()
	m.seconds.Observe(e.Closed.Sub(e.Opened).Seconds())
}

// result of a closed episode.
func result(e plan.Episode) string {
	switch {
	case e.Withdrawn():
		return withdrawn
	case len(e.Lost) > 0:
		return lossy
	}
	return recovered
}
