package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/tests/lab"
)

const (
	// calm is the pause between two good signs up to which nothing was missing between them.
	calm = 250 * time.Millisecond
	// late is how long acknowledged records may need to reach the passive member; a member that lacks them then is
	// stale.
	late = time.Second
	// switching is how long daemons may be on two members while the service moves from one to the other.
	switching = 5 * time.Second
	// slots are the records in which a client's numbers go round: the last that many are looked for.
	slots = 50
)

// outcomes are those of all scenarios, for the table at the end.
var outcomes struct {
	sync.Mutex
	all []outcome
}

// watched is a deployment to which something is done, and what is seen meanwhile: by clients who declare records
// through every daemon, by a client of the topology, by a client that asks who leads, and by the counters of the
// HAProxies.
type watched struct {
	*deployment
	name  string
	first int64 // number of every client
	rows  *lab.Writer
	began time.Time
	// absent daemons are part of what was broken: that they take no writes says nothing. On both sides of a split a
	// member lacks what the other has.
	absent *lab.Daemon
	split  bool

	stop      context.CancelFunc
	watchers  sync.WaitGroup
	opened    func() []string
	barred    *lab.Server
	barredHad int

	mu         sync.Mutex
	leading    []span
	identities map[string][]span // backends, by what daemons say that they use
	acks       [][]ack           // by daemon
	stale      []string
}

type ack struct {
	at time.Time
	n  int64
}

// watch begins to look, and returns when everything works.
func (d *deployment) watch(name string) *watched {
	d.Helper()
	d.watches++
	ctx, stop := context.WithCancel(d.ctx)
	w := &watched{deployment: d, name: name, first: int64(d.watches) << 24, stop: stop, identities: map[string][]span{},
		acks: make([][]ack, len(d.daemons))}
	d.Cleanup(stop)
	for i, o := range d.daemons {
		w.watchers.Go(func() { w.declare(ctx, i, o) })
		w.watchers.Go(func() { w.leads(ctx, o) })
	}
	w.watchers.Go(func() { w.connections(ctx) })
	w.rows = lab.WriteEach(d.ctx, 5*time.Millisecond, d.watches, append(slices.Clone(d.replicas), d.primary)...)
	d.must(w.rows.AwaitRows(d.ctx, 20))
	w.served(10)
	w.opened = d.watchOpened()
	return w
}

// begin is the moment of the fault.
func (w *watched) begin() { w.began = time.Now() }

// declare writes numbered records through a daemon, one after the other, and remembers what was acknowledged.
func (w *watched) declare(ctx context.Context, i int, o *lab.Daemon) {
	for n := w.first + 1; ctx.Err() == nil; n++ {
		short, cancel := context.WithTimeout(ctx, time.Second)
		err := o.SetTag(short, w.server, slot(i, n), fmt.Sprint(n))
		cancel()
		if err == nil {
			w.mu.Lock()
			w.acks[i] = append(w.acks[i], ack{time.Now(), n})
			w.mu.Unlock()
		}
		rest(ctx, 10*time.Millisecond)
	}
}

func slot(client int, n int64) string { return fmt.Sprintf("client%d-%d", client, n%slots) }

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// served waits until every daemon that is not absent has acknowledged that many more.
func (w *watched) served(more int) {
	w.Helper()
	count := func(i int) int { w.mu.Lock(); defer w.mu.Unlock(); return len(w.acks[i]) }
	for i, o := range w.daemons {
		want := count(i) + more
		w.await("declared writes get through "+o.URL, func() bool { return o == w.absent || count(i) >= want })
	}
}

func (w *watched) leads(ctx context.Context, o *lab.Daemon) {
	for ctx.Err() == nil {
		short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		asked := time.Now()
		s, err := o.Status(short)
		cancel()
		w.mu.Lock()
		if sign := (span{asked, time.Now()}); err == nil {
			if s.Leading {
				w.leading = append(w.leading, sign)
			}
			if s.BackendIdentity != "" {
				w.identities[s.BackendIdentity] = append(w.identities[s.BackendIdentity], sign)
			}
		}
		w.mu.Unlock()
		rest(ctx, 30*time.Millisecond)
	}
}

// held are the highest numbers of the clients that a member has; nil when it can't be asked.
func (d *deployment) held(ctx context.Context, m *lab.Server) map[string]int64 {
	ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if m.Pid() == 0 {
		return nil
	}
	rows, err := m.DB().QueryContext(ctx, "SELECT record.key, document FROM orchestrator.record WHERE kind = 'tag' "+
		"AND NOT deleted")
	if err != nil {
		return nil
	}
	defer rows.Close()
	out := map[string]int64{}
	for rows.Next() {
		var key, document string
		var tag struct{ Value string }
		var n int64
		if rows.Scan(&key, &document) != nil || json.Unmarshal([]byte(document), &tag) != nil {
			return nil
		}
		if _, name, ok := strings.Cut(key, "/"); ok && strings.HasPrefix(name, "client") {
			fmt.Sscan(tag.Value, &n)
			out[name] = n
		}
	}
	if rows.Err() != nil {
		return nil
	}
	return out
}

// lacks is how many of the last numbers that were acknowledged before a moment a member does not hold.
func (w *watched) lacks(held map[string]int64, before time.Time) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, acks := range w.acks {
		looked := 0
		for _, a := range slices.Backward(acks) {
			if looked == slots {
				break
			}
			if a.at.Before(before) {
				looked++
				if held[slot(i, a.n)] < a.n {
					n++
				}
			}
		}
	}
	return n
}

// totals are the connections that each HAProxy has sent to each member since it started; one that does not answer is
// left out.
func (d *deployment) totals(ctx context.Context) map[string]int {
	out := map[string]int{}
	for i, h := range d.proxies {
		servers, err := h.Runtime().Servers(ctx, "members")
		if err != nil {
			continue
		}
		for _, s := range servers {
			out[fmt.Sprintf("%d %s", i, s.Address)] = s.Total
		}
	}
	return out
}

// connections looks whether an HAProxy sends somebody to a member that is stale: before and after, it lacks what was
// acknowledged long ago.
func (w *watched) connections(ctx context.Context) {
	looked, before := time.Now(), w.totals(ctx)
	for ctx.Err() == nil {
		rest(ctx, 100*time.Millisecond)
		at, now := time.Now(), w.totals(ctx)
		for _, m := range w.members {
			more := 0
			for key, n := range now {
				if had, known := before[key]; known && strings.HasSuffix(key, " "+m.Key.String()) {
					more += n - had
				}
			}
			if more == 0 || w.split {
				continue
			}
			if held := w.held(ctx, m); held != nil {
				if n := w.lacks(held, looked.Add(-late)); n > 0 && w.better(ctx, m, n) {
					w.mu.Lock()
					w.stale = append(w.stale, fmt.Sprintf("%d to %v, which lacks %d, at %v", more, m.Key, n,
						at.Sub(w.began).Round(time.Millisecond)))
					w.mu.Unlock()
				}
			}
		}
		looked = at
		for key, n := range now {
			before[key] = n
		}
	}
}

// better says that the other member answers and lacks less: a stale member that is all that is left may serve.
func (w *watched) better(ctx context.Context, than *lab.Server, lacks int) bool {
	for _, m := range w.members {
		if held := w.held(ctx, m); m != than && held != nil && w.lacks(held, time.Now().Add(-late)) < lacks {
			return true
		}
	}
	return false
}

// bar says that no HAProxy may send anybody to a member any more.
func (w *watched) bar(m *lab.Server) {
	w.barred, w.barredHad = m, w.sent(m)
}

func (w *watched) sent(m *lab.Server) (sum int) {
	w.Helper()
	w.await("every HAProxy tells where it has sent connections", func() bool {
		all := w.totals(w.ctx)
		sum = 0
		for key, n := range all {
			if strings.HasSuffix(key, " "+m.Key.String()) {
				sum += n
			}
		}
		return len(all) == len(w.proxies)*len(w.members)
	})
	return sum
}

var (
	stepLine = regexp.MustCompile(
		`(?m)^time=(\S+) level=\S+ msg=(?:step|"step failed") .*?kind=(\S+) at=(\S+) took=(\S+)`)
	// together is the pause between two steps of a daemon in which it is busy still.
	together = 500 * time.Millisecond
)

// acting are the stretches in which a daemon did what can't be taken back. What can be (a receiver stopped, or started
// anew) any that leads does without asking the others, even on both sides of a split.
func (w *watched) acting(o *lab.Daemon) (out []span) {
	w.Helper()
	for _, m := range stepLine.FindAllStringSubmatch(o.Log(), -1) {
		ended, err := time.Parse(time.RFC3339Nano, m[1])
		w.must(err)
		took, err := time.ParseDuration(m[4])
		w.must(err)
		if s := (span{ended.Add(-took), ended}); s.from.After(w.began) && plan.StepKind(m[2]).Irreversible() {
			out = append(out, s)
		}
	}
	return join(out, together)
}

// end waits until all is well, and sums up. Promotions are those that the fault called for.
func (w *watched) end(promotions int) outcome {
	w.Helper()
	w.settled()
	until := time.Now()
	w.served(5)
	opened := w.opened()
	w.rows.Stop()
	o := outcome{scenario: w.name, servers: string(w.primary.Flavor), opened: len(opened)}
	if w.barred != nil {
		if n := w.sent(w.barred) - w.barredHad; n > 0 {
			w.Errorf("%d connections went to %v, which had been away", n, w.barred.Key)
			o.stale = n
		}
	}
	w.stop()
	w.watchers.Wait()
	whole := span{w.began, until}
	o.leaderless = without(whole, join(w.leading, calm))
	var every []span
	for i, d := range w.daemons {
		var signs []span
		for _, a := range w.acks[i] {
			signs = append(signs, span{a.at, a.at})
			if a.at.After(w.began) {
				o.acknowledged++
			}
		}
		if d != w.absent {
			o.worst = max(o.worst, without(whole, join(signs, calm)))
		}
		every = append(every, signs...)
		for _, other := range w.daemons[:i] {
			o.overlap += overlap(w.acting(d), w.acting(other))
		}
	}
	o.backendless = without(whole, join(every, calm))
	for a := range w.identities {
		for b := range w.identities {
			if a < b {
				o.twoMembers += overlap(join(w.identities[a], calm), join(w.identities[b], calm))
			}
		}
	}
	o.writersOut = w.rows.Outage(w.began).Length()

	if !slices.ContainsFunc(w.members, func(m *lab.Server) bool { return m.Pid() == 0 }) {
		w.same()
	}
	for _, m := range w.members {
		if m.Pid() != 0 {
			o.lost = max(o.lost, w.lacks(w.held(w.ctx, m), until))
		}
	}
	for _, d := range w.daemons {
		w.await("every acknowledged write is known to "+d.URL, func() bool {
			v, err := d.Instance(w.ctx, w.server)
			return err == nil && w.lacks(numbers(v.Tags), until) == 0
		})
	}
	lost, err := w.rows.Lost(w.ctx, w.rows.Last())
	w.must(err)
	o.rows = len(lost)
	o.stale += len(w.stale)

	if o.opened > promotions {
		w.Errorf("opened for writes: %s", strings.Join(opened, ", "))
	}
	if o.opened > 0 && !slices.ContainsFunc(w.daemons, func(d *lab.Daemon) bool { return len(w.acting(d)) > 0 }) {
		w.Error("a replica was opened, and no daemon's log tells of a step")
	}
	if o.overlap > 0 {
		w.Errorf("two daemons changed servers at the same time, for %v", o.overlap)
	}
	if o.twoMembers > switching && !w.split {
		w.Errorf("daemons used two members at the same time, for %v", o.twoMembers)
	}
	if len(w.stale) > 0 {
		w.Errorf("connections to a stale member: %s", strings.Join(w.stale, "; "))
	}
	if o.lost > 0 || o.rows > 0 {
		w.Errorf("%d of %d declared writes and %d rows are lost", o.lost, o.acknowledged, o.rows)
	}
	w.Logf("%s: no leader %s s, no declared write %s s, at the worst daemon %s s, writers out %v, opened %v; all "+
		"well after %v; %d acknowledged, %d lost",
		w.name, seconds(o.leaderless), seconds(o.backendless), seconds(o.worst), o.writersOut.Round(time.Millisecond),
		opened, until.Sub(w.began).Round(time.Millisecond), o.acknowledged, o.lost)
	outcomes.Lock()
	outcomes.all = append(outcomes.all, o)
	outcomes.Unlock()
	return o
}

func numbers(tags map[string]string) map[string]int64 {
	out := map[string]int64{}
	for name, value := range tags {
		var n int64
		fmt.Sscan(value, &n)
		out[name] = n
	}
	return out
}
