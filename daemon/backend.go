package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/backend"
	"orchestrator/backend/pair"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/api"
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
	peers   *peer.Peers
	agent   *haproxy.Agent // nil where nobody is to be answered

	mu   sync.Mutex
	face string // of the backend in use; "" when it has none
	why  string // the backend is unavailable; "" when it is not
}

// faceEvery is how often the backend is asked who it is. A switch is noticed by the next statement anyway; this bounds how long an idle daemon
// owes the new face what the old one had.
const faceEvery = 500 * time.Millisecond

// open opens what records are kept in. A shared backend may be down: then the daemon looks and judges by what it remembers, and does not act.
func (d *Daemon) open(c Config) error {
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

func (s *shared) open(c Config, local *sqlstore.Store, d *Daemon) error {
	security, err := c.Backend.TLSConfig()
	if err != nil {
		return err
	}
	log := d.options.Logger
	o := sqlstore.MySQLOptions{Address: c.Backend.Address, Database: c.Backend.Database, User: c.Backend.User, Password: string(c.Backend.Password),
		TLS: security, Timeout: c.Backend.Timeout, Logger: log}
	if len(c.Backend.Members) > 0 {
		account := pair.Account{User: c.Backend.User, Password: string(c.Backend.Password)}
		s.pair, err = pair.Open(pair.Options{Members: c.Backend.Members, Database: c.Backend.Database, Account: account, Backend: account, TLS: security, Logger: log})
		if err != nil {
			return err
		}
		s.watch = s.pair.Watch(s.known)
		o.Accept = func(_ context.Context, _, offered sqlstore.Face) error { return s.watch.Accept(offered.ID) }
	}
	remote, err := sqlstore.OpenMySQL(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	s.journal, err = sqlstore.OpenJournal(ctx, remote, local, sqlstore.JournalOptions{Facts: []string{instanceKind, recovery.StepKind},
		Owed: []string{recovery.EpisodeKind, peer.FarewellKind}, Logger: log})
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

// known is what this daemon knows of the backend besides what it sees.
func (s *shared) known() pair.Known {
	if s.journal == nil { // not open yet
		return pair.Known{}
	}
	k := pair.Known{Term: s.journal.Highest(), Newest: s.journal.Newest()}
	if s.peers == nil {
		return k
	}
	if self := s.peers.Standing(); self.Leading {
		return k
	}
	for _, p := range s.peers.Last() {
		if !p.Answered || !p.Leading || p.Face == "" {
			continue
		}
		for _, m := range s.watch.State().Members {
			if m.ID == p.Face {
				k.Leader = m.Key
			}
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
func (d *Daemon) join(ctx context.Context, c Config) error {
	s := d.shared
	var security *tls.Config
	if c.Peers.CA != "" {
		var err error
		if security, err = tlsConfig(c.Peers.CA); err != nil {
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
	for {
		short, cancel := context.WithTimeout(ctx, storeTime)
		face, err := s.journal.Face(short)
		cancel()
		s.mu.Lock()
		before, down := s.face, s.why != ""
		s.face, s.why = face, ""
		if err != nil {
			s.face, s.why = "", err.Error()
		}
		s.mu.Unlock()
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

// Split says that daemons disagree on who leads, or on the backend; "" when they don't.
func (s *shared) split() string {
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
	return strings.Join(says, "; ")
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
	flag := func(yes bool) float64 {
		if yes {
			return 1
		}
		return 0
	}
	r.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_split", Help: "1 while daemons disagree on who leads, or on the backend, else 0."},
			func() float64 { return flag(s.split() != "") }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_backend_available", Help: "1 while this daemon has its backend, else 0."}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return flag(s.face != "")
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_peers_silent", Help: "Other daemons of the configuration that did not answer last."},
			func() float64 { return float64(len(s.silent())) }),
	)
}

// close ends the connections that the store does not own.
func (s *shared) close() error {
	if s.pair == nil {
		return nil
	}
	return s.pair.Close()
}
