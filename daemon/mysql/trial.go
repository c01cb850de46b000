package mysql

import (
	"context"
	"fmt"

	"orchestrator/daemon/server"
)

// barred is that a server would take no writes once it is opened. Nothing was changed.
type barred struct{ why string }

func (b *barred) Error() string { return "it would take no writes: " + b.why + "; nothing was changed" }

// Certain is for plan: another server is taken at once.
func (b *barred) Certain() bool { return true }

// tryWrites finds out whether writes would go through, before anything irreversible is done: it prepares a transaction
// that changes nothing, which waits for every lock that commits wait for. That needs no privilege and no table, works
// on a read-only server, and leaves nothing in any log. What can't be tried is no reason against the server.
func (t *site) tryWrites(ctx context.Context) error {
	r, err := t.One(ctx, t.questions.bars)
	switch {
	case err != nil && !survives(err):
		return err
	case err != nil:
		t.s.logger.Warn("whether writes are barred could not be asked", "at", t.key, "err", err)
	case r.On("offline_mode"):
		return &barred{"offline_mode is on: SET GLOBAL offline_mode = OFF"}
	case r.On("innodb_read_only"):
		return &barred{"innodb_read_only is on, or innodb_force_recovery makes InnoDB read-only: restart it without"}
	case r.On("transaction_read_only"):
		return &barred{"transaction_read_only is on: SET GLOBAL transaction_read_only = OFF"}
	case r.Get("locker") != "":
		return &barred{fmt.Sprintf("connection %s waits for FLUSH TABLES WITH READ LOCK, and all writes wait for it: "+
			"KILL %s", r.Get("locker"), r.Get("locker"))}
	}
	for _, q := range emptyTransaction {
		if _, err = t.Query(ctx, q); err != nil {
			break
		}
	}
	switch {
	case server.Means(err, server.Collision): // which has rolled it back
		return &barred{"a lock of the whole server, such as that of FLUSH TABLES WITH READ LOCK or of a backup, is " +
			"held there" + t.lockHolder(ctx)}
	case err != nil && !survives(err):
		return err
	case err != nil:
		t.s.logger.Warn("whether writes go through could not be tried", "at", t.key, "err", err)
		_, _ = t.Query(ctx, emptyTransaction[len(emptyTransaction)-1])
	}
	return nil
}

// lockHolder says who holds the lock of the whole server, where the server tells.
func (t *site) lockHolder(ctx context.Context) string {
	const help = ": end the session that holds it"
	if t.questions.lockHolder.Text == "" {
		return help
	}
	r, err := t.One(ctx, t.questions.lockHolder)
	if err != nil || r.Get("id") == "" {
		return help
	}
	return fmt.Sprintf(", by connection %s (%s@%s): KILL %s", r.Get("id"), r.Get("user"), r.Get("host"), r.Get("id"))
}
