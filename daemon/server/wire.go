package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

// wire is the connection below the driver. It holds each question to its budget, remembers how it failed (the driver
// keeps that to itself), and refuses what does not greet like a server: the driver would wait for the megabytes that
// the first letters of "SSH-" promise. It embeds the TCP connection so that the driver can check whether it is still
// open.
type wire struct {
	*net.TCPConn
	silence time.Duration
	budget  Budget
	room    *Room       // nil: none that is shared
	secured bool        // TLS is above: what the packets say is seen there
	greeted atomic.Bool // the greeting is that of a server
	heard   atomic.Bool // anything has come
	failure atomic.Pointer[error]
	muted   atomic.Bool // what the driver does from now on does not reach the socket
	login   *handshake  // until we are let in; nil: the connection has TLS, or the login is over

	// Of the question that is under way; only its goroutine uses them.
	deadline time.Time // zero: none
	left     int64     // bytes of the answer
	cost     int64     // memory that the answer costs
	held     int64     // of it, what is taken from the room
	packets  packets
	answered bool        // the greeting was
	early    []byte      // came behind an answer: a server that ends the connection says why
	stop     func() bool // ends the watch over the context
}

var (
	// ErrAlien is what answers and is neither MySQL nor MariaDB.
	ErrAlien = errors.New("this is not a MySQL or MariaDB server")
	// ErrTooMuch is an answer that exceeds its budget. The connection is closed.
	ErrTooMuch = errors.New("its answer is too long")
	// ErrBarred is an address that Options.Admit does not admit: nothing was sent there.
	ErrBarred = errors.New("no connection is made")
)

// bound begins a question. No goroutine waits for its end: the deadline is the socket's own, and a context that is
// cancelled earlier closes the socket.
func (w *wire) bound(ctx context.Context) {
	var known bool
	if w.deadline, known = ctx.Deadline(); !known {
		w.deadline = time.Now().Add(w.budget.Time)
	}
	w.left, w.cost = w.budget.Bytes, 0
	_ = w.SetDeadline(w.deadline)
	if ctx.Done() != nil {
		w.stop = context.AfterFunc(ctx, w.breakUp)
	}
}

// ask is bound for a question that follows the login.
func (w *wire) ask(ctx context.Context) {
	w.bound(ctx)
	w.packets.ask()
}

// release ends a question. Where its context has ended meanwhile the connection is of no use any more: breakUp may be
// late.
func (w *wire) release() {
	w.room.give(w.held)
	w.held = 0
	if w.stop != nil && !w.stop() {
		w.breakUp()
	}
	w.stop = nil
}

func (w *wire) breakUp() { _ = w.TCPConn.Close() }

func (w *wire) Read(p []byte) (int, error) {
	w.hurry()
	if w.secured {
		return w.readRaw(p)
	}
	n, err := w.follow(p, w.readRaw)
	if n > 0 && w.login != nil {
		if why := w.login.hear(p[:n]); why != nil {
			return 0, w.note(why)
		}
	}
	return n, err
}

// readRaw reads from the socket, within the bytes of the budget.
func (w *wire) readRaw(p []byte) (int, error) {
	if !w.greeted.Load() && len(p) >= 5 {
		return w.readGreeting(p)
	}
	n, err := w.TCPConn.Read(p)
	if n > 0 {
		if w.left -= int64(n); w.left < 0 {
			return 0, w.note(fmt.Errorf("%w: more than %d bytes", ErrTooMuch, w.budget.Bytes))
		}
	}
	return n, w.note(err)
}

// follow reads what the packets allow.
func (w *wire) follow(p []byte, read func([]byte) (int, error)) (n int, err error) {
	if len(w.early) > 0 {
		n = copy(p, w.early)
		w.early = w.early[n:]
	} else if n, err = read(p); n == 0 {
		return 0, err
	}
	used, senseless := w.packets.follow(p[:n], w.charge)
	if senseless != nil {
		return 0, w.note(senseless)
	}
	if used < n {
		w.early = append(slices.Clone(p[used:n]), w.early...)
	}
	if used == 0 && err == nil { // the driver asks for more than the answer has
		return 0, w.note(errSenseless)
	}
	return used, err
}

// modest is what an answer may cost without regard to the others.
const modest = 64 << 10

// charge counts memory that the answer is about to cost.
func (w *wire) charge(bytes int) error {
	if int64(bytes) > w.budget.Bytes {
		return fmt.Errorf("%w: more than %d bytes", ErrTooMuch, w.budget.Bytes)
	}
	w.cost += int64(bytes)
	more := w.cost - modest - w.held
	if more <= 0 || w.room == nil {
		return nil
	}
	if !w.room.take(more) {
		return fmt.Errorf("%w: more than %d bytes, together with other answers", ErrTooMuch, w.room.size)
	}
	w.held += more
	return nil
}

// hurry bounds the wait for the next bytes.
func (w *wire) hurry() {
	if w.silence <= 0 {
		return
	}
	next := time.Now().Add(w.silence)
	if !w.deadline.IsZero() && w.deadline.Before(next) {
		next = w.deadline
	}
	_ = w.SetDeadline(next)
}

const longestGreeting = 64 << 10

func (w *wire) readGreeting(p []byte) (int, error) {
	n, err := io.ReadAtLeast(w.TCPConn, p, 5)
	w.heard.Store(n > 0)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return 0, w.note(fmt.Errorf("%w: it sent %d bytes and hung up", ErrAlien, n))
	case err != nil:
		return 0, w.note(err)
	}
	const protocol, refusal = 10, 0xff
	length := int(p[0]) | int(p[1])<<8 | int(p[2])<<16
	if length < 3 || length > longestGreeting || p[4] != protocol && p[4] != refusal {
		return 0, w.note(fmt.Errorf("%w: it greets with %q", ErrAlien, p[:min(n, 16)]))
	}
	w.greeted.Store(true)
	return n, nil
}

// Close is for the driver; breakUp is for us.
func (w *wire) Close() error {
	if w.muted.Load() {
		return nil
	}
	return w.TCPConn.Close()
}

func (w *wire) Write(p []byte) (int, error) {
	if w.muted.Load() {
		return len(p), nil
	}
	w.hurry()
	if !w.answered {
		w.answered = true
		w.packets.agreed(p)
	}
	if w.login != nil {
		p = w.login.speak(p)
	}
	n, err := w.TCPConn.Write(p)
	return n, w.note(err)
}

// note keeps the first failure.
func (w *wire) note(err error) error {
	if err != nil {
		w.failure.CompareAndSwap(nil, &err)
	}
	return err
}
