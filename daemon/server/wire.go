package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// wire is the connection below the driver. It holds each question to its time and its bytes, remembers how it failed
// (the driver keeps that to itself), and refuses what does not greet like a server: the driver would wait for the
// megabytes that the first letters of "SSH-" promise. It embeds the TCP connection so that the driver can check whether
// it is still open.
type wire struct {
	*net.TCPConn
	silence time.Duration
	greeted atomic.Bool // the greeting is that of a server
	heard   atomic.Bool // anything has come
	failure atomic.Pointer[error]
	muted   atomic.Bool // what the driver does from now on does not reach the socket

	// Of the question that is under way; only its goroutine uses them.
	deadline time.Time // zero: none
	most     int64     // bytes of the answer; below 0: any
	left     int64
	stop     func() bool // ends the watch over the context
}

func newWire(c *net.TCPConn, silence time.Duration) *wire { return &wire{TCPConn: c, silence: silence} }

var (
	// ErrAlien is what answers and is neither MySQL nor MariaDB.
	ErrAlien = errors.New("this is not a MySQL or MariaDB server")
	// ErrTooMuch is an answer that exceeds its budget. The connection is closed.
	ErrTooMuch = errors.New("its answer is too long")
)

// bound begins a question. No goroutine waits for its end: the deadline is the socket's own, and a context that is
// cancelled earlier closes the socket.
func (w *wire) bound(ctx context.Context, most int64) {
	w.deadline, _ = ctx.Deadline()
	w.most, w.left = most, most
	_ = w.SetDeadline(w.deadline)
	if ctx.Done() != nil {
		w.stop = context.AfterFunc(ctx, w.breakUp)
	}
}

// release ends a question. Where its context has ended meanwhile the connection is of no use any more: breakUp may be
// late.
func (w *wire) release() {
	if w.stop != nil && !w.stop() {
		w.breakUp()
	}
	w.stop = nil
}

func (w *wire) breakUp() { _ = w.TCPConn.Close() }

func (w *wire) Read(p []byte) (int, error) {
	w.hurry()
	if !w.greeted.Load() && len(p) >= 5 {
		return w.readGreeting(p)
	}
	n, err := w.TCPConn.Read(p)
	if n > 0 && w.most >= 0 {
		if w.left -= int64(n); w.left < 0 {
			return 0, w.note(fmt.Errorf("%w: more than %d bytes", ErrTooMuch, w.most))
		}
	}
	return n, w.note(err)
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
