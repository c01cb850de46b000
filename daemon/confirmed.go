package daemon

import (
	"context"
	"fmt"
	"slices"

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
		if d.forgotten(r) {
			continue
		}
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

// unconfirm removes from record that these servers, which are being forgotten, were confirmed, and the same of those
// that were forgotten before. Whoever answers at such an address one day is confirmed by its source again, or is not.
func (d *Daemon) unconfirm(ctx context.Context, names ...topology.Key) {
	records, err := d.store.List(ctx, confirmedKind)
	if err != nil { // what is not there may be removed
		records = nil
		for _, k := range names {
			records = append(records, backend.Record{Kind: confirmedKind, Key: k.String()})
		}
	}
	var gone []backend.Record
	for _, r := range records {
		_ = d.clock.See(r)
		if d.forgotten(r) || slices.ContainsFunc(names, func(k topology.Key) bool { return k.String() == r.Key }) {
			gone = append(gone, backend.Record{Kind: r.Kind, Key: r.Key, Version: d.clock.Next(), Writer: d.id,
				Deleted: true})
		}
	}
	if len(gone) == 0 {
		return
	}
	if err := d.outbox.Keep(gone...); err != nil {
		d.options.Logger.Error("confirmations of forgotten servers could not be removed", "err", err)
	}
}

// forgotten says that a confirmation is of a server that people had forgotten.
func (d *Daemon) forgotten(r backend.Record) bool {
	k, err := topology.ParseKey(r.Key)
	return err == nil && d.declarations.Forgotten(k)
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
