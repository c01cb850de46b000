package sqlstore

import "github.com/prometheus/client_golang/prometheus"

var (
	failuresDesc = prometheus.NewDesc("orchestrator_journal_failures_total",
		"Writes to the journal, the file of this daemon, that failed.", nil, nil)
	undeliveredDesc = prometheus.NewDesc("orchestrator_journal_undelivered_total",
		"Attempts to write the journal into the backend that failed; they are made again.", nil, nil)
	replayedDesc = prometheus.NewDesc("orchestrator_journal_replays_total",
		"How often the journal, or what was pending of it, was written into a server of the backend.", nil, nil)
	owedDesc = prometheus.NewDesc("orchestrator_journal_owed_records",
		"Records that the backend has not got yet.", nil, nil)
	newestDesc = prometheus.NewDesc("orchestrator_journal_newest_timestamp_seconds",
		"Version, which is a time, of the newest record that the backend is known to have had; 0 when none is.", nil,
		nil)
)

// Describe is for prometheus.Collector.
func (j *Journal) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{failuresDesc, undeliveredDesc, replayedDesc, owedDesc, newestDesc} {
		ch <- d
	}
}

// Collect is for prometheus.Collector.
func (j *Journal) Collect(ch chan<- prometheus.Metric) {
	j.mu.Lock()
	owed, newest := len(j.owed), j.newest
	j.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(failuresDesc, prometheus.CounterValue, float64(j.failures.Load()))
	ch <- prometheus.MustNewConstMetric(undeliveredDesc, prometheus.CounterValue, float64(j.undelivered.Load()))
	ch <- prometheus.MustNewConstMetric(replayedDesc, prometheus.CounterValue, float64(j.replayed.Load()))
	ch <- prometheus.MustNewConstMetric(owedDesc, prometheus.GaugeValue, float64(owed))
	ch <- prometheus.MustNewConstMetric(newestDesc, prometheus.GaugeValue, float64(newest)/1e6)
}
