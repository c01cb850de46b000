package mysql

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/server"
)

// fence makes the server refuse writes. Its clients are disconnected first: another server was promoted in its place,
// and a client that still talks to this one talks to the wrong one. The statement would also wait for their
// transactions, and for commits that hang in semi-sync, with nobody left to acknowledge them. What comes in between is
// disconnected by another round.
//
// Its scheduled events are stopped as well: on MariaDB those of privileged accounts write on a read-only server. That
// this is not allowed keeps no server writable.
func (t *site) fence(ctx context.Context) error {
	var events error
	if t.Scheduler {
		if _, err := t.Query(ctx, eventsOff); err != nil {
			events = fmt.Errorf("its scheduled events go on: SET GLOBAL event_scheduler = OFF: %w", err)
		}
	}
	return errors.Join(t.refuseWrites(ctx), events)
}

func (t *site) refuseWrites(ctx context.Context) error {
	if t.SuperReadOnly || t.ReadOnly && t.Dialect.MariaDB() {
		return nil
	}
	var killed []string
	for range 4 {
		more, busy, err := t.disconnectClients(ctx)
		killed = append(killed, more...)
		if err != nil {
			return fmt.Errorf("disconnect clients, so that SET GLOBAL read_only need not wait for them; disconnected "+
				"%s: %w",
				strings.Join(killed, ", "), err)
		}
		if !busy {
			// MySQL goes on waiting for the acknowledgement of a commit whose client is gone. Nobody hears of it as
			// committed any more.
			t.first(ctx, semiSyncSourceOff)
		}
		err = t.all(ctx, t.Dialect.SayAll(server.RefuseWrites))
		if err == nil {
			if len(killed) > 0 {
				t.s.logger.Warn("fence disconnected clients", "at", t.key, "clients", strings.Join(killed, ", "))
			}
			return nil
		}
		if !server.Means(err, server.Collision) {
			return err
		}
	}
	return fmt.Errorf("SET GLOBAL read_only did not come through although clients were disconnected: %s",
		strings.Join(killed, ", "))
}

// disconnectClients ends the connections of clients, and says whether one that it may not end is busy.
func (t *site) disconnectClients(ctx context.Context) (killed []string, busy bool, err error) {
	rows, err := askThreads(ctx, t.Conn, t.questions.clients, isClient)
	if err != nil {
		return nil, false, err
	}
	own := t.s.credentials().User
	for _, r := range rows {
		if r.Get("user") == own { // ours, and those of other daemons
			continue
		}
		id, err := strconv.ParseInt(r.Get("id"), 10, 64)
		if err != nil {
			return killed, busy, fmt.Errorf("read connection id: %w", err)
		}
		_, err = t.Query(ctx, t.Dialect.Say(server.Kill), id)
		switch {
		case err == nil:
			killed = append(killed, fmt.Sprintf("%s@%s (%d)", r.Get("user"), r.Get("host"), id))
		case server.Means(err, server.NoThread):
		case server.Means(err, server.NotOwner):
			// MySQL shields accounts that have SYSTEM_USER from those that lack it.
			busy = busy || r.Get("command") != "Sleep"
			t.s.logger.Warn("fence could not disconnect a client: GRANT SYSTEM_USER would allow it", "at", t.key,
				"client", r.Get("user"), "id", id)
		default:
			return killed, busy, err
		}
	}
	wait := time.NewTimer(50 * time.Millisecond) // for them to roll back
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
	return killed, busy, nil
}
