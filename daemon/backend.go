package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/backend"
	"orchestrator/backend/pair"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/analysis"
	"orchestrator/daemon/api"
	"orchestrator/daemon/config"
	"orchestrator/daemon/peer"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/recovery"
	"orchestrator/daemon/topology"
	"orchestrator/haproxy"
)

// store is where records and the lease are kept.
type store interface {
	backend.Store
	Lease(name string) backend.Lease
}

// shared is what a daemon has besides when others share its backend; nil in a daemon that is alone.
type shared struct {
	journal *sqlstore.Journal
	pair    *pair.Pair  // nil where the configuration names no members
	watch   *pair.Watch // of pair
	care    *care       // nil without two members
	stale   staleness   // of the faces that were offered, where no members are named
	peers   *peer.Peers
	agent   *haproxy.Agent // nil where nobody is to be answered
	proxy   pair.Proxy     // of this machine; nil where there is none

	mu       sync.Mutex
	face     string // of the backend in use; "" when it has none
	used     string // the last that was; "" before the first
	why      string // the backend is unavailable; "" when it is not
	switches int
	refused  int
}

// faceEvery is how often the backend is asked who it is. A switch is noticed by the next statement anyway; this bounds how long an idle daemon
// owes the new face what the old one had.
const faceEvery = 500 * time.Millisecond

// open opens what records are kept in. A shared backend may be down: then the daemon looks and judges by what it remembers, and does not act.
func (d *Daemon) open(c config.Config) error {
	local, err := sqlstore.OpenSQLite(c.Backend.Path)
	if err != nil || c.Backend.Kind == "sqlite" {
		d.store = local
		return err
	}
	s := &shared{}
	err = s.open(c, local, d)
	if err != nil {
		local.Close()
		return err
	}
	d.shared, d.store = s, s.journal
	return nil
}

func (s *shared) open(c config.Config, local *sqlstore.Store, d *Daemon) error {
	security, err := c.Backend.TLSConfig()
	if err != nil {
		return err
	}
	log := d.options.Logger
	o := sqlstore.MySQLOptions{Address: c.Backend.Address, Database: c.Backend.Database, User: c.Backend.User, Password: string(c.Backend.Password),
		TLS: security, Timeout: c.Backend.Timeout, Logger: log}
	if len(c.Backend.Members) > 0 {
		account := pair.Account{User: c.Backend.User, Password: string(c.Backend.Password)}
		of := pair.Options{Members: c.Backend.Members, Database: c.Backend.Database, Account: account, Backend: account, TLS: security, Logger: log}
		if s.pair, err = pair.Open(of); err != nil {
			return err
		}
		s.watch = s.pair.Watch(s.known, func(k topology.Key) { s.journal.Serve(k.String()) }, func(k topology.Key) {
			if s.care != nil {
				s.care.owe(occasion{fmt.Sprintf("%v is back", k), true})
			}
		})
		if len(c.Backend.Members) == 2 {
			if c.Backend.CaretakerUser != "" {
				of.Account = pair.Account{User: c.Backend.CaretakerUser, Password: string(c.Backend.CaretakerPassword)}
			}
			if c.HAProxy.Agent != "" {
				s.proxy = pair.HAProxy(haproxy.Runtime{Socket: c.HAProxy.Socket}, c.Backend.Members)
				of.Proxy = s.proxy
			}
			if s.care, err = newCare(of); err != nil {
				return err
			}
		}
	}
	o.Accept = s.accept
	remote, err := sqlstore.OpenMySQL(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	s.journal, err = sqlstore.OpenJournal(ctx, remote, local, sqlstore.JournalOptions{Facts: []string{instanceKind, recovery.StepKind},
		Owed: append(recovery.Owed(), peer.FarewellKind, proofKind), Clock: d.clock, Logger: log})
	if err != nil {
		remote.Close()
		return err
	}
	if s.watch != nil {
		s.watch.Turn(ctx) // before the first connection: it is accepted by what is seen here
		if c.HAProxy.Agent != "" {
			s.agent = &haproxy.Agent{Listen: c.HAProxy.Agent, Fit: s.fit}
			for _, m := range c.Backend.Members {
				s.agent.Members = append(s.agent.Members, m.String())
			}
		}
	}
	return nil
}

// accept says whether a face that a connection has found is to be used: an error says why not.
func (s *shared) accept(_ context.Context, _, offered sqlstore.Face) error {
	var err error
	if s.watch != nil {
		err = s.watch.Accept(offered.ID)
	} else if why := sqlstore.Stale(offered, s.journal.Highest(), s.journal.Newest()); !s.stale.passes(why, time.Now()) {
		err = fmt.Errorf("%s; a member that has more is waited for, for %v in all", why, stalePatience)
	}
	if err != nil {
		s.mu.Lock()
		s.refused++
		s.mu.Unlock()
	}
	return err
}

// known is what this daemon knows of the backend besides what it sees.
func (s *shared) known(ctx context.Context) pair.Known {
	if s.journal == nil { // not open yet
		return pair.Known{}
	}
	k := pair.Known{Term: s.journal.Highest(), Newest: s.journal.Newest()}
	if served, err := topology.ParseKey(s.journal.Served()); err == nil {
		k.Previous = served
	}
	if s.peers == nil {
		return k
	}
	self := s.peers.Standing()
	members := s.watch.State().Members
	serves := func(ruler plan.Standing) topology.Key {
		if ruler.ID == self.ID {
			return topology.Key{}
		}
		return pair.Behind(members, ruler.Face)
	}
	k.Leader = serves(plan.Ruler(self, s.peers.Last()))
	if slices.ContainsFunc(members, func(m pair.Member) bool { return m.Key == k.Leader && !m.Up }) {
		// It may be gone for the leader too, which goes elsewhere then: we are not to wait for it any longer than the leader does.
		if ruler := plan.Ruler(self, s.peers.Ask(ctx, topology.Key{})); ruler.Leading {
			k.Leader = serves(ruler)
		}
	}
	return k
}

func (s *shared) fit(member string) (bool, string) {
	k, err := topology.ParseKey(member)
	if err != nil {
		return false, err.Error()
	}
	return s.watch.Fit(k)
}

// join makes this daemon one of several.
func (d *Daemon) join(ctx context.Context, c config.Config) error {
	s := d.shared
	var security *tls.Config
	if c.Peers.CA != "" {
		var err error
		if security, err = c.Peers.TLSConfig(); err != nil {
			return err
		}
	}
	s.peers = peer.Open(ctx, peer.Options{ID: d.id, Name: hostname() + "=" + c.HTTP.Listen, Daemons: c.Peers.Daemons, Secret: string(c.Peers.Secret), TLS: security,
		Standing: d.standing, Reach: d.reach, Store: d.store, Clock: d.clock, Logger: d.options.Logger})
	return nil
}

// standing is where this daemon stands; peer adds who it is.
func (d *Daemon) standing() plan.Standing {
	l := d.lead.Status()
	d.shared.mu.Lock()
	defer d.shared.mu.Unlock()
	return plan.Standing{Leading: l.Leading, Leader: l.Holder, Term: l.Term, Face: d.shared.face}
}

// term is that in which this daemon leads; 0 when it does not.
func (d *Daemon) term() int64 {
	if l := d.lead.Status(); l.Leading {
		return l.Term
	}
	return 0
}

// reach asks a server now, and says whether it answered, or failed in a way that proves life.
func (d *Daemon) reach(ctx context.Context, k topology.Key) bool {
	_, failure, _ := d.servers.Probe(ctx, k)
	return failure.Alive()
}

// watchFace keeps contact with the backend: a new face gets the journal although nobody writes or reads, and what was declared is read anew.
func (d *Daemon) watchFace(ctx context.Context) {
	s := d.shared
	tick := time.NewTicker(faceEvery)
	defer tick.Stop()
	parted := false
	for {
		d.pulse.turned("contact with the backend")
		short, cancel := context.WithTimeout(ctx, storeTime)
		face, err := s.journal.Face(short)
		cancel()
		if s.watch != nil { // also of what nobody here reads: what this daemon finds out next must win against it
			for _, m := range s.watch.State().Members {
				d.clock.Observe(m.Newest)
			}
		}
		s.mu.Lock()
		before, down := s.face, s.why != ""
		s.face, s.why = face, ""
		switched := err == nil && face != s.used && s.used != ""
		if err != nil {
			s.face, s.why = "", err.Error()
		} else {
			s.used = face
		}
		if switched {
			s.switches++
		}
		s.mu.Unlock()
		if switched && s.care != nil {
			s.care.owe(occasion{why: "the backend was switched"})
		}
		if now := s.split() != ""; now != parted {
			parted = now
			if !now && s.care != nil {
				s.care.owe(occasion{"a split has healed", true})
			}
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && (!down || before != ""):
			d.options.Logger.Error("the backend is unavailable; watching goes on, acting only while the lease is confirmed", "err", err)
		case err == nil && face != before:
			d.options.Logger.Warn("backend in use", "face", face, "before", before)
			d.refresh(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// leads names another daemon that says, now, that it leads, while this one doesn't.
func (s *shared) leads(ctx context.Context) string {
	self := s.peers.Standing()
	if self.Leading {
		return ""
	}
	if r := plan.Ruler(self, s.peers.Ask(ctx, topology.Key{})); r.Leading {
		return r.Name
	}
	return ""
}

// split says that daemons disagree on who leads, or on the backend; "" when they don't.
func (s *shared) split() string { return strings.Join(s.disagree(), "; ") }

func (s *shared) disagree() []string {
	self := s.peers.Standing()
	var says []string
	for _, p := range s.peers.Last() {
		switch {
		case !p.Answered:
		case self.Leading && p.Leading:
			says = append(says, fmt.Sprintf("%s leads too, in term %d; this daemon leads in term %d", p.Name, p.Term, self.Term))
		case self.Face != "" && p.Face != "" && self.Face != p.Face:
			says = append(says, fmt.Sprintf("%s uses the backend %s; this daemon uses %s", p.Name, p.Face, self.Face))
		}
	}
	slices.Sort(says)
	return says
}

// silent are the daemons that did not answer last.
func (s *shared) silent() []string {
	var out []string
	for _, p := range s.peers.Last() {
		if !p.Answered {
			out = append(out, fmt.Sprintf("%s: %s", p.Name, p.Why))
		}
	}
	return out
}

// findings are what is wrong with the daemons and their backend.
func (s *shared) findings() []analysis.Finding {
	d := analysis.Deployment{Disagree: s.disagree(), Silent: s.silent()}
	s.mu.Lock()
	d.Unavailable = s.why
	s.mu.Unlock()
	if s.watch != nil {
		for _, m := range s.watch.State().Members {
			if why := s.troubled(m); why != "" {
				d.Unfit = append(d.Unfit, analysis.Unfit{Member: m.Key, Why: why})
			}
		}
	}
	if s.care != nil {
		d.Differ = s.care.differ()
	}
	return d.Findings()
}

// troubled says why a member could not take over; "" when it could, or is a replica that only has to be opened for writing.
func (s *shared) troubled(m pair.Member) string {
	if m.Up && m.ReadOnly && len(m.Channels) > 0 {
		for _, c := range m.Channels {
			if !c.Running() {
				return c.Trouble()
			}
		}
		return ""
	}
	return s.watch.State().Choice.Unfit[m.Key]
}

// tell says how the backend is, from memory.
func (s *shared) tell() api.Backend {
	s.mu.Lock()
	b := api.Backend{Kind: "mysql", Face: s.face, Unavailable: s.why, Members: []api.BackendMember{}}
	s.mu.Unlock()
	if s.watch == nil {
		return b
	}
	state := s.watch.State()
	b.Serves, b.Why, b.Seen = state.Choice.Serve, state.Choice.Why, state.At
	for _, m := range state.Members {
		out := api.BackendMember{Key: m.Key, Up: m.Up, Error: m.Err, Face: m.ID, Unfit: state.Choice.Unfit[m.Key], ReadOnly: m.ReadOnly, Format: m.Format, Term: m.Hold.Term}
		if m.Newest > 0 {
			out.Newest = time.UnixMicro(m.Newest).UTC()
		}
		for _, c := range m.Channels {
			says := "from " + c.Source.String()
			if !c.Running() {
				says += ": " + c.Trouble()
			}
			out.Replicate = append(out.Replicate, says)
		}
		if m.Blind != "" {
			out.Replicate = append(out.Replicate, "not known: "+m.Blind)
		}
		b.Members = append(b.Members, out)
	}
	return b
}

// register tells Prometheus of the backend and of the others.
func (s *shared) register(r prometheus.Registerer) {
	r.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_split", Help: "1 while daemons disagree on who leads, or on the backend, else 0."},
			func() float64 { return flag(s.split() != "") }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_backend_available", Help: "1 while this daemon has its backend, else 0."}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return flag(s.face != "")
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "orchestrator_backend_switches_total", Help: "How often this daemon has found another server behind the backend's address."},
			func() float64 { return s.counted(&s.switches) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "orchestrator_backend_refused_total", Help: "Connections of this daemon to a member that it refused to use, because it is stale, not the one that is to serve, or none of those that are named. One that is read-only is refused too, and not counted."},
			func() float64 { return s.counted(&s.refused) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_peers_silent", Help: "Other daemons of the configuration that did not answer last."},
			func() float64 { return float64(len(s.silent())) }),
	)
	if s.watch != nil {
		r.MustRegister(memberMetrics{s})
	}
	if s.care != nil {
		r.MustRegister(s.care.metrics()...)
	}
}

func (s *shared) counted(n *int) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return float64(*n)
}

// memberMetrics are those that each member has.
type memberMetrics struct{ *shared }

var (
	memberUp  = prometheus.NewDesc("orchestrator_backend_member_up", "1 while the member of the backend answers this daemon, else 0.", []string{"member"}, nil)
	memberFit = prometheus.NewDesc("orchestrator_backend_member_fit", "1 while the member of the backend could serve, or be opened for it, else 0.", []string{"member"}, nil)
	memberOn  = prometheus.NewDesc("orchestrator_backend_member_serves", "1 for the member that is to serve, else 0.", []string{"member"}, nil)
)

// Describe implements prometheus.Collector.
func (m memberMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- memberUp
	to <- memberFit
	to <- memberOn
}

// Collect implements prometheus.Collector.
func (m memberMetrics) Collect(to chan<- prometheus.Metric) {
	state := m.watch.State()
	for _, member := range state.Members {
		for d, yes := range map[*prometheus.Desc]bool{memberUp: member.Up, memberFit: m.troubled(member) == "", memberOn: member.Key == state.Choice.Serve} {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, flag(yes), member.Key.String())
		}
	}
}

func flag(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// close ends the connections that the store does not own.
func (s *shared) close() error {
	if s.pair == nil {
		return nil
	}
	err := s.pair.Close()
	if s.care != nil {
		err = errors.Join(err, s.care.close())
	}
	return err
}

// stalePatience is for how long a backend whose members are not known is refused because it is stale. If nothing better has come by then, it is all
// that is left; what the daemons hold in their journals is merged into it.
const stalePatience = time.Minute

// staleness remembers since when nothing but stale faces were offered.
type staleness struct {
	mu    sync.Mutex
	since time.Time
}

// passes says whether a face may be used that is stale for that reason, or "" if it isn't.
func (s *staleness) passes(why string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why == "" {
		s.since = time.Time{}
		return true
	}
	if s.since.IsZero() || now.Sub(s.since) > 2*stalePatience {
		s.since = now
	}
	return now.Sub(s.since) >= stalePatience
}
