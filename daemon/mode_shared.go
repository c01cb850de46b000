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

	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/analysis"
	"orchestrator/daemon/api"
	"orchestrator/daemon/config"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/peer"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/recovery"
	"orchestrator/daemon/topology"
	"orchestrator/daemon/trail"
)

// sharedMode is one of several daemons that share one MySQL or MariaDB server, of which nothing is configured but its
// address.
type sharedMode struct {
	noPair
	host
	journal *sqlstore.Journal
	peers   *peer.Peers
	stale   staleness // of the servers that the address has led to
	// verifySoon is called when the members of the backend may have come to differ.
	verifySoon func(occasion)

	mu       sync.Mutex
	identity string // of the server in use; "" when there is none
	used     string // the identity that was in use last; "" before the first
	why      string // the backend is unavailable; "" when it is not
	switches int
	refused  int
}

// contactEvery is how often the backend is asked for its server identity. The next statement notices a switch anyway;
// this bounds how long an idle daemon keeps from another server what the one before had.
const contactEvery = 500 * time.Millisecond

func openShared(ctx context.Context, h host) (mode, error) {
	m := &sharedMode{host: h, verifySoon: func(occasion) {}}
	if err := m.open(ctx, m.acceptFresh); err != nil {
		return nil, err
	}
	if err := m.join(ctx); err != nil {
		return nil, err
	}
	m.register()
	return m, nil
}

// open opens the journal. accept says why a server that the address leads to must not be used.
func (m *sharedMode) open(ctx context.Context, accept func(sqlstore.Identity) error) error {
	c := m.config.Backend
	local, err := openFile(m.host)
	if err != nil {
		return err
	}
	security, err := c.Security()
	if err != nil {
		return err
	}
	remote, err := sqlstore.OpenMySQL(sqlstore.MySQLOptions{
		Address: c.Address, Database: c.Database, User: c.User, Password: string(c.Password),
		Security: security, Timeout: c.Timeout, Logger: m.log,
		Accept: func(_ context.Context, _, offered sqlstore.Identity) error {
			err := accept(offered)
			if err != nil {
				m.count(&m.refused)
			}
			return err
		},
	})
	if err != nil {
		return err
	}
	m.opened.add("the backend "+c.Address, remote.Close)
	m.journal, err = sqlstore.OpenJournal(ctx, remote, local, sqlstore.JournalOptions{
		Facts: []string{instanceKind, recovery.StepKind},
		Owed:  append(append(recovery.Owed(), peer.LeaveKind, comparisonKind, confirmedKind), trail.Kinds()...),
		Clock: m.clock, Logger: m.log,
	})
	if err != nil {
		return err
	}
	m.opened.add("the journal", m.journal.Close) // and both stores; to close them again does nothing
	return nil
}

// acceptFresh accepts a server that has what this daemon has seen in the backend.
func (m *sharedMode) acceptFresh(offered sqlstore.Identity) error {
	why := sqlstore.Stale(offered, m.journal.Highest(), m.journal.Newest())
	if m.stale.passes(why, time.Now()) {
		return nil
	}
	return fmt.Errorf("%s; this daemon waits up to %v for a server that has more", why, stalePatience)
}

// join makes this daemon known to the others.
func (m *sharedMode) join(ctx context.Context) error {
	c := m.config
	trust, err := trustOf(c)
	if err != nil {
		return err
	}
	m.peers = peer.Open(ctx, peer.Options{
		ID: m.id, Name: hostname() + "=" + c.HTTP.Listen,
		Daemons: c.Peers.Daemons, Trust: trust,
		Status: m.peerStatus, Reach: m.reach, Store: m.journal, Clock: m.clock, Logger: m.log,
	})
	return nil
}

// peerStatus is what this daemon knows of the leadership; peer adds who it is.
func (m *sharedMode) peerStatus() plan.PeerStatus {
	l := m.leadership()
	m.mu.Lock()
	defer m.mu.Unlock()
	return plan.PeerStatus{Leading: l.Leading, Leader: l.Holder, Term: l.Term, Identity: m.identity}
}

func (m *sharedMode) store() store { return m.journal }

func (m *sharedMode) guard() guard {
	return guard{
		term:     m.term,
		claim:    recovery.NewGate(m.peers.Status, m.peers.Ask, m.hold).Claim,
		transfer: recovery.NewTransfer(m.peers.Status, m.peers.Ask, m.transfer, m.log).Ask,
		highest:  m.journal.Highest(),
		remember: func(term int64) error { m.journal.Remember(term); return nil },
		gone:     m.peers.Gone,
	}
}

// term is that in which this daemon leads; 0 when it does not.
func (m *sharedMode) term() int64 {
	if l := m.leadership(); l.Leading {
		return l.Term
	}
	return 0
}

func (m *sharedMode) loops() (always, leading []loop) {
	return []loop{m.keepContact, m.peers.Run}, nil
}

// mounts need no token: each question is signed.
func (m *sharedMode) mounts() []httpd.Mount {
	return []httpd.Mount{{Path: peer.Path, Access: httpd.Open, Handler: m.peers.Handler()}}
}

func (m *sharedMode) leave(ctx context.Context) error { return m.peers.Leave(ctx) }

func (m *sharedMode) greet(hello *tls.ClientHelloInfo) *tls.Config { return m.peers.Greet(hello) }

// trustOf is by what the daemons know each other.
func trustOf(c config.Config) (t peer.Trust, err error) {
	t.Secret = string(c.Peers.Secret)
	t.Authorities = c.Peers.Pool()
	t.Certificate, err = c.Peers.KeyPair()
	return t, err
}

func (m *sharedMode) reload(c config.Config) {
	trust, err := trustOf(c)
	if err == nil && trust.Certificate != nil && c.HTTP.Certificate == "" {
		err = errors.New("peers.cert needs http.tls_cert, which waits for a restart")
	}
	if err != nil { // it was read and checked a moment ago
		m.log.Error("how the daemons know each other stays as it was", "err", err)
		return
	}
	m.peers.SetTrust(trust)
}

// keepContact asks the backend for its server identity again and again. Another server gets the journal although nobody
// writes or reads, and what was declared is read from it.
func (m *sharedMode) keepContact(ctx context.Context) error {
	tick := time.NewTicker(contactEvery)
	defer tick.Stop()
	split := false
	for {
		m.turned("contact with the backend")
		m.contact(ctx)
		if ctx.Err() != nil {
			return nil
		}
		before := split
		if split = m.split() != ""; before && !split {
			m.verifySoon(occasion{"a split has healed", true})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// contact asks once.
func (m *sharedMode) contact(ctx context.Context) {
	short, cancel := context.WithTimeout(ctx, storeTime)
	identity, err := m.journal.Identity(short)
	cancel()
	m.mu.Lock()
	before, down := m.identity, m.why != ""
	switched := err == nil && identity != m.used && m.used != ""
	if err != nil {
		m.identity, m.why = "", err.Error()
	} else {
		m.identity, m.why, m.used = identity, "", identity
	}
	if switched {
		m.switches++
	}
	m.mu.Unlock()
	if switched {
		m.verifySoon(occasion{why: "the backend was switched"})
	}
	switch {
	case ctx.Err() != nil:
	case err != nil && (!down || before != ""):
		m.log.Error("the backend is unavailable: this daemon goes on watching, and acts only while its lease is "+
			"confirmed", "err", err)
	case err == nil && identity != before:
		m.log.Warn("the backend is in use", "server", identity, "before", before)
		m.refresh(ctx)
	}
}

// leader names another daemon that says, now, that it leads, while this one does not.
func (m *sharedMode) leader(ctx context.Context) string {
	self := m.peers.Status()
	if self.Leading {
		return ""
	}
	if r := plan.Ruler(self, m.peers.Ask(ctx, topology.Key{})); r.Leading {
		return r.Name
	}
	return ""
}

// split says how daemons disagree on who leads, or on the backend; "" when they agree.
func (m *sharedMode) split() string { return strings.Join(m.disagree(), "; ") }

func (m *sharedMode) disagree() []string {
	self := m.peers.Status()
	var says []string
	for _, p := range m.peers.Last() {
		switch {
		case !p.Answered:
		case self.Leading && p.Leading:
			says = append(says, fmt.Sprintf("%s leads too, in term %d; this daemon leads in term %d", p.Name, p.Term,
				self.Term))
		case self.Identity != "" && p.Identity != "" && self.Identity != p.Identity:
			says = append(says, fmt.Sprintf("%s uses the backend %s; this daemon uses %s", p.Name, p.Identity,
				self.Identity))
		}
	}
	slices.Sort(says)
	return says
}

// silent are the daemons that did not answer last.
func (m *sharedMode) silent() []string {
	var out []string
	for _, p := range m.peers.Last() {
		if !p.Answered {
			out = append(out, fmt.Sprintf("%s: %s", p.Name, p.Why))
		}
	}
	return out
}

func (m *sharedMode) Findings() []analysis.Finding { return m.deployment().Findings() }

func (m *sharedMode) deployment() analysis.Deployment {
	d := analysis.Deployment{Disagree: m.disagree(), Silent: m.silent()}
	m.mu.Lock()
	defer m.mu.Unlock()
	d.Unavailable = m.why
	return d
}

func (m *sharedMode) status(s *api.Status) {
	s.Split, s.SilentPeers = m.split(), m.silent()
	m.mu.Lock()
	defer m.mu.Unlock()
	s.BackendIdentity = m.identity
	switch {
	case m.identity != "":
	case m.why != "":
		s.NotReady = "the backend is unavailable: " + m.why
	default:
		s.NotReady = "the backend is not in use yet"
	}
}

// Backend says how the backend is, from memory.
func (m *sharedMode) Backend(ctx context.Context) api.Backend {
	m.mu.Lock()
	b := api.Backend{Kind: "mysql", Identity: m.identity, Unavailable: m.why, Members: []api.BackendMember{}}
	m.mu.Unlock()
	b.Compared, _, _ = m.comparisons(ctx) // what can't be read now is absent
	return b
}

func (m *sharedMode) BackendProofs(ctx context.Context) ([]api.BackendComparison, error) {
	_, found, err := m.comparisons(ctx)
	return found, err
}

func (m *sharedMode) register() {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	counter := func(name, help string, n *int) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return m.counted(n) })
	}
	m.registry.MustRegister(
		m.journal,
		gauge("orchestrator_split", "1 while daemons disagree on who leads, or on the backend, else 0.",
			func() float64 { return flag(m.split() != "") }),
		gauge("orchestrator_backend_available", "1 while this daemon has its backend, else 0.", func() float64 {
			m.mu.Lock()
			defer m.mu.Unlock()
			return flag(m.identity != "")
		}),
		counter("orchestrator_backend_switches_total",
			"How often this daemon has found another server behind the backend's address.", &m.switches),
		counter("orchestrator_backend_refused_total",
			"Connections of this daemon to a backend server that it refused to use, because the server is stale, "+
				"must not serve, "+
				"or is not a configured member. A read-only server is refused too, and not counted.", &m.refused),
		gauge("orchestrator_peers_silent", "Other daemons of the configuration that did not answer last.",
			func() float64 { return float64(len(m.silent())) }),
	)
}

func (m *sharedMode) count(n *int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*n++
}

func (m *sharedMode) counted(n *int) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return float64(*n)
}

func flag(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// stalePatience is how long a backend whose members are not known is refused because it is stale. If no better one has
// come by then, it is all that is left; what the daemons hold in their journals is merged into it.
const stalePatience = time.Minute

// staleness remembers since when only stale servers were offered.
type staleness struct {
	mu    sync.Mutex
	since time.Time
}

// passes says whether a server may be used that is stale for that reason, or "" if it is not.
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
