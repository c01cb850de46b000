package recovery

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"orchestrator/daemon/drawing"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// paper is a fleet on paper: a step that is done changes the drawing.
type paper struct {
	mu       sync.Mutex
	snapshot topology.Snapshot
	done     []string
	broken   map[plan.StepKind]int // how often a kind of step fails first
	looked   [][]topology.Key
	asked    map[string]int // how often a cluster was read
	before   func(plan.Step)
	after    func(plan.Step)
	readers  []*list
}

func draw(text string) *paper {
	return &paper{snapshot: drawing.MustParse(text), broken: map[plan.StepKind]int{}, asked: map[string]int{}}
}

func (p *paper) Clusters() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.snapshot.Clusters()
}

func (p *paper) Cluster(name string) topology.Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[name]++
	out := p.snapshot.Of(name)
	out.Revision = p.snapshot.Revision
	return out
}

func (p *paper) Look(_ context.Context, keys ...topology.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looked = append(p.looked, keys)
}

func (p *paper) StayClose(string, ...topology.Key) {}

func (p *paper) Do(_ context.Context, step plan.Step) error {
	if p.before != nil {
		p.before(step)
	}
	time.Sleep(time.Millisecond)
	var err error
	p.change(func(s *topology.Snapshot) {
		if p.broken[step.Kind] > 0 {
			p.broken[step.Kind]--
			err = errors.New("lost on the way")
			return
		}
		p.done = append(p.done, string(step.Kind)+" "+step.At.Host)
		plan.Pretend(s, step)
	})
	if p.after != nil {
		p.after(step)
	}
	return err
}

// change changes the drawing, and tells those who subscribed.
func (p *paper) change(f func(s *topology.Snapshot)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.snapshot.Servers = slices.Clone(p.snapshot.Servers)
	before := slices.Clone(p.snapshot.Servers)
	f(&p.snapshot)
	p.snapshot.Revision++
	for _, l := range p.readers {
		for i, v := range p.snapshot.Servers {
			if before[i].Instance != v.Instance || before[i].Probe != v.Probe {
				l.changed[v.Cluster] = true
			}
		}
		l.poke()
	}
}

func (p *paper) subscribe() Subscription {
	l := &list{p, make(chan struct{}, 1), map[string]bool{}}
	for _, name := range p.Clusters() {
		l.changed[name] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readers = append(p.readers, l)
	return l
}

// list is a subscription to a fleet on paper.
type list struct {
	*paper
	wake    chan struct{}
	changed map[string]bool
}

func (l *list) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *list) Changed() <-chan struct{} { return l.wake }

func (l *list) Take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for name := range l.changed {
		out = append(out, name)
	}
	clear(l.changed)
	return out
}

func (l *list) Close() {}
