package sqlstore

import (
	"time"

	"orchestrator/backend"
)

// Rows of the local lease table with one number each: there, the higher one wins, as it should.
const (
	rowHighest = "highest term"
	rowNewest  = "newest version"
	rowContact = "last contact"
	rowServed  = "served" // and a name
	rowAge     = "age"    // see backend.Clock
)

// Newest is the highest version that the backend is known to have had when it was last used. 0 if that was so long ago
// that it may have been purged since.
func (j *Journal) Newest() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.newest < j.o.Clock.Now().Add(-j.o.Keep).UnixMicro() {
		return 0
	}
	return j.newest
}

// Highest is the highest term ever remembered.
func (j *Journal) Highest() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.highest
}

// Remember keeps a term for ever, if it is the highest: terms rise although a backend may go back in time.
func (j *Journal) Remember(term int64) {
	j.mu.Lock()
	rises := term > j.highest
	j.highest = max(term, j.highest)
	j.mu.Unlock()
	if rises {
		j.note(rowHighest, term)
	}
}

// Served is the last name given to Serve, even in a previous run.
func (j *Journal) Served() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.served
}

// Serve keeps the name of the server in use: a daemon that restarts must know which one it used.
func (j *Journal) Serve(name string) {
	j.mu.Lock()
	changes := name != j.served
	j.served = name
	j.mu.Unlock()
	if changes {
		j.noteHold(rowServed, backend.Hold{Holder: name, Term: time.Now().UnixMicro()})
	}
}

// saw remembers the newest version that the backend has had. One that is too far ahead does not count: every other
// server would look stale for ever.
func (j *Journal) saw(records ...backend.Record) {
	newest := int64(0)
	for _, r := range records {
		if j.o.Clock.See(r) == nil {
			newest = max(newest, r.Version)
		}
	}
	j.mu.Lock()
	rises := newest > j.newest
	j.newest = max(newest, j.newest)
	j.mu.Unlock()
	if rises {
		j.note(rowNewest, newest)
	}
}

func (j *Journal) note(row string, value int64) { j.noteHold(row, backend.Hold{Term: value}) }

func (j *Journal) noteHold(row string, h backend.Hold) {
	if _, err := j.local.Lease(row).Beat(j.ctx, h); err != nil && j.ctx.Err() == nil {
		j.failures.Add(1)
		j.o.Logger.Error("the journal can't be written", "what", row, "error", err)
	}
}
