package discovery

import (
	"container/heap"
	"context"
	"hash/fnv"
	"time"

	"orchestrator/daemon/topology"
)

const (
	// patience is how long a failing server is asked at every Poll before it is asked less and less often.
	patience = 10 * time.Second
	// recheck is after how long a server is asked again that never answered, or that has replicas and whose process
	// seems gone; it doubles, up to Poll.
	recheck = 50 * time.Millisecond
	// longest is how long a name that was found by a registration, and never answered, is left alone.
	longest = 15 * time.Minute
	// shortest gap between the end of a probe and the next one that nobody asked for.
	breath = 5 * time.Millisecond
)

// eagerness is how often the replicas of a server are asked that has been failing for so long: what their receivers
// say changes within tens of milliseconds of a crash, and a verdict waits for it. For one whose receiver has noticed
// nothing waits any more: a recovery looks by itself. Where hundreds of primaries die at once, asking their replicas
// often would keep the recoveries waiting.
func eagerness(failing, poll time.Duration, receives bool) time.Duration {
	switch {
	case failing < 100*time.Millisecond && receives:
		return min(10*time.Millisecond, poll)
	case failing < 500*time.Millisecond && receives:
		return min(25*time.Millisecond, poll)
	case failing < 2*time.Second && receives:
		return min(100*time.Millisecond, poll)
	case failing < patience:
		return min(250*time.Millisecond, poll)
	}
	return poll
}

// next says when a server is due whose last probe began at asked.
func (f *Fleet) next(s *server, asked, now time.Time) time.Time {
	poll := f.beat(s)
	wait := poll
	failing := time.Duration(0)
	if s.failing() {
		failing = now.Sub(s.probe.FailingSince)
		again := min(poll, recheck<<min(s.probe.Failures-1, 16))
		switch {
		case s.is(topology.NotAdmitted):
			wait = max(poll, min(time.Minute, failing))
		case s.instance == nil && failing < patience: // a whole fleet that is asked at once may take too long to answer
			wait = again
		case len(f.replicas[s.key]) > 0:
			switch s.probe.Failure {
			case topology.Refused, topology.Reset, topology.Shutdown: // over in milliseconds, one way or the other
				wait = again
			default:
				if f.o.Silence > 0 {
					wait = min(poll, f.o.Silence/2)
				}
			}
		case failing < patience || f.isClose(s):
		case s.instance == nil && s.stranger != nil: // a name that anybody may have made up
			wait = max(poll, min(longest, failing))
			wait -= s.phase(wait / 10)
		default: // a fifth of the time that it has been dead: each wait is longer than the one before by that much
			wait = max(poll, min(f.o.MaxBackoff, failing/5))
			wait -= s.phase(wait / 10)
		}
	}
	if failing < patience && s.stranger == nil && s.instance != nil {
		for n, k := range s.sources {
			c := s.instance.Channels[n]
			if t := f.servers[k]; t != nil && t.failing() {
				wait = min(wait, eagerness(now.Sub(t.probe.FailingSince), poll, c.IO == topology.Running))
			} else if c.IO == topology.Connecting && now.Sub(c.IOSince) < patience {
				// It was started a moment ago, by us perhaps: until it is asked again it is shown as not receiving.
				wait = min(wait, eagerness(now.Sub(c.IOSince), poll, true))
			}
		}
	}
	if wait == poll && !s.failing() {
		return onBeat(s.phase(poll), poll, now)
	}
	due := asked.Add(wait)
	if soonest := now.Add(min(breath, wait)); due.Before(soonest) {
		return soonest
	}
	return due
}

// beat is how often a server is asked. Only asking shows that one has fallen silent, and that counts once it has lasted
// for Silence: where the poll is longer than that, a server that has replicas is asked up to two and a half times as
// often.
func (f *Fleet) beat(s *server) time.Duration {
	if f.o.Silence <= 0 || len(f.replicas[s.key]) == 0 {
		return f.o.Poll
	}
	return min(f.o.Poll, max(f.o.Poll*2/5, f.o.Silence*4/5))
}

// onBeat is the server's next own moment in the rhythm of polls: the moments of a fleet are spread over the whole
// interval, and stay.
func onBeat(phase, poll time.Duration, now time.Time) time.Time {
	behind := time.Duration((now.UnixNano() - int64(phase)) % int64(poll))
	if behind < 0 {
		behind += poll
	}
	wait := poll - behind
	if wait < poll/20 { // it was asked for this beat already: clocks differ by a little
		wait += poll
	}
	return now.Add(wait)
}

// phase spreads servers over an interval by their keys.
func (s *server) phase(over time.Duration) time.Duration {
	if over <= 0 {
		return 0
	}
	return time.Duration(s.hash % uint64(over))
}

func hash(k topology.Key) uint64 {
	h := fnv.New64a()
	h.Write([]byte(k.String())) // never fails
	return h.Sum64()
}

// want makes a server due at once; when it is being asked, once more after that.
func (f *Fleet) want(s *server) {
	if s.flight != 0 {
		s.again = true
		return
	}
	if s.due = (time.Time{}); !s.held {
		f.queue.put(s)
	}
}

// rouse has the loop look at the queue when its timer is set too late for it.
func (f *Fleet) rouse() {
	if len(f.queue) == 0 || !f.queue[0].due.Before(f.alarm) {
		return
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// dispatch starts what is due, as far as there is room, and sees to it that the loop does the rest in time. Each end
// of a probe makes room, and dispatches again: where there is none, the loop must not be roused, or it would spin.
func (f *Fleet) dispatch(now time.Time) {
	if f.launch(now) {
		f.rouse()
	}
}

// launch starts what is due; false when that was not all, for want of room.
func (f *Fleet) launch(now time.Time) bool {
	for f.ctx != nil && len(f.queue) > 0 {
		s := f.queue[0]
		room := f.o.Concurrency
		if s.due.IsZero() { // urgent: not held up by a fleet of dead servers that take a deadline each
			room *= 2
		}
		if s.due.After(now) {
			return true
		}
		if f.inflight >= room {
			return false
		}
		f.queue.drop(s)
		if !f.greetings.admit(s) {
			continue
		}
		if !s.due.IsZero() {
			f.metrics.lateness.Observe(now.Sub(s.due).Seconds())
		}
		f.start(s)
	}
	return true
}

func (f *Fleet) start(s *server) {
	f.flights++
	f.inflight++
	s.flight = f.flights
	f.flying[s.flight] = flight{s, time.Now()}
	j := job{server: s, key: s.key, flight: s.flight, first: !s.met}
	if last := len(f.idle) - 1; last >= 0 {
		f.idle[last] <- j
		f.idle = f.idle[:last]
		return
	}
	ctx, jobs := f.ctx, make(chan job, 1)
	f.wg.Go(func() { f.work(ctx, jobs, j) })
}

// job is one probe.
type job struct {
	server *server
	key    topology.Key
	flight uint64
	first  bool // the server has not answered yet
}

// kept is how many goroutines wait for more to probe. A probe needs a stack of several kilobytes, which a new goroutine
// acquires by copying it several times; the one that has probed last has a large one still.
const kept = 64

// work probes, one server after another, until there is nothing to do and others enough wait for that to change.
func (f *Fleet) work(ctx context.Context, jobs chan job, j job) {
	for f.probe(ctx, jobs, j) {
		select {
		case j = <-jobs:
		case <-ctx.Done():
			return
		}
	}
}

// probe says whether to wait for another job.
func (f *Fleet) probe(ctx context.Context, jobs chan job, j job) (wait bool) {
	asked := time.Now()
	i, failure, err := f.prober.Probe(ctx, j.key)
	f.mu.Lock()
	defer f.unlock()
	inTime := f.landed(j.flight)
	if inTime {
		f.inflight--
	}
	if ctx.Err() != nil { // it is we who gave up
		return false
	}
	if j.first {
		j.server.met = j.server.met || failure == topology.OK
		f.greeted(time.Since(asked), failure == topology.OK)
	}
	f.finish(j.server, j.flight, asked, answer{i, failure, err})
	f.introduceMore()
	if wait = inTime && len(f.idle) < kept; wait {
		f.idle = append(f.idle, jobs)
	}
	f.dispatch(time.Now())
	return wait
}

// queue is a heap of servers by when they are due; urgent ones, with a zero time, are first.
type queue []*server

// put adds a server, or moves it to where its due belongs now.
func (q *queue) put(s *server) {
	if s.index >= 0 {
		heap.Fix(q, s.index)
		return
	}
	heap.Push(q, s)
}

func (q *queue) drop(s *server) {
	if s.index >= 0 {
		heap.Remove(q, s.index)
	}
}

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	if c := q[i].due.Compare(q[j].due); c != 0 {
		return c < 0
	}
	return q[i].order < q[j].order
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is for container/heap only.
func (q *queue) Push(x any) {
	s := x.(*server)
	s.index = len(*q)
	*q = append(*q, s)
}

// Pop is for container/heap only.
func (q *queue) Pop() any {
	old := *q
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	s.index = -1
	return s
}
