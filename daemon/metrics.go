package daemon

import (
	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/daemon/config"
)

// What a daemon does with its store in the background, as the metrics have it.
const (
	keeping    = "keep"    // write what changed of the fleet
	refreshing = "refresh" // read what people declared
	purging    = "purge"   // remove what is old
	checking   = "check"   // see whether the file of this daemon can be used
)

// measure registers what concerns the whole daemon; the parts register what is theirs.
func (d *Daemon) measure(c config.Config, r prometheus.Registerer) error {
	d.unstored = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orchestrator_store_failures_total",
		Help: "Background uses of the store that failed, by operation (keep, refresh, purge, check); they are " +
			"made again."},
		[]string{"operation"})
	for _, operation := range []string{keeping, refreshing, purging, checking} {
		d.unstored.WithLabelValues(operation)
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "orchestrator_info",
		Help:        "1; the labels tell the version, and the kind of the backend.",
		ConstLabels: prometheus.Labels{"version": d.options.Version, "backend": c.Backend.Kind}})
	info.Set(1)
	members := prometheus.NewGauge(prometheus.GaugeOpts{Name: "orchestrator_backend_members",
		Help: "Members of the backend that the configuration names."})
	members.Set(float64(len(c.Backend.Members)))
	off := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_recoveries_off",
		Help: "1 while recoveries are switched off everywhere, or this daemon does not know whether they are; else 0."},
		func() float64 {
			if d.declarations.RecoveriesOff() != "" {
				return 1
			}
			return 0
		})
	d.expiry = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "orchestrator_certificate_expiry_timestamp_seconds",
		Help: "When the first certificate ends of each file that this daemon uses, by use (http, clients, servers, " +
			"backend, peers, peers_cert), and of HAProxy's where this daemon may read it (haproxy)."}, []string{"use"})
	r.MustRegister(d.unstored, info, members, off, expiries{d.expiry, c.HAProxy.HTTPCert})
	if file := c.HAProxy.HTTPCert; file != "" {
		// with its key in it, it may well be none of this account's business
		if _, err := config.FirstEndOf(file); err != nil {
			d.options.Logger.Warn("nobody is told when HAProxy's certificate ends (haproxy.http_cert): let the "+
				"daemon read it, or watch it otherwise", "err", err)
		}
	}
	for use, file := range c.Certificates() {
		ends, err := config.FirstEndOf(file)
		if err != nil {
			return err
		}
		d.expiry.WithLabelValues(use).Set(float64(ends.Unix()))
	}
	return nil
}

// Certificates by their use, as the metrics have it; config.Certificates has them all.
const (
	httpUse    = "http"       // the daemon's own
	clientsUse = "clients"    // the authorities of users
	peersUse   = "peers_cert" // the one that it shows other daemons
	peersCAUse = "peers"      // the authorities of those
	haproxyUse = "haproxy"    // the one by which HAProxy serves the API
)

// date shows when the first certificate of a PEM text ends, if there is one. The end of one that is no longer used
// would raise an alert for ever.
func (d *Daemon) date(use, text string) {
	ends := config.FirstEnd([]byte(text))
	if ends.IsZero() {
		d.expiry.DeleteLabelValues(use)
		return
	}
	d.expiry.WithLabelValues(use).Set(float64(ends.Unix()))
}

// expiries are the ends of certificates. What this daemon has read stays as it is until it reads that again; HAProxy's
// is renewed without this daemon, and looked at whenever somebody asks.
type expiries struct {
	*prometheus.GaugeVec
	haproxy string
}

func (e expiries) Collect(ch chan<- prometheus.Metric) {
	if e.haproxy != "" {
		if ends, err := config.FirstEndOf(e.haproxy); err == nil {
			e.WithLabelValues(haproxyUse).Set(float64(ends.Unix()))
		} else { // an old end would be a wrong one
			e.DeleteLabelValues(haproxyUse)
		}
	}
	e.GaugeVec.Collect(ch)
}
