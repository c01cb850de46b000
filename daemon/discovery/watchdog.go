package discovery

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// A probe ends by a deadline of its own. The watchdog is for one that does not, whatever the cause: the server counts
// as one that timed out, and its place among the probes is free again. The goroutine ends when the probe does; until
// then that server is not asked again, so that it takes one place once.

// grace is how much longer than its time a probe may take on a machine that is busy.
const grace = 10 * time.Second

// watchEvery is how often the watchdog looks.
const watchEvery = time.Second

// flight is a probe under way.
type flight struct {
	server *server
	began  time.Time
}

var errStuck = errors.New("the probe did not end in time: a fault of this daemon, please report it")

// giveUp ends what the daemon waits for of probes that are past their time.
func (f *Fleet) giveUp(now time.Time) {
	if now.Sub(f.watched) < watchEvery {
		return
	}
	f.watched = now
	for number, p := range f.flying {
		if now.Sub(p.began) <= f.o.ProbeTimeout+grace {
			continue
		}
		delete(f.flying, number)
		f.inflight--
		f.stuck++
		f.metrics.stuck.Inc()
		f.timedOut(p, number, now)
	}
}

// timedOut is finish for a probe that has not ended: its server stays in flight.
func (f *Fleet) timedOut(p flight, number uint64, now time.Time) {
	s := p.server
	f.metrics.probed(topology.Timeout, now.Sub(p.began))
	if f.servers[s.key] != s || p.began.Before(s.probe.Asked) {
		return
	}
	before := s.state()
	f.failed(s, p.began, answer{topology.Instance{}, topology.Timeout, errStuck})
	if f.servers[s.key] == s {
		f.note(s, before, p.began, now)
		s.settle(number)
	}
}

// landed says whether a probe that has ended is still waited for.
func (f *Fleet) landed(number uint64) bool {
	if _, waited := f.flying[number]; waited {
		delete(f.flying, number)
		return true
	}
	f.stuck--
	return false
}

// tooLate is how late the poll of a server that answers may be, besides the time between two of them, before the daemon
// counts as blind.
const tooLate = 10 * time.Second

// Blind says why this daemon does not see its fleet as it should; "" when it does. Single servers, and those that do
// not answer, make nobody blind.
func (f *Fleet) Blind() string {
	f.mu.Lock()
	defer f.unlock()
	var why []string
	if 2*f.stuck >= f.o.Concurrency {
		why = append(why, fmt.Sprintf("%d probes of servers have not ended, although their time is over", f.stuck))
	}
	now, waits, longest := time.Now(), 0, time.Duration(0)
	for _, s := range f.queue {
		if late := now.Sub(s.due); !s.due.IsZero() && s.up() && late > f.o.Poll+tooLate {
			waits, longest = waits+1, max(longest, late)
		}
	}
	if waits > 0 {
		why = append(why, fmt.Sprintf("servers that answer are not asked in time: %d wait for their poll, for up to %s",
			waits, longest.Round(time.Second)))
	}
	return strings.Join(why, "; ")
}
