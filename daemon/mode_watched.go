package daemon

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/backend/pair"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/analysis"
	"orchestrator/daemon/api"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/haproxy"
)

// watchedMode is the shared mode where the configuration names the members of the backend. This daemon looks at each of
// them directly, uses only the one that must serve, and tells HAProxy which one that is. It is all there is for a
// single member, and the ground that pairMode stands on.
type watchedMode struct {
	sharedMode
	members *pair.Pair
	watch   *pair.Watch
	// leaderUses is the member that the leader uses, if it is another daemon and this one knows; else zero.
	leaderUses func(context.Context) topology.Key
	agent      []loop // answers HAProxy; empty where no address is configured
}

func openWatched(ctx context.Context, h host) (mode, error) {
	m := &watchedMode{sharedMode: sharedMode{host: h, verifySoon: func(occasion) {}}}
	if err := m.open(ctx); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *watchedMode) open(ctx context.Context) error {
	o, err := m.membersOptions()
	if err != nil {
		return err
	}
	if m.members, err = pair.Open(o); err != nil {
		return err
	}
	m.opened.add("connections that look at the members of the backend", m.members.Close)
	m.leaderUses = func(context.Context) topology.Key { return topology.Key{} } // no other daemon can be asked yet
	m.watch = m.members.Watch(m.known,
		func(k topology.Key) { m.journal.Serve(k.String()) },
		func(k topology.Key) { m.verifySoon(occasion{fmt.Sprintf("%v is back", k), true}) })
	accept := func(f sqlstore.Identity) error { return m.watch.Accept(f.ID, f.Tables) }
	if err := m.sharedMode.open(ctx, accept); err != nil {
		return err
	}
	m.watch.Turn(ctx) // before the first connection, which is accepted by what is seen here
	if err := m.join(ctx); err != nil {
		return err
	}
	m.leaderUses = m.leadersMember
	m.register()
	m.registry.MustRegister(memberMetrics{m})
	return m.listen()
}

// membersOptions are how the members are looked at: by the account of the daemons.
func (m *watchedMode) membersOptions() (pair.Options, error) {
	c := m.config.Backend
	security, err := c.Security()
	account := pair.Account{User: c.User, Password: string(c.Password)}
	return pair.Options{Members: c.Members, Database: c.Database, Account: account, Backend: account,
		Security: security,
		Logger:   m.log}, err
}

// listen opens the port for HAProxy's agent checks.
func (m *watchedMode) listen() error {
	if m.config.HAProxy.Agent == "" {
		return nil
	}
	a := &haproxy.Agent{Listen: m.config.HAProxy.Agent, Fit: m.fit}
	for _, k := range m.config.Backend.Members {
		a.Members = append(a.Members, k.String())
	}
	if err := a.Open(); err != nil {
		return fmt.Errorf("%w: %w", ErrListen, err)
	}
	m.opened.add("the port for HAProxy's agent checks", a.Close)
	m.agent = append(m.agent, a.Serve)
	return nil
}

func (m *watchedMode) fit(member string) (bool, string) {
	k, err := topology.ParseKey(member)
	if err != nil {
		return false, err.Error()
	}
	return m.watch.Fit(k)
}

// known is what this daemon knows of the backend besides what it sees; it is asked before each look.
func (m *watchedMode) known(ctx context.Context) pair.Known {
	m.turned("looking at the members of the backend")
	// what this daemon finds out next must win against all that is there
	for _, member := range m.watch.State().Members {
		_ = m.clock.Observe(member.Newest) // which record is too far ahead is known when it is read
	}
	k := pair.Known{Term: m.journal.Highest(), Newest: m.journal.Newest(), Leader: m.leaderUses(ctx)}
	if served, err := topology.ParseKey(m.journal.Served()); err == nil {
		k.Previous = served
	}
	return k
}

func (m *watchedMode) leadersMember(ctx context.Context) topology.Key {
	self := m.peers.Status()
	members := m.watch.State().Members
	uses := func(leader plan.PeerStatus) topology.Key {
		if leader.ID == self.ID {
			return topology.Key{}
		}
		return pair.Behind(members, leader.Identity)
	}
	used := uses(plan.Ruler(self, m.peers.Last()))
	if slices.ContainsFunc(members, func(m pair.Member) bool { return m.Key == used && !m.Up }) {
		// The leader may have lost it too, and go elsewhere: this daemon must not wait for it any longer than the
		// leader does.
		if leader := plan.Ruler(self, m.peers.Ask(ctx, topology.Key{})); leader.Leading {
			return uses(leader)
		}
	}
	return used
}

func (m *watchedMode) loops() (always, leading []loop) {
	always, leading = m.sharedMode.loops()
	return append(append(always, m.watch.Run), m.agent...), leading
}

func (m *watchedMode) Findings() []analysis.Finding { return m.deployment().Findings() }

func (m *watchedMode) deployment() analysis.Deployment {
	d := m.sharedMode.deployment()
	for _, member := range m.watch.State().Members {
		if why := m.troubled(member); why != "" {
			d.Unfit = append(d.Unfit, analysis.Unfit{Member: member.Key, Why: why})
		}
	}
	return d
}

// troubled says why a member could not take over; "" when it could, or is a replica that only has to be opened for
// writing.
func (m *watchedMode) troubled(member pair.Member) string {
	if member.Up && member.ReadOnly && len(member.Channels) > 0 {
		for _, c := range member.Channels {
			if !c.Running() {
				return c.Trouble()
			}
		}
		return ""
	}
	return m.watch.State().Choice.Unfit[member.Key]
}

// Backend says how the backend is, from memory.
func (m *watchedMode) Backend(ctx context.Context) api.Backend {
	b := m.sharedMode.Backend(ctx)
	state := m.watch.State()
	b.Serves, b.Why, b.Seen = state.Choice.Serve, state.Choice.Why, state.At
	for _, member := range state.Members {
		b.Members = append(b.Members, backendMember(member, state.Choice))
	}
	return b
}

func backendMember(m pair.Member, choice pair.Choice) api.BackendMember {
	out := api.BackendMember{Key: m.Key, Up: m.Up, Error: m.Err, Identity: m.ID, Unfit: choice.Unfit[m.Key],
		ReadOnly: m.ReadOnly,
		Format:   m.Format, Term: m.Hold.Term}
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
	return out
}

// memberMetrics are those that each member has.
type memberMetrics struct{ *watchedMode }

var (
	memberUp = prometheus.NewDesc("orchestrator_backend_member_up",
		"1 while the member of the backend answers this daemon, else 0.", []string{"member"}, nil)
	memberFit = prometheus.NewDesc("orchestrator_backend_member_fit",
		"1 while the member of the backend could serve, or be opened for it, else 0.", []string{"member"}, nil)
	memberServes = prometheus.NewDesc("orchestrator_backend_member_serves",
		"1 for the member that must serve, else 0.", []string{"member"}, nil)
)

// Describe implements prometheus.Collector.
func (m memberMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- memberUp
	to <- memberFit
	to <- memberServes
}

// Collect implements prometheus.Collector.
func (m memberMetrics) Collect(to chan<- prometheus.Metric) {
	state := m.watch.State()
	for _, member := range state.Members {
		for d, yes := range map[*prometheus.Desc]bool{
			memberUp:     member.Up,
			memberFit:    m.troubled(member) == "",
			memberServes: member.Key == state.Choice.Serve,
		} {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, flag(yes), member.Key.String())
		}
	}
}
