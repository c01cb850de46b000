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

// The advisory lock of a server is 'orchestrator'. Its holder shows its term, where neither a table nor
// performance_schema is needed to read it, by more locks: one 'orchestrator.term.N' for each bit that is set, and last
// 'orchestrator.term', which says that they are all there. So a contender knows whether it meets a daemon that it has
// replaced (then, after some patience, it ends that session, which also fences a daemon that is frozen or cut off), or
// one that has replaced it.

// ErrLocked says that another session, of another daemon, is at work at the server. Nothing was changed.
type ErrLocked struct {
	Holder string // id of its connection
	Term   int64  // 0: it shows none
	Why    string // why it was not ended
	Ours   bool   // it is a session of this daemon, which timed out
}

// Elsewhere is for plan: another daemon's work says nothing against the server.
func (e *ErrLocked) Elsewhere() bool { return !e.Ours }

func (e *ErrLocked) Error() string {
	term := ""
	if e.Term > 0 {
		term = fmt.Sprintf(" in term %d", e.Term)
	}
	if e.Ours {
		return fmt.Sprintf("connection %s there, a session of this daemon that timed out, still holds the lock "+
			"'orchestrator': the server has not ended it yet; nothing was changed", e.Holder)
	}
	return fmt.Sprintf("connection %s there holds the lock 'orchestrator'%s: another daemon is at work at this "+
		"server (%s); "+
		"nothing was changed", e.Holder, term, e.Why)
}

// bits are the numbers of those that are set in a term.
func bits(term int64) (out []int) {
	for n := range 63 {
		if term>>n&1 == 1 {
			out = append(out, n)
		}
	}
	return out
}

// taking is the statement that takes the lock, and only with it those that show the term. Both flavours evaluate a sum
// from left to right, and only one branch of an IF.
// bits is how many seconds it waits for each of these: who has just let go of the lock may hold them for a moment.
func taking(term int64, seconds, bitSeconds int) server.Statement {
	if term <= 0 {
		return server.Statement{Text: fmt.Sprintf("SELECT GET_LOCK('orchestrator', %d) AS got, CONNECTION_ID() AS id",
			seconds)}
	}
	var sum strings.Builder
	for _, n := range bits(term) {
		fmt.Fprintf(&sum, "GET_LOCK('orchestrator.term.%d', %d) + ", n, bitSeconds)
	}
	return server.Statement{Text: fmt.Sprintf("SELECT IF(GET_LOCK('orchestrator', %d), "+
		"%sGET_LOCK('orchestrator.term', %d) = %d, 0) AS got,"+
		" CONNECTION_ID() AS id", seconds, sum.String(), bitSeconds, len(bits(term))+1)}
}

// releasing begins with the mark, so that nobody reads half a term.
func releasing(term int64) server.Statement {
	text := "SELECT "
	if term > 0 {
		text += "RELEASE_LOCK('orchestrator.term'), "
		for _, n := range bits(term) {
			text += fmt.Sprintf("RELEASE_LOCK('orchestrator.term.%d'), ", n)
		}
	}
	return server.Statement{Text: text + "RELEASE_LOCK('orchestrator')"}
}

// askHolder reads the mark before and after the bits: if it is the same holder's both times, the bits between are
// whole.
var askHolder = func() server.Statement {
	var text strings.Builder
	text.WriteString("SELECT IS_USED_LOCK('orchestrator') AS holder, IS_USED_LOCK('orchestrator.term') AS first_mark")
	for n := range 63 {
		fmt.Fprintf(&text, ", IS_USED_LOCK('orchestrator.term.%d') AS bit%d", n, n)
	}
	text.WriteString(", IS_USED_LOCK('orchestrator.term') AS last_mark")
	return server.Statement{Text: text.String()}
}()

var askStillHeld = server.Statement{Text: "SELECT IS_USED_LOCK('orchestrator') = CONNECTION_ID() AS held"}

// readHolder says whose the lock is; id is "" when it is nobody's, term 0 when its holder shows none.
func readHolder(r server.Row) (id string, term int64) {
	id = r.Get("holder")
	if id == "" || r.Get("first_mark") != id || r.Get("last_mark") != id {
		return id, 0
	}
	for n := range 63 {
		if r.Get("bit"+strconv.Itoa(n)) == id {
			term |= 1 << n
		}
	}
	return id, term
}

// lock takes the lock of the server behind c in a term (0: of a daemon that is alone). It returns the id of the
// connection there. ErrStranger is returned where somebody who is no daemon keeps it from us.
func (s *Servers) lock(ctx context.Context, c *server.Conn, k topology.Key, term int64) (id string, err error) {
	locked := &ErrLocked{Holder: "?"}
	strange := false
	for _, seconds := range []int{0, 1, 1} {
		bitSeconds := seconds
		if strange { // who knows how many of them are held
			bitSeconds = 0
		}
		r, err := c.One(ctx, taking(term, seconds, bitSeconds))
		if err != nil {
			return "", err
		}
		if r.Get("got") == "1" {
			s.mu.Lock()
			delete(s.others, k)
			s.mu.Unlock()
			return r.Get("id"), nil
		}
		held, err := c.One(ctx, askHolder)
		if err != nil {
			return "", err
		}
		owner, theirs := readHolder(held)
		met, stays, err := s.endStrangers(ctx, c, k, held)
		if err != nil {
			return "", err
		}
		if met {
			if owner == r.Get("id") { // they hold what shows the term
				if _, err := c.Query(ctx, releasing(term)); err != nil {
					return "", err
				}
			}
			if stays == "" && strange {
				stays = "sessions that are no daemon's take it again as soon as they are ended"
			}
			if stays != "" {
				return "", &ErrStranger{stays}
			}
			strange = true
			if err := letGo(ctx, c, held, r.Get("id")); err != nil {
				return "", err
			}
			continue
		}
		if owner == "" { // it was released meanwhile
			continue
		}
		locked.Ours = s.lostOne(k, owner)
		if locked.Holder, locked.Term = owner, theirs; owner == r.Get("id") {
			locked.Why = "it was released, and still shows its term"
			if _, err := c.Query(ctx, releasing(term)); err != nil {
				return "", err
			}
			continue
		}
		if locked.Why = s.respect(k, owner, theirs, term); locked.Why == "" {
			locked.Why = "its session was ended, and still holds the lock"
			if err := s.breakLock(ctx, c, k, owner, theirs, term); err != nil {
				return "", err
			}
		} else if seconds > 0 { // it had its time to end
			return "", locked
		}
	}
	return "", locked
}

// ending is how long a session that was ended may take to let go of its locks: a moment, but on a machine that is busy.
const ending = time.Second

// letGo waits until those that held the locks, ourselves aside, hold none of them any more, as they were ended.
func letGo(ctx context.Context, c *server.Conn, held server.Row, ours string) error {
	before := holders(held)
	for end := time.Now().Add(ending); time.Now().Before(end); {
		now, err := c.One(ctx, askHolder)
		if err != nil {
			return err
		}
		stays := func(id string) bool { return id != ours && slices.Contains(before, id) }
		if !slices.ContainsFunc(holders(now), stays) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// holders are the ids of the connections that hold the locks.
func holders(held server.Row) (ids []string) {
	for _, id := range held.All() {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// respect says why a holder is not ended; "" when it is.
func (s *Servers) respect(k topology.Key, holder string, theirs, term int64) string {
	switch {
	case theirs <= term && s.lostOne(k, holder): // our own, broken
		return ""
	case term == 0:
		return "a daemon that is alone waits"
	case theirs == 0:
		return "it does not show its term"
	case theirs < term && s.watched(k, holder) >= s.o.Patience:
		return ""
	case theirs < term:
		return fmt.Sprintf("its daemon was replaced, and is given %s to end", s.o.Patience)
	}
	return fmt.Sprintf("a daemon of term %d gives way", term)
}

// sighting is a session that was seen to hold a lock.
type sighting struct {
	id    string
	since time.Time
}

// watched is for how long the same session has been seen to hold the lock of a server.
func (s *Servers) watched(k topology.Key, id string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.others[k].id != id {
		s.others[k] = sighting{id, time.Now()}
	}
	return time.Since(s.others[k].since)
}

func (s *Servers) breakLock(ctx context.Context, c *server.Conn, k topology.Key, holder string,
	theirs, term int64) error {
	id, err := strconv.ParseInt(holder, 10, 64)
	if err != nil {
		return fmt.Errorf("read the connection id of the lock's holder: %w", err)
	}
	if err := c.Recognise(ctx); err != nil {
		return err
	}
	s.logger.Warn("the session that holds the lock is ended: its daemon was replaced, or is this one and lost it",
		"at", k, "connection", id, "its_term", theirs, "term", term)
	kill := c.Dialect.Say(server.Kill)
	_, err = c.Query(ctx, kill, id)
	switch {
	case server.Means(err, server.NoThread):
		return nil
	case server.Means(err, server.NotOwner):
		return fmt.Errorf("end connection %d, of a daemon of term %d that was replaced: %w "+
			"(the daemons must log in as the same user, or GRANT %s)", id, theirs, err, kill.Needs)
	}
	return err
}

// lose remembers a connection that broke while it may have held the lock: a server that was cut off from us keeps it
// for hours.
func (s *Servers) lose(k topology.Key, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost[k] = append(s.lost[k], id); len(s.lost[k]) > 20 {
		s.lost[k] = s.lost[k][1:]
	}
}

func (s *Servers) lostOne(k topology.Key, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.lost[k], id)
}
