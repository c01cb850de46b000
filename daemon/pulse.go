package daemon

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// pulse knows when each main loop last turned. A loop that waits for a backend or a server turns all the same, since
// each of its waits has a bound; one that hangs in a lock or for ever in a call does not.
type pulse struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// turnTime is how long a turn may take besides what the lease takes: longer than the longest bounded wait in any loop,
// which is that of the lease for a step under way to end.
const turnTime = 20 * time.Second

func (p *pulse) turned(loop string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = map[string]time.Time{}
	}
	p.last[loop] = time.Now()
}

// ended says that this loop turns no more, and needn't.
func (p *pulse) ended(loop string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.last, loop)
}

// stuck are the loops that have not turned for that long.
func (p *pulse) stuck(patience time.Duration) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var says []string
	for loop, at := range p.last {
		if silent := time.Since(at); silent > patience {
			says = append(says, fmt.Sprintf("the loop of %s has not turned for %v", loop, silent.Round(time.Second)))
		}
	}
	slices.Sort(says)
	return strings.Join(says, "; ")
}

// Alive says whether all main loops turn; the error says which do not. It is what a watchdog is to be told.
func (d *Daemon) Alive() error {
	if says := d.pulse.stuck(turnTime + d.config.Load().Lease.TTL); says != "" {
		return fmt.Errorf("the daemon hangs: %s", says)
	}
	return nil
}
