package daemon

import (
	"context"
	"time"

	"orchestrator/daemon/config"
	"orchestrator/daemon/trail"
)

// pruneTime bounds how long the audit records may take to be read and removed.
const pruneTime = time.Minute

// openTrail goes on with the audit chain of this daemon. Two daemons that share a file of this host have different
// addresses. It has time of its own: a backend that does not answer may have used up that of others.
func (d *Daemon) openTrail(c config.Config) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	d.trail, err = trail.Open(ctx, trail.Options{
		Outbox: d.outbox, Store: d.store, Clock: d.clock, Process: d.id, Name: hostname() + "=" + c.HTTP.Listen,
		Row: d.sound.file.Lease("audit " + c.HTTP.Listen), Logger: d.options.Logger,
	})
	return err
}

// pruneTrail removes old audit records, again and again.
func (d *Daemon) pruneTrail(ctx context.Context) {
	tick := time.NewTicker(purgeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		short, cancel := context.WithTimeout(ctx, pruneTime)
		if err := d.trail.Prune(short, d.clock.Before(d.config.Load().Backend.AuditKeep)); err != nil &&
			ctx.Err() == nil {
			d.unstored.WithLabelValues(purging).Inc()
			d.options.Logger.Error("old audit records could not be removed", "err", err)
		}
		cancel()
	}
}
