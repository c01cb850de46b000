package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"orchestrator/daemon/topology"
)

// The advisory lock of a server is 'orchestrator'. Its holder tells its term, where no table and no performance_schema is needed to read it, by
// more locks: one 'orchestrator.term.N' for each bit that is set, and last 'orchestrator.term', which says that they are all there. So a
// contender knows whether it faces a daemon that it has replaced (then, after some patience, it ends that session, which fences a frozen or cut off
// daemon too), or one that has replaced it.

// ErrLocked says that another session, of another daemon, is at work at the server. Nothing was changed.
type ErrLocked struct {
	Holder string // id of its connection
	Term   int64  // 0: it tells none
	Why    string // why it was not ended
}

func (e *ErrLocked) Error() string {
	term := ""
	if e.Term > 0 {
		term = fmt.Sprintf(" in term %d", e.Term)
	}
	return fmt.Sprintf("connection %s there holds the lock 'orchestrator'%s: another daemon is at work at this server (%s); nothing was changed", e.Holder, term, e.Why)
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

// taking is the statement that takes the lock, and only with it those that tell the term. Both flavours evaluate a sum from left to right, and of an
// IF the one branch only.
func taking(term int64, seconds int) statement {
	if term <= 0 {
		return statement{text: fmt.Sprintf("SELECT GET_LOCK('orchestrator', %d) AS got, CONNECTION_ID() AS id", seconds)}
	}
	var sum strings.Builder
	for _, n := range bits(term) {
		fmt.Fprintf(&sum, "GET_LOCK('orchestrator.term.%d', 1) + ", n)
	}
	return statement{text: fmt.Sprintf("SELECT IF(GET_LOCK('orchestrator', %d), %sGET_LOCK('orchestrator.term', 1) = %d, 0) AS got, CONNECTION_ID() AS id",
		seconds, sum.String(), len(bits(term))+1)}
}

// releasing begins with the mark, so that nobody reads half a term.
func releasing(term int64) statement {
	text := "SELECT "
	if term > 0 {
		text += "RELEASE_LOCK('orchestrator.term'), "
		for _, n := range bits(term) {
			text += fmt.Sprintf("RELEASE_LOCK('orchestrator.term.%d'), ", n)
		}
	}
	return statement{text: text + "RELEASE_LOCK('orchestrator')"}
}

// askHolder reads the mark before and after the bits: if it is the same holder's both times, the bits between are whole.
var askHolder = func() statement {
	var text strings.Builder
	text.WriteString("SELECT IS_USED_LOCK('orchestrator') AS holder, IS_USED_LOCK('orchestrator.term') AS first_mark")
	for n := range 63 {
		fmt.Fprintf(&text, ", IS_USED_LOCK('orchestrator.term.%d') AS bit%d", n, n)
	}
	text.WriteString(", IS_USED_LOCK('orchestrator.term') AS last_mark")
	return statement{text: text.String()}
}()

var askStillHeld = statement{text: "SELECT IS_USED_LOCK('orchestrator') = CONNECTION_ID() AS held"}

// holder says whose the lock is; id is "" when it is nobody's, term 0 when it tells none.
func (c *conn) holder(ctx context.Context) (id string, term int64, err error) {
	r, err := c.one(ctx, askHolder)
	if err != nil {
		return "", 0, err
	}
	id = r.get("holder")
	if id == "" || r.get("first_mark") != id || r.get("last_mark") != id {
		return id, 0, nil
	}
	for n := range 63 {
		if r.get("bit"+strconv.Itoa(n)) == id {
			term |= 1 << n
		}
	}
	return id, term, nil
}

// lock takes the lock of the server behind c in a term (0: of a daemon that is alone). It returns the id of the connection there.
func (s *Servers) lock(ctx context.Context, c *conn, k topology.Key, term int64) (id string, err error) {
	locked := &ErrLocked{Holder: "?"}
	for _, seconds := range []int{0, 1, 1} {
		r, err := c.one(ctx, taking(term, seconds))
		if err != nil {
			return "", err
		}
		if r.get("got") == "1" {
			s.mu.Lock()
			delete(s.others, k)
			s.mu.Unlock()
			return r.get("id"), nil
		}
		holder, theirs, err := c.holder(ctx)
		if err != nil {
			return "", err
		}
		if holder == "" { // it was released meanwhile
			continue
		}
		if locked.Holder, locked.Term = holder, theirs; holder == r.get("id") {
			locked.Why = "it let go, and still tells its term"
			if _, err := c.query(ctx, releasing(term)); err != nil {
				return "", err
			}
			continue
		}
		if locked.Why = s.respect(k, holder, theirs, term); locked.Why == "" {
			locked.Why = "it was ended, and has not let go yet"
			if err := s.breakLock(ctx, c, k, holder, theirs, term); err != nil {
				return "", err
			}
		} else if seconds > 0 { // it had its time to end
			return "", locked
		}
	}
	return "", locked
}

// respect says why a holder is not ended; "" when it is.
func (s *Servers) respect(k topology.Key, holder string, theirs, term int64) string {
	switch {
	case theirs <= term && s.lostOne(k, holder): // our own, broken
		return ""
	case term == 0:
		return "a daemon that is alone waits"
	case theirs == 0:
		return "it does not tell its term"
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

func (s *Servers) breakLock(ctx context.Context, c *conn, k topology.Key, holder string, theirs, term int64) error {
	id, err := strconv.ParseInt(holder, 10, 64)
	if err != nil {
		return fmt.Errorf("read the connection id of who holds the lock: %w", err)
	}
	s.logger.Warn("the session that holds the lock is ended: its daemon was replaced, or is this one and lost it", "at", k, "connection", id, "its_term", theirs, "term", term)
	_, err = c.query(ctx, kill, id)
	if told := (*mysqldriver.MySQLError)(nil); errors.As(err, &told) {
		switch told.Number {
		case noSuchThread:
			return nil
		case notOwner:
			return fmt.Errorf("end connection %d, of a daemon of term %d that was replaced: %w (the daemons must log in as the same user, or GRANT %s)", id, theirs, err, kill.needs)
		}
	}
	return err
}

// lose remembers a connection that broke while it may have held the lock: a server that was cut off from us keeps it for hours.
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

// Held are locks that are kept, on connections that stay open until Release, or until the context of Hold ends. A step at one of these
// servers is done on that very connection.
type Held struct {
	s       *Servers
	holds   []*hold
	refused []error
	stop    func() bool
}

// hold is one lock. Whoever holds turn may use the connection.
type hold struct {
	key  topology.Key
	conn *conn
	id   string
	term int64
	turn chan struct{}
	gone error         // why the lock is lost
	over chan struct{} // closed when it is released
}

// holdTime is how long taking one lock may take: who is silent is not waited for longer, the others are held meanwhile.
const holdTime = 1500 * time.Millisecond

// Hold takes the locks of servers and keeps them, so that they can be counted. That one can't be had is no error: see Refused.
func (s *Servers) Hold(ctx context.Context, keys []topology.Key, term int64) *Held {
	h := &Held{s: s}
	holds, errs := make([]*hold, len(keys)), make([]error, len(keys))
	var all sync.WaitGroup
	for i, k := range keys {
		all.Go(func() {
			short, cancel := context.WithTimeout(ctx, holdTime)
			defer cancel()
			if holds[i], errs[i] = s.hold(short, k, term); errs[i] != nil {
				errs[i] = fmt.Errorf("hold the lock of %v: %w", k, explain(errs[i]))
			}
		})
	}
	all.Wait()
	for i := range keys {
		if errs[i] != nil {
			h.refused = append(h.refused, errs[i])
			s.logger.Debug("a lock is not held", "at", keys[i], "err", errs[i])
		} else {
			h.holds = append(h.holds, holds[i])
		}
	}
	h.stop = context.AfterFunc(ctx, h.drop)
	return h
}

func (s *Servers) hold(ctx context.Context, k topology.Key, term int64) (*hold, error) {
	if _, err := s.server(k); err != nil {
		return nil, err
	}
	if before := s.heldAt(k); before != nil {
		select {
		case <-before.over: // it was about to be released
		case <-ctx.Done():
			return nil, errors.New("this daemon holds it already, for something else")
		}
	}
	c, err := s.connect(ctx, k)
	if err != nil {
		return nil, err
	}
	id, err := s.lock(ctx, c, k, term)
	if err != nil {
		c.close()
		return nil, err
	}
	h := &hold{key: k, conn: c, id: id, term: term, turn: make(chan struct{}, 1), over: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.held[k] != nil {
		c.close()
		return nil, errors.New("this daemon stops, or holds it already, for something else")
	}
	s.held[k] = h
	return h, nil
}

func (s *Servers) heldAt(k topology.Key) *hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[k]
}

// Keys returns, after asking each, the servers whose locks are held now.
func (h *Held) Keys(ctx context.Context) []topology.Key {
	ctx, cancel := context.WithTimeout(ctx, holdTime)
	defer cancel()
	still := make([]bool, len(h.holds))
	var all sync.WaitGroup
	for i, o := range h.holds {
		all.Go(func() {
			_ = h.s.on(ctx, o, func(c *conn) error {
				r, err := c.one(ctx, askStillHeld)
				still[i] = err == nil && r.get("held") == "1"
				return err
			})
		})
	}
	all.Wait()
	var out []topology.Key
	for i, o := range h.holds {
		if still[i] {
			out = append(out, o.key)
		}
	}
	return out
}

// Refused says why locks that were wanted are not held.
func (h *Held) Refused() []error { return h.refused }

// on uses the connection of a lock, unless that is lost. One that breaks is lost for good: what was permitted for its sake is so no more.
func (s *Servers) on(ctx context.Context, o *hold, use func(*conn) error) error {
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("the step before, on the same connection, has not ended yet: %w", ctx.Err())
	}
	defer func() { <-o.turn }()
	if o.gone != nil {
		return fmt.Errorf("the lock that was held there is lost: %w; nothing was changed", o.gone)
	}
	err := use(o.conn)
	if err != nil && !survives(err) {
		o.gone = err
		o.conn.close()
		s.lose(o.key, o.id)
	}
	return err
}

// survives says that the connection is as good as before the error: the server answered, or it is ours.
func survives(err error) bool {
	var r *refusal
	if !errors.As(err, &r) {
		return true
	}
	var told *mysqldriver.MySQLError
	return errors.As(err, &told) && told.Number != connectionKilled && told.Number != shutdownInProgress && told.Number != clientTimeout
}

// Release frees the locks at once, so that whoever comes next need not wait until the servers notice.
func (h *Held) Release() {
	if !h.stop() {
		return // the context has ended, and drop does it, or did
	}
	var all sync.WaitGroup
	for _, o := range h.holds {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			_ = h.s.on(ctx, o, func(c *conn) error {
				_, err := c.query(ctx, releasing(o.term))
				return err
			})
		})
	}
	all.Wait()
	h.drop()
}

// drop closes the connections; a step that is under way on one ends with it.
func (h *Held) drop() {
	for _, o := range h.holds {
		_ = o.conn.wire.Close()
		h.s.mu.Lock()
		if h.s.held[o.key] == o {
			delete(h.s.held, o.key)
		}
		h.s.mu.Unlock()
		o.turn <- struct{}{}
		if o.gone == nil {
			o.gone = errors.New("it was released")
		}
		o.conn.close()
		<-o.turn
		close(o.over)
	}
}
