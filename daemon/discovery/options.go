package discovery

import (
	"context"
	"log/slog"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/daemon/topology"
)

// Prober asks servers. Probe returns within a deadline of its own; what it returns is the fleet's from then on. Watch
// blocks until an idle connection to the server is closed by the other side, and returns nil then; an error when it
// can't connect or ctx ends.
type Prober interface {
	Probe(ctx context.Context, k topology.Key) (topology.Instance, topology.Failure, error)
	Watch(ctx context.Context, k topology.Key) error
	Forget(k topology.Key)
}

// Options of a Fleet. The functions must not call the Fleet.
type Options struct {
	Seeds       []topology.Key
	Poll        time.Duration    // how often a server is asked, see Fleet.beat; 0 is 1 s
	MaxBackoff  time.Duration    // a dead server is asked at least this often; 0 is 30 s
	Concurrency int              // scheduled probes at a time; 0 is 300. Urgent ones may take as many again.
	Ignore      []*regexp.Regexp // matched against host:port: never looked at
	// MaxRegistered and MaxStrangers bound how many servers are looked at that were found by a registration and are
	// not confirmed: of one source, and in all. 0 is 100, and 1000.
	MaxRegistered, MaxStrangers int
	// ProbeTimeout is how long a probe lasts at most; 0 is 1 s. See watchdog.go for one that does not keep to it.
	ProbeTimeout time.Duration
	// Silence is how long a server must time out before it can be called dead: within it, it is asked at least twice.
	Silence time.Duration
	// Resolve says which of its names a server goes by: "given" (also ""; the one seen first, seeds before others),
	// "hostname" (@@hostname) or "report_host"; the last two only where the server answers under that name too.
	Resolve   string
	Declared  func(*topology.Server)  // fills what people declared; nil: nothing
	Edition   func() uint64           // changes whenever Declared would fill in something else; nil: it never would
	Forgotten func(topology.Key) bool // never added, and dropped at the next turn; nil: none
	// called at each turn of Run, and by that proves that it doesn't hang; nil: nobody asks
	Turned     func()
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = 30 * time.Second
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 300
	}
	if o.MaxRegistered <= 0 {
		o.MaxRegistered = 100
	}
	if o.MaxStrangers <= 0 {
		o.MaxStrangers = 1000
	}
	if o.ProbeTimeout <= 0 {
		o.ProbeTimeout = time.Second
	}
	if o.Forgotten == nil {
		o.Forgotten = func(topology.Key) bool { return false }
	}
	if o.Turned == nil {
		o.Turned = func() {}
	}
	if o.Declared == nil {
		o.Declared = func(*topology.Server) {}
	}
	if o.Edition == nil {
		o.Edition = func() uint64 { return 0 }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
