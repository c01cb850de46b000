package daemon

import (
	"context"
	"fmt"

	"orchestrator/backend"
	"orchestrator/daemon/topology"
)

// confirmedKind is the kind of the records of servers that were found by a registration and were confirmed. It is apart
// from their instances: a daemon that has not confirmed a server yet writes that it is a stranger, and must not take
// back what another one has confirmed.
const confirmedKind = "confirmed"

// confirmations are records of the servers that this daemon has confirmed since the last call.
func (d *Daemon) confirmations() (records []backend.Record) {
	for _, c := range d.fleet.Confirmed() {
		r, err := d.clock.Encode(d.id, confirmedKind, c.Key.String(), c)
		if err != nil {
			d.options.Logger.Error("a confirmation could not be written down", "key", c.Key, "err", err)
			continue
		}
		records = append(records, r)
	}
	return records
}

// recall tells the fleet which servers any daemon has confirmed.
func (d *Daemon) recall(ctx context.Context) error {
	records, err := d.store.List(ctx, confirmedKind)
	if err != nil {
		return fmt.Errorf("read which servers were confirmed: %w", err)
	}
	var all []topology.Confirmation
	for _, r := range records {
		c, err := backend.Decode[topology.Confirmation](r)
		if err != nil {
			d.options.Logger.Error("skip an unreadable confirmation on record", "key", r.Key, "err", err)
			continue
		}
		all = append(all, c)
	}
	d.fleet.Recall(all)
	return nil
}

// recallDoubtful reads what the daemon that led before may have confirmed, and this one has not. Nobody waits for it.
func (d *Daemon) recallDoubtful(leading context.Context) {
	if !d.fleet.Doubts() {
		return
	}
	ctx, cancel := context.WithTimeout(leading, storeTime)
	defer cancel()
	if err := d.recall(ctx); err != nil && leading.Err() == nil {
		d.options.Logger.Error("what other daemons have confirmed is not known", "err", err)
	}
}
