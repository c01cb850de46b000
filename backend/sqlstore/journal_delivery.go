package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"orchestrator/backend"
)

type delivery struct {
	done chan struct{}
	err  error
}

// lend is remote's, but first delivers the journal to the server.
func (j *Journal) lend(ctx context.Context, pool *sql.DB, do func(*sql.Conn, dialect) error) error {
	for range 4 {
		behind := false
		err := j.remote.lend(ctx, pool, func(c *sql.Conn, d dialect) error {
			epoch, err := epochOf(c)
			if err != nil {
				return err
			}
			if behind = j.behind(epoch); behind {
				return nil // waiting here would block the connection for the delivery
			}
			return do(c, d)
		})
		if err == nil && behind {
			if err = j.deliver(ctx); err == nil {
				continue
			}
		}
		j.reached(ctx, err)
		return err
	}
	return fmt.Errorf("%w: its identity keeps changing", backend.ErrUnavailable)
}

func epochOf(c *sql.Conn) (epoch int64, err error) {
	err = c.Raw(func(raw any) error {
		epoch = 1 // a file stays what it is
		if s, ok := raw.(*session); ok {
			epoch = s.epoch
		}
		return nil
	})
	return epoch, err
}

func (j *Journal) behind(epoch int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.delivered != epoch || len(j.owed) > 0
}

// deliver waits until the server has everything, or ctx ends. The delivery itself continues: its next user may find it
// done.
func (j *Journal) deliver(ctx context.Context) error {
	j.mu.Lock()
	d := j.delivery
	if d == nil && j.ctx.Err() == nil {
		d = &delivery{done: make(chan struct{})}
		j.delivery = d
		j.work.Go(func() {
			if d.err = j.replay(); d.err != nil && j.ctx.Err() == nil {
				j.undelivered.Add(1)
			}
			j.mu.Lock()
			j.delivery = nil
			j.mu.Unlock()
			close(d.done)
		})
	}
	j.mu.Unlock()
	if d == nil {
		return sql.ErrConnDone
	}
	select {
	case <-d.done:
		return d.err
	case <-ctx.Done():
		return fmt.Errorf("%w: the journal is being delivered to it: %w", backend.ErrUnavailable, ctx.Err())
	}
}

// replay merges the whole journal into the server, or, if that has had it already, what it is owed. It works in parts,
// which are independent.
func (j *Journal) replay() error {
	started := time.Now()
	var epoch int64
	var records []backend.Record
	var refused backend.Refusals
	pool := j.remote.read // not the pool of one connection, for which all that wait for this queue
	if j.remote.mysql == nil {
		pool = j.remote.write
	}
	err := j.remote.lend(j.ctx, pool, func(c *sql.Conn, d dialect) (err error) {
		if epoch, err = epochOf(c); err != nil {
			return err
		}
		if records, err = j.missing(epoch); err != nil {
			return fmt.Errorf("read the journal: %w", err)
		}
		refused, err = d.each(j.ctx, c, records)
		return err
	})
	if err != nil {
		return fmt.Errorf("deliver the journal to %s: %w", j.remote.name, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.delivered = epoch
	for _, r := range records {
		if o := j.owed[name{r.Kind, r.Key}]; !o.Wins(r) {
			delete(j.owed, name{r.Kind, r.Key})
		}
	}
	if len(refused) > 0 { // they stay in the file, and are offered to the next server
		j.undelivered.Add(1)
		j.o.Logger.Error("records of the journal are refused; the others are delivered", "into", j.remote.name,
			"refused", len(refused), "error", refused)
	}
	j.replayed.Add(1)
	j.o.Logger.Info("journal replayed", "into", j.remote.name, "records", len(records)-len(refused), "took",
		time.Since(started))
	return nil
}

// missing returns what the server of that epoch may not have.
func (j *Journal) missing(epoch int64) ([]backend.Record, error) {
	j.mu.Lock()
	owed := winners(slices.Collect(maps.Values(j.owed)))
	same := j.delivered == epoch
	j.mu.Unlock()
	if same {
		return owed, nil
	}
	all, err := j.local.Everything(j.ctx)
	return winners(append(all, owed...)), err
}

func (j *Journal) owe(records []backend.Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range records {
		if n := (name{r.Kind, r.Key}); !j.owed[n].Wins(r) {
			j.owed[n] = r
		}
	}
}

// reached records how the last use of the backend ended. A caller whose time was over says nothing about it.
func (j *Journal) reached(ctx context.Context, err error) {
	switch {
	case errors.Is(err, backend.ErrUnavailable) && ctx.Err() == nil:
		// Reads are then answered from the journal, instead of each waiting for a server that hangs.
		pause := time.Second
		if j.remote.mysql != nil {
			pause = 2 * j.remote.mysql.options.Timeout
		}
		if j.down.Swap(int64(time.Since(j.began)+pause)) == 0 {
			j.o.Logger.Warn("backend unavailable: reads are answered from the journal", "error", err)
		}
	case err == nil:
		if j.down.Swap(0) != 0 {
			j.o.Logger.Info("backend available again")
		}
		const often = time.Minute
		if now := j.o.Clock.Now(); now.Sub(time.Unix(j.contact.Load(), 0)).Abs() >= often {
			j.contact.Store(now.Unix())
			j.note(rowContact, now.Unix())
			j.note(rowAge, j.o.Clock.Age())
		}
	}
}

// away says whether reads are answered from the journal for now.
func (j *Journal) away() bool { return int64(time.Since(j.began)) < j.down.Load() }
