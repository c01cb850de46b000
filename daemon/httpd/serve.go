package httpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"orchestrator/daemon/crowd"
)

const (
	// grace is how long requests that are under way may go on when the daemon ends.
	grace = 5 * time.Second
	// longest bounds a whole request: a discovery, which waits for a server that may not answer, takes half of it.
	longest = time.Minute
)

// Serve answers on the listener until ctx ends. Then it takes no new requests, gives those under way a few seconds to
// finish, and returns nil. The listener is closed when it returns.
func Serve(ctx context.Context, l net.Listener, h http.Handler, logger *slog.Logger) error {
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      longest,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		// What clients do wrong on their connections.
		ErrorLog:    slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		ConnState:   note,
		BaseContext: func(net.Listener) context.Context { return requests },
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve the API on %v: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	patience, done := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer done()
	err := s.Shutdown(patience)
	if err != nil {
		err = s.Close() // which ends the contexts of requests too
	}
	if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
		return fmt.Errorf("serve the API on %v: %w", l.Addr(), e)
	}
	if err != nil {
		return fmt.Errorf("close the API on %v: %w", l.Addr(), err)
	}
	return nil
}

// note tells a crowd whether a request is under way on a connection.
func note(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateActive:
		crowd.Busy(conn, true)
	case http.StateIdle:
		crowd.Busy(conn, false)
	}
}
