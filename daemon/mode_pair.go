package daemon

import (
	"context"
	"fmt"
	"time"

	"orchestrator/backend/pair"
	"orchestrator/daemon/analysis"
	"orchestrator/daemon/api"
	"orchestrator/haproxy"
)

// pairMode is the shared mode with two members: besides watching them it compares what they hold, merges what differs,
// and does what operators ask for by the API. It does one thing at a time, on connections of its own by the admin
// account, so that a long comparison never looks like a silent member.
type pairMode struct {
	watchedMode
	admin    *pair.Pair
	turn     chan struct{} // whoever puts something in uses admin
	verifier *verifier
	work     *work
	// proxies is the HAProxy of this machine; empty where this daemon answers no agent checks.
	proxies []pair.Proxy
}

// proxyTime bounds a question to HAProxy, which is on this machine.
const proxyTime = 500 * time.Millisecond

func openPair(ctx context.Context, h host) (mode, error) {
	m := &pairMode{watchedMode: watchedMode{sharedMode: sharedMode{host: h}}, turn: make(chan struct{}, 1),
		verifier: newVerifier(), work: newWork()}
	m.verifySoon = m.verifier.soon
	if err := m.openAdmin(); err != nil {
		return nil, err
	}
	if err := m.open(ctx); err != nil {
		return nil, err
	}
	m.registry.MustRegister(m.verifier.metrics()...)
	m.opened.add("work at the backend", m.work.close)
	return m, nil
}

func (m *pairMode) openAdmin() error {
	o, err := m.membersOptions()
	if err != nil {
		return err
	}
	c := m.config
	if c.Backend.AdminUser != "" {
		o.Account = pair.Account{User: c.Backend.AdminUser, Password: string(c.Backend.AdminPassword)}
	}
	if c.HAProxy.Agent != "" {
		proxy := pair.HAProxy(haproxy.Runtime{Socket: c.HAProxy.Socket}, c.Backend.Members)
		m.proxies, o.Proxy = []pair.Proxy{proxy}, proxy
	}
	o.LookTimeout = 2 * time.Second // nothing waits for these looks, and a busy server is not dead
	o.Progress = m.work.progress
	if m.admin, err = pair.Open(o); err != nil {
		return err
	}
	m.opened.add("connections of the backend's admin account", m.admin.Close)
	return nil
}

func (m *pairMode) loops() (always, leading []loop) {
	always, leading = m.watchedMode.loops()
	return always, append(leading, m.verifyAll)
}

func (m *pairMode) Findings() []analysis.Finding {
	d := m.deployment()
	d.Differ = m.verifier.differ()
	return d.Findings()
}

func (m *pairMode) Backend(ctx context.Context) api.Backend {
	b := m.watchedMode.Backend(ctx)
	for _, p := range m.proxies {
		short, cancel := context.WithTimeout(ctx, proxyTime)
		servers, err := p.Servers(short)
		cancel()
		if err != nil {
			b.ProxyError = err.Error()
		}
		b.Proxy = servers
	}
	return b
}

func (m *pairMode) BackendWork() *api.BackendWork { return m.work.last() }

// workTime is how long promoting and rejoining may take besides waiting for replication.
const workTime = 2 * time.Minute

func (m *pairMode) BackendPromote(ctx context.Context, r api.BackendPromoteRequest,
	within time.Duration) (api.BackendWork, error) {
	o := pair.PromoteOptions{DryRun: r.DryRun, DrainTimeout: within, Force: r.Force, AllowLoss: r.AllowLoss}
	return m.do(ctx, fmt.Sprintf("promote %v", r.To), r.By, within+workTime,
		func(ctx context.Context, w *api.BackendWork) error {
			done, err := m.admin.Promote(ctx, r.To, o)
			w.Report = &done
			return err
		})
}

func (m *pairMode) BackendRejoin(ctx context.Context, r api.BackendRejoinRequest,
	within time.Duration) (api.BackendWork, error) {
	o := pair.RejoinOptions{DryRun: r.DryRun, DrainTimeout: within, Mutual: r.Mutual, Seed: r.Seed}
	return m.do(ctx, fmt.Sprintf("rejoin %v", r.Member), r.By, within+workTime,
		func(ctx context.Context, w *api.BackendWork) error {
			done, err := m.admin.Rejoin(ctx, r.Member, o)
			w.Report = &done
			return err
		})
}

func (m *pairMode) BackendVerify(ctx context.Context, repair bool, by string) (api.BackendWork, error) {
	what := "compare the members"
	if repair {
		what += ", and merge what differs"
	}
	return m.do(ctx, what, by, verifyTime, func(ctx context.Context, w *api.BackendWork) error {
		at := time.Now()
		v, err := m.admin.Verify(ctx, repair)
		if err != nil {
			return err
		}
		w.Comparison = &v
		if !repair {
			return nil
		}
		return m.keepComparison(ctx, at, "requested by "+by, v)
	})
}

func (m *pairMode) BackendDoctor(ctx context.Context, fix bool, by string) (api.BackendWork, error) {
	what := "examine the pair"
	if fix {
		what += ", and fix what is safe"
	}
	return m.do(ctx, what, by, verifyTime, func(ctx context.Context, w *api.BackendWork) error {
		found, err := m.admin.Doctor(ctx, fix)
		w.Doctor = &found
		return err
	})
}

// do lets one do something at the pair, and waits for it for a while. The work goes on when the request has ended.
func (m *pairMode) do(ctx context.Context, what, by string, most time.Duration,
	do func(context.Context, *api.BackendWork) error) (api.BackendWork, error) {
	if other := m.leader(ctx); other != "" {
		return api.BackendWork{}, fmt.Errorf("%s: %w: %s leads: ask that daemon", what, api.ErrConflict, other)
	}
	wait := time.NewTimer(verifyCalm)
	defer wait.Stop()
	select {
	case m.turn <- struct{}{}:
	case <-wait.C:
		return api.BackendWork{}, fmt.Errorf("%s: %w: the pair is busy: %s; try again when that has ended", what,
			api.ErrConflict, m.work.busy())
	case <-ctx.Done():
		return api.BackendWork{}, ctx.Err()
	}
	began := time.Now()
	w, err := m.work.run(ctx, what, by, most, func(ctx context.Context, w *api.BackendWork) error {
		defer func() { <-m.turn }()
		err := do(ctx, w)
		m.log.Info("work at the backend has ended", "what", what, "by", by, "took", time.Since(began), "err", err)
		return err
	})
	if err != nil {
		return w, fmt.Errorf("%w: %w%s", api.ErrConflict, err, done(w.Report))
	}
	return w, nil
}
