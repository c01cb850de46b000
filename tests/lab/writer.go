package lab

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	// writeWithin is how long the writer waits for a commit before it takes the server for lost.
	writeWithin = time.Second
	// lookWithin bounds one question of the writer which server takes writes, and lookEvery is how often it asks.
	lookWithin = 300 * time.Millisecond
	lookEvery  = 5 * time.Millisecond
)

// Writer is one client of a cluster: it inserts rows one after the other, into whichever server takes writes.
// It remembers what was acknowledged, and when.
type Writer struct {
	servers []*Server
	id      int
	rest    time.Duration
	cancel  context.CancelFunc
	done    chan struct{}

	mu     sync.Mutex
	acks   []ack
	wake   chan struct{} // closed at each ack, and replaced
	failed error         // the last
}

type ack struct {
	id int64
	at time.Time
	by *Server
}

// Gap is the time between two acknowledged rows.
type Gap struct {
	From, To         time.Time
	Before, After    *Server
	BeforeID, NextID int64
}

// Length of the outage that the writer saw.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

// Write starts a writer; it ends with Stop or ctx. Several at once need ids of their own.
func Write(ctx context.Context, id int, servers ...*Server) *Writer {
	return WriteEach(ctx, 0, id, servers...)
}

// WriteEach starts a writer that rests after each row, and so leaves the machine to others.
func WriteEach(ctx context.Context, rest time.Duration, id int, servers ...*Server) *Writer {
	ctx, cancel := context.WithCancel(ctx)
	w := &Writer{servers: servers, id: id, rest: rest, cancel: cancel, done: make(chan struct{}),
		wake: make(chan struct{})}
	go w.run(ctx)
	return w
}

func (w *Writer) run(ctx context.Context) {
	defer close(w.done)
	pools := make([]*sql.DB, len(w.servers))
	for i, s := range w.servers {
		c := mysql.NewConfig()
		c.User, c.Passwd, c.Net, c.Addr, c.DBName = AppUser, AppPassword, "tcp", s.Key.String(), "app"
		c.Timeout, c.ReadTimeout, c.WriteTimeout = lookWithin, writeWithin, writeWithin
		c.InterpolateParams = true
		connector, err := mysql.NewConnector(c)
		if err != nil {
			panic(err) // the values above are all there is
		}
		pools[i] = sql.OpenDB(connector)
		defer pools[i].Close()
	}
	at := -1
	for row := int64(1); ctx.Err() == nil; row++ {
		if at < 0 {
			if at = writable(ctx, pools); at < 0 {
				return
			}
		}
		// The number is used once: a row that was not acknowledged may be there all the same.
		id := int64(w.id)<<40 + row
		if _, err := pools[at].ExecContext(ctx, "INSERT INTO written (id, writer, note) VALUES (?, ?, ?)", id, w.id,
			"one row of many"); err != nil {
			w.mu.Lock()
			w.failed = fmt.Errorf("write to %v: %w", w.servers[at].Key, err)
			w.mu.Unlock()
			at = -1
			continue
		}
		now := time.Now()
		w.mu.Lock()
		w.acks = append(w.acks, ack{id, now, w.servers[at]})
		close(w.wake)
		w.wake = make(chan struct{})
		w.mu.Unlock()
		if w.rest > 0 && pause(ctx, w.rest) != nil {
			return
		}
	}
}

// writable asks all servers, each at its own pace, until one says that it takes writes; -1 when ctx ends.
func writable(ctx context.Context, pools []*sql.DB) int {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	found := make(chan int, len(pools))
	for i, pool := range pools {
		asking.Go(func() {
			for ctx.Err() == nil {
				short, end := context.WithTimeout(ctx, lookWithin)
				on := true
				err := pool.QueryRowContext(short, "SELECT @@GLOBAL.read_only").Scan(&on)
				end()
				if err == nil && !on {
					found <- i
					return
				}
				if pause(ctx, lookEvery) != nil {
					return
				}
			}
		})
	}
	at := -1
	select {
	case at = <-found:
	case <-ctx.Done():
	}
	cancel()
	asking.Wait()
	return at
}

// Stop ends the writer and waits for it.
func (w *Writer) Stop() {
	w.cancel()
	<-w.done
}

// Acknowledged is how many rows were.
func (w *Writer) Acknowledged() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acks)
}

// AwaitRows waits until n more rows are acknowledged.
func (w *Writer) AwaitRows(ctx context.Context, n int) error {
	want := w.Acknowledged() + n
	return w.await(ctx, fmt.Sprintf("%d more rows", n), func() bool { return len(w.acks) >= want })
}

// AwaitAnother waits until a server other than this one has acknowledged a row.
func (w *Writer) AwaitAnother(ctx context.Context, than *Server) error {
	return w.await(ctx, fmt.Sprintf("a row written to another than %v", than.Key), func() bool {
		return len(w.acks) > 0 && w.acks[len(w.acks)-1].by != than
	})
}

func (w *Writer) await(ctx context.Context, what string, holds func() bool) error {
	for {
		w.mu.Lock()
		ok, wake, failed := holds(), w.wake, w.failed
		w.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-wake:
		case <-w.done:
			return errors.New("wait for " + what + ": the writer has ended")
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w (last error: %v)", what, ctx.Err(), failed)
		}
	}
}

// Last is the server that acknowledged the last row; nil before the first.
func (w *Writer) Last() *Server {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.acks) == 0 {
		return nil
	}
	return w.acks[len(w.acks)-1].by
}

// Outage is the first gap after a moment that ends at another server than it began; where there is none, the longest
// that ends after it.
func (w *Writer) Outage(after time.Time) Gap {
	w.mu.Lock()
	defer w.mu.Unlock()
	var longest Gap
	for i := 1; i < len(w.acks); i++ {
		before, next := w.acks[i-1], w.acks[i]
		if next.at.Before(after) {
			continue
		}
		g := Gap{before.at, next.at, before.by, next.by, before.id, next.id}
		if before.by != next.by {
			return g
		}
		if g.Length() > longest.Length() {
			longest = g
		}
	}
	return longest
}

// Lost are the acknowledged rows that a server doesn't have.
func (w *Writer) Lost(ctx context.Context, at *Server) ([]int64, error) {
	w.mu.Lock()
	acks := w.acks[:len(w.acks):len(w.acks)]
	w.mu.Unlock()
	has := make(map[int64]bool, len(acks))
	rows, err := at.DB().QueryContext(ctx, "SELECT id FROM app.written WHERE writer = ?", w.id)
	if err != nil {
		return nil, fmt.Errorf("count rows at %v: %w", at.Key, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("count rows at %v: %w", at.Key, err)
		}
		has[id] = true
	}
	var lost []int64
	for _, a := range acks {
		if !has[a.id] {
			lost = append(lost, a.id)
		}
	}
	return lost, rows.Err()
}
