package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/backend"
	"orchestrator/backend/pair"
	"orchestrator/daemon/api"
)

// proofKind is the kind of the records that tell how the members of the backend compared.
const proofKind = "proof"

const (
	// proofKept is how long proofs that found something are kept.
	proofKept = 30 * 24 * time.Hour
	// proofTime bounds one comparison; a fleet of thousands takes a second.
	proofTime = time.Minute
	// proofAgain is how soon one is tried again that could not be made: a member is away.
	proofAgain = 10 * time.Second
	// proofCalm is how long the members are left alone after a switch: what is on its way arrives by itself.
	proofCalm = 3 * time.Second
	// proofShown is how many differences a record of a proof holds.
	proofShown = 100
	// workWaits is how long a request waits for the work that it has begun; then it gets how far that is.
	workWaits = 25 * time.Second
)

// care is what a daemon does for its pair besides watching it: proves it, and does what the API is asked for. One thing at a time, on connections
// of its own, so that a long comparison never looks like a silent member.
type care struct {
	pair   *pair.Pair
	turn   chan struct{} // who puts something in does something
	wake   chan struct{} // a proof can't wait
	ctx    context.Context
	cancel context.CancelFunc
	works  sync.WaitGroup

	mu    sync.Mutex
	work  *api.BackendWork // under way, or the last
	found []pair.Difference
	proofs
	merged int
}

// proofs says when the next one is to be made.
type proofs struct {
	last  time.Time // of the last that was made
	owed  occasion  // of the next, when it can't wait
	ready time.Time // not before
}

// occasion is what gives rise to a proof.
type occasion struct {
	why string
	// apart: the members were apart until now, and what is still on its way is to be told, too.
	apart bool
}

func newCare(o pair.Options) (*care, error) {
	c := &care{turn: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	o.LookTimeout = 2 * time.Second // nothing waits for these looks; a busy server is no dead one
	o.Progress = func(says string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.work != nil && c.work.Ended.IsZero() {
			c.work.Says = says
		}
	}
	var err error
	c.pair, err = pair.Open(o)
	return c, err
}

func (c *care) close() error {
	c.cancel()
	c.works.Wait()
	return c.pair.Close()
}

// owe has the next proof made soon.
func (c *care) owe(o occasion) {
	c.mu.Lock()
	if !c.owed.apart {
		c.owed = o
	}
	if c.ready = time.Now(); !c.owed.apart {
		c.ready = c.ready.Add(proofCalm)
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// due says what a proof is to be made for now; nothing, if none is.
func (p proofs) due(now time.Time, every time.Duration) occasion {
	switch {
	case every == 0 || now.Before(p.ready):
		return occasion{}
	case p.owed.why != "":
		return p.owed
	case now.Sub(p.last) >= every:
		return occasion{why: "each " + every.String()}
	}
	return occasion{}
}

// differ names the records in which the members still differed when they were compared last.
func (c *care) differ() (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, d := range c.found {
		if i == proofShown {
			return append(out, fmt.Sprintf("and %d more", len(c.found)-i))
		}
		out = append(out, fmt.Sprintf("%s %s: %v | %v", d.Kind, d.Key, d.Held[0], d.Held[1]))
	}
	return out
}

func (c *care) metrics() []prometheus.Collector {
	tell := func(what func() float64) func() float64 {
		return func() float64 {
			c.mu.Lock()
			defer c.mu.Unlock()
			return what()
		}
	}
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_backend_differing", Help: "Records that the members of the backend held in two ways when this daemon, leading, compared and merged them last."},
			tell(func() float64 { return float64(len(c.found)) })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_backend_proved_timestamp_seconds", Help: "When this daemon, leading, compared the members of the backend last, in Unix time; 0 when it has not."},
			tell(func() float64 {
				if c.last.IsZero() {
					return 0
				}
				return float64(c.last.UnixMilli()) / 1000
			})),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "orchestrator_backend_merged_total", Help: "Records that the members of the backend held in two ways, and that this daemon has merged."},
			tell(func() float64 { return float64(c.merged) })),
	}
}

// proveAll compares the members again and again while this daemon leads, and merges what differs.
func (d *Daemon) proveAll(ctx context.Context) {
	c := d.shared.care
	c.owe(occasion{why: "a new leader"})
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-tick.C:
		}
		c.mu.Lock()
		o := c.due(time.Now(), d.config.Load().Backend.Prove)
		c.mu.Unlock()
		if o.why == "" {
			continue
		}
		select {
		case c.turn <- struct{}{}:
			d.prove(ctx, o)
			<-c.turn
		default: // somebody is at work there
		}
	}
}

// prove compares once. Whoever calls it has the turn.
func (d *Daemon) prove(ctx context.Context, o occasion) {
	c := d.shared.care
	short, cancel := context.WithTimeout(ctx, proofTime)
	defer cancel()
	at := time.Now()
	v, err := c.pair.Verify(short, true)
	if ctx.Err() != nil {
		return
	}
	if !o.apart {
		v.Arrived = nil // of a pair that works something always is on its way
	}
	c.compared(at, o, v, err)
	log := d.options.Logger
	switch {
	case err != nil && len(v.Differences) > 0:
		log.Warn("the members of the backend differ, and could not be merged", "occasion", o.why, "differ", len(v.Differences), "err", err)
		return
	case err != nil:
		log.Warn("the members of the backend could not be compared", "occasion", o.why, "err", err)
		return
	}
	if telling(v) {
		log.Warn("the members of the backend differed", "occasion", o.why, "arrived", len(v.Arrived), "merged", len(v.Merged), "left", len(v.Differences), "records", v.Records)
	}
	if err := d.keepProof(ctx, at, o.why, v); err != nil {
		log.Error("a proof of the backend could not be stored", "err", err)
	}
}

// compared takes down what a comparison has told. One whose merging has failed proves nothing, and is made again soon; what it found is known.
// One that found nothing because it could not be made leaves what the last one found.
func (c *care) compared(at time.Time, o occasion, v pair.Verification, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = at.Add(proofAgain)
	if err != nil {
		if len(v.Differences) > 0 {
			c.found = v.Differences
		}
		return
	}
	c.last, c.found = at, v.Differences
	c.merged += len(v.Merged) + len(v.Arrived)
	if c.owed == o {
		c.owed = occasion{}
	}
}

// telling says that a proof is worth keeping: something differed besides the proofs themselves, each of which is written after comparing.
func telling(v pair.Verification) bool {
	return slices.ContainsFunc(slices.Concat(v.Arrived, v.Merged, v.Differences), func(d pair.Difference) bool { return d.Kind != proofKind })
}

// keepProof stores the last proof, and for a month those that found something.
func (d *Daemon) keepProof(ctx context.Context, at time.Time, why string, v pair.Verification) error {
	keys := []string{"last"}
	if telling(v) {
		keys = append(keys, at.UTC().Format("20060102T150405Z"))
	}
	p := api.BackendProof{At: at.UTC(), By: d.id, Why: why, Comparison: Compared(v)}
	for _, list := range []*[]api.BackendDifference{&p.Comparison.Differences, &p.Comparison.Merged, &p.Comparison.Arrived} {
		p.More += max(0, len(*list)-proofShown)
		*list = (*list)[:min(proofShown, len(*list))]
	}
	var records []backend.Record
	for _, key := range keys {
		r, err := backend.Encode(proofKind, key, p)
		if err != nil {
			return err
		}
		r.Version, r.Writer = d.clock.Next(), d.id
		records = append(records, r)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	return d.store.Put(ctx, records...)
}

// proofsOnRecord are those that found something, the newest first, and the last.
func (d *Daemon) proofsOnRecord(ctx context.Context) (last *api.BackendProof, found []api.BackendProof, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	records, err := d.store.List(ctx, proofKind)
	if err != nil {
		return nil, nil, err
	}
	found = []api.BackendProof{}
	for _, r := range records {
		p, err := backend.Decode[api.BackendProof](r)
		switch {
		case err != nil:
			return nil, nil, err
		case r.Key == "last":
			last = &p
		default:
			found = append([]api.BackendProof{p}, found...)
		}
	}
	return last, found, nil
}

// do has the pair do something, and waits for it for a while. The work goes on when the request has ended.
func (d *Daemon) do(ctx context.Context, what, by string, most time.Duration, work func(context.Context, *pair.Pair, *api.BackendWork) error) (api.BackendWork, error) {
	if d.shared == nil || d.shared.care == nil {
		return api.BackendWork{}, fmt.Errorf("%s: %w: this daemon has no pair to look after (backend.members names none)", what, api.ErrConflict)
	}
	c := d.shared.care
	if other := d.shared.leads(ctx); other != "" {
		return api.BackendWork{}, fmt.Errorf("%s: %w: %s leads: ask that daemon", what, api.ErrConflict, other)
	}
	select {
	case c.turn <- struct{}{}:
	case <-time.After(proofCalm):
		c.mu.Lock()
		defer c.mu.Unlock()
		busy := "the members are being compared"
		if w := c.work; w != nil && w.Ended.IsZero() {
			busy = fmt.Sprintf("%s wants %s, since %s (%s)", w.By, w.What, w.Began.Format(time.RFC3339), w.Says)
		}
		return api.BackendWork{}, fmt.Errorf("%s: %w: something is under way: %s; try again when it has ended", what, api.ErrConflict, busy)
	case <-ctx.Done():
		return api.BackendWork{}, ctx.Err()
	}
	w := &api.BackendWork{What: what, By: by, Began: time.Now().UTC()}
	c.mu.Lock()
	c.work = w
	c.mu.Unlock()
	done := make(chan error, 1)
	c.works.Go(func() {
		long, cancel := context.WithTimeout(c.ctx, most)
		defer cancel()
		var told api.BackendWork
		err := work(long, c.pair, &told)
		c.mu.Lock()
		w.Report, w.Comparison, w.Doctor = told.Report, told.Comparison, told.Doctor
		w.Ended = time.Now().UTC()
		if err != nil {
			w.Error = err.Error()
		}
		c.mu.Unlock()
		d.options.Logger.Info("the backend was worked on", "what", what, "by", by, "took", time.Since(w.Began), "err", w.Error)
		<-c.turn
		done <- err
	})
	var err error
	wait := time.NewTimer(workWaits)
	defer wait.Stop()
	select {
	case err = <-done:
	case <-wait.C:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		return *w, fmt.Errorf("%w: %w%s", api.ErrConflict, err, walked(w.Report))
	}
	return *w, nil
}

// walked says what had been done when something failed.
func walked(r *api.BackendReport) string {
	if r == nil {
		return ""
	}
	var done []string
	for _, s := range r.Steps {
		if s.Done {
			done = append(done, s.Does)
		}
	}
	if len(done) == 0 {
		return " (nothing was changed)"
	}
	return " (done before that: " + strings.Join(done, "; ") + "; it can be run again)"
}

// as gives what package pair tells in the words of the API: the JSON is the same, which a test holds, so that this can't fail.
func as[Out any](v any) (out Out) {
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		panic(fmt.Sprintf("%T is not told as %T: %v", v, out, err))
	}
	return out
}

// Compared, Reported and Examined are what the pair tells in the words of the API.
func Compared(v pair.Verification) api.BackendComparison { return as[api.BackendComparison](v) }

func Reported(r pair.Report) api.BackendReport { return as[api.BackendReport](r) }

func Examined(mended, found []pair.Complaint) api.BackendDoctor {
	return api.BackendDoctor{Mended: as[[]api.BackendComplaint](mended), Complaints: append([]api.BackendComplaint{}, as[[]api.BackendComplaint](found)...)}
}

func (f *face) BackendPromote(ctx context.Context, r api.BackendPromoteRequest, within time.Duration) (api.BackendWork, error) {
	o := pair.PromoteOptions{DryRun: r.DryRun, DrainTimeout: within, Force: r.Force, AllowLoss: r.AllowLoss}
	return f.do(ctx, fmt.Sprintf("promote %v", r.To), r.By, within+2*time.Minute, func(ctx context.Context, p *pair.Pair, w *api.BackendWork) error {
		report, err := p.Promote(ctx, r.To, o)
		told := Reported(report)
		w.Report = &told
		return err
	})
}

func (f *face) BackendRejoin(ctx context.Context, r api.BackendRejoinRequest, within time.Duration) (api.BackendWork, error) {
	o := pair.RejoinOptions{DryRun: r.DryRun, DrainTimeout: within, Mutual: r.Mutual, Seed: r.Seed}
	return f.do(ctx, fmt.Sprintf("rejoin %v", r.Member), r.By, within+2*time.Minute, func(ctx context.Context, p *pair.Pair, w *api.BackendWork) error {
		report, err := p.Rejoin(ctx, r.Member, o)
		told := Reported(report)
		w.Report = &told
		return err
	})
}

func (f *face) BackendVerify(ctx context.Context, repair bool, by string) (api.BackendWork, error) {
	what := "compare the members"
	if repair {
		what += ", and merge what differs"
	}
	return f.do(ctx, what, by, proofTime, func(ctx context.Context, p *pair.Pair, w *api.BackendWork) error {
		v, err := p.Verify(ctx, repair)
		if err != nil {
			return err
		}
		told := Compared(v)
		w.Comparison = &told
		if !repair {
			return nil
		}
		return f.keepProof(ctx, time.Now(), by+" has asked for it", v)
	})
}

func (f *face) BackendDoctor(ctx context.Context, fix bool, by string) (api.BackendWork, error) {
	what := "look for complaints"
	if fix {
		what += ", and mend what is safe"
	}
	return f.do(ctx, what, by, proofTime, func(ctx context.Context, p *pair.Pair, w *api.BackendWork) error {
		found := pair.Doctor(p.Examine(ctx))
		var mended []pair.Complaint
		var failed error
		if fix {
			mended, failed = p.Fix(ctx, found)
			found = pair.Doctor(p.Examine(ctx))
		}
		told := Examined(mended, found)
		w.Doctor = &told
		return failed
	})
}

func (f *face) BackendProofs(ctx context.Context) ([]api.BackendProof, error) {
	_, found, err := f.proofsOnRecord(ctx)
	return found, err
}

func (f *face) BackendWork() *api.BackendWork {
	if f.shared == nil || f.shared.care == nil {
		return nil
	}
	c := f.shared.care
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.work == nil {
		return nil
	}
	w := *c.work
	return &w
}

func (f *face) StepDown(ctx context.Context, by, reason string) error {
	if l := f.lead.Status(); !l.Leading {
		return fmt.Errorf("step down: %w: this daemon does not lead; %s does", api.ErrConflict, cmp.Or(l.Holder, "nobody, as far as it knows,"))
	}
	f.options.Logger.Info("asked to step down", "by", by, "reason", reason)
	return f.lead.StepDown(ctx)
}
