package mysql

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// Whoever may log in to a server, with no privilege at all, can take a lock of any name. So a lock counts only where
// its holder has logged in as we do; anybody else's session that holds one of the daemons' names, or waits for one, is
// ended. Where it can't be ended its lock counts for nothing: a step is done without it, on the word of the other
// daemons, and locks of a majority can't be counted there.

// ErrStranger says that a session that is no daemon's holds a server's lock, and could not be ended.
type ErrStranger struct{ Who string }

// Elsewhere is for plan: it says nothing against the server.
func (*ErrStranger) Elsewhere() bool { return true }

func (e *ErrStranger) Error() string {
	return "the lock 'orchestrator' can't be had: " + e.Who + "; end that session, and revoke what lets it log in"
}

// rememberStrangers is how long a stranger is reported after it was last seen.
const rememberStrangers = 10 * time.Minute

// interference is what strangers have done at a server.
type interference struct {
	says []string
	seen time.Time
}

// askOwners asks whose sessions these are, and who waits for one of the locks.
func askOwners(sessions int) server.Statement {
	return server.Statement{Text: "SELECT ID AS id, USER AS user, HOST AS host FROM information_schema.PROCESSLIST\n" +
		" WHERE ID IN (" + strings.Repeat("?, ", sessions) + "0)" +
		" OR STATE = 'User lock' AND INFO LIKE '%orchestrator%'", Needs: process}
}

// lockOf is the name of the lock that a column of askHolder is about.
func lockOf(column string) string {
	if bit, ok := strings.CutPrefix(column, "bit"); ok {
		return "orchestrator.term." + bit
	}
	if column == "holder" {
		return "orchestrator"
	}
	return "orchestrator.term"
}

// session is one of a server that holds one of the daemons' locks, or waits for one.
type session struct {
	id      int64
	account string // user@host; "" where it is not seen
	lock    string // "": it waits
}

func (v session) String() string {
	account := v.account
	if account == "" {
		account = "an account that is not seen (GRANT PROCESS would show it)"
	}
	if v.lock == "" {
		return fmt.Sprintf("connection %d of %s, which is no daemon's, waits for a lock of the daemons", v.id, account)
	}
	return fmt.Sprintf("connection %d of %s, which is no daemon's, holds the lock '%s'", v.id, account, v.lock)
}

// strangers are the sessions that are no daemon's; held is the answer to askHolder.
func (s *Servers) strangers(ctx context.Context, c *server.Conn, held server.Row) ([]session, error) {
	locks := map[int64]string{}
	var ids []any
	for column, value := range held.All() {
		id, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			continue
		}
		if _, known := locks[id]; !known {
			locks[id] = lockOf(column)
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := askThreads(ctx, c, askOwners(len(ids)), func(r server.Row) bool {
		_, holds := locks[r.Int("id")]
		return holds || waitsForLock(r)
	}, ids...)
	if err != nil {
		return nil, err
	}
	var out []session
	for _, r := range rows {
		id := r.Int("id")
		if !s.isOurs(r.Get("user")) {
			out = append(out, session{id, r.Get("user") + "@" + r.Get("host"), locks[id]})
		}
		delete(locks, id)
	}
	for id, lock := range locks { // it has ended, or is kept from us, as one of our own account never is
		out = append(out, session{id: id, lock: lock})
	}
	slices.SortFunc(out, func(a, b session) int { return int(a.id - b.id) })
	return out, nil
}

// isOurs says that a daemon logs in as this user, or did before the configuration was changed.
func (s *Servers) isOurs(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.users, user)
}

// endStrangers ends the sessions that are no daemon's. It returns who was met, and who could not be ended.
func (s *Servers) endStrangers(ctx context.Context, c *server.Conn, k topology.Key, held server.Row) (met bool,
	stays string, err error) {
	all, err := s.strangers(ctx, c, held)
	if err != nil || len(all) == 0 {
		return false, "", err
	}
	if c.Dialect == (server.Dialect{}) {
		if err := c.Recognise(ctx); err != nil {
			return false, "", err
		}
	}
	kill := c.Dialect.Say(server.Kill)
	var says []string
	for _, v := range all {
		_, err := c.Query(ctx, kill, v.id)
		switch {
		case server.Means(err, server.NoThread):
			continue
		case err == nil:
			says = append(says, v.String()+"; it was ended")
		case server.Number(err) != 0:
			stays = fmt.Sprintf("%s, and could not be ended (%v; GRANT %s)", v, err, kill.Needs)
			says = append(says, stays)
		default:
			return true, "", err
		}
		s.logger.Warn("a session that is no daemon's interferes with the daemons' locks", "at", k, "says",
			says[len(says)-1])
	}
	s.noteStrangers(k, says)
	return len(says) > 0, stays, nil
}

func (s *Servers) noteStrangers(k topology.Key, says []string) {
	if len(says) == 0 {
		return
	}
	const most = 5
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.servers[k]; v != nil {
		v.strangers = interference{says[:min(len(says), most)], time.Now()}
	}
}

// interference is what strangers have done at a server of late.
func (s *Servers) interference(v *kept) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(v.strangers.seen) > rememberStrangers {
		v.strangers.says = nil
	}
	return v.strangers.says
}

// lookForStrangers ends those that the last probe has seen.
func (s *Servers) lookForStrangers(ctx context.Context, k topology.Key, v *kept, i *topology.Instance) error {
	held := v.known.locks
	v.known.locks = server.Row{}
	_, _, err := s.endStrangers(ctx, v.conn, k, held)
	i.Strangers = s.interference(v)
	return err
}
