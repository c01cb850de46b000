package httpd

import (
	"cmp"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count requests. Labels are bounded: they come from what is mounted, never from a path that somebody sent.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orchestrator_api_requests_total",
			Help: "Requests answered, by method and path of the route and by status code; " +
				"path \"none\" stands for paths that do not exist."},
			[]string{"method", "path", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "orchestrator_api_request_duration_seconds",
			Help:    "Time from the head of a request to the end of its answer, by method and path of the route.",
			Buckets: []float64{.0005, .002, .01, .05, .25, 1, 5, 30}}, []string{"method", "path"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) count(to Mount, found bool, code int, took time.Duration) {
	method, path := cmp.Or(to.Method, "any"), to.Path
	if !found {
		method, path = "any", "none"
	}
	if code == 0 {
		code = 200 // net/http says so for a handler that wrote nothing
	}
	m.requests.WithLabelValues(method, path, strconv.Itoa(code)).Inc()
	m.duration.WithLabelValues(method, path).Observe(took.Seconds())
}
