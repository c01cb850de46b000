// Package daemon wires the parts together: it is the only place that knows them all, and the one that reads the configuration.
//
// It decides nothing, and knows nothing of replication. The one idea: each part has small options of its own and takes what it needs as
// interfaces, so that everything about how they fit together is read here, top to bottom.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Options of a Daemon are what is not configuration.
type Options struct {
	Logger *slog.Logger
}

// Daemon is one running orchestrator.
type Daemon struct {
	config Config
	log    *slog.Logger
	listen net.Listener
}

// New opens what the daemon needs: the backend (or ErrBackend) and the address to listen on. Nothing runs before Run.
func New(c Config, o Options) (*Daemon, error) {
	l, err := net.Listen("tcp", c.HTTP.Listen)
	if err != nil {
		return nil, fmt.Errorf("serve the API: %w; is another orchestrator running? http.listen names the address", err)
	}
	return &Daemon{config: c, log: o.Logger, listen: l}, nil
}

// Run serves until ctx ends.
func (d *Daemon) Run(ctx context.Context) error {
	s := &http.Server{ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(d.listen) }()
	d.log.Info("listening", "address", d.listen.Addr().String())
	select {
	case err := <-ended:
		return fmt.Errorf("serve the API: %w", err)
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := s.Shutdown(late)
	if serve := <-ended; !errors.Is(serve, http.ErrServerClosed) {
		err = errors.Join(err, serve)
	}
	return err
}

// Reload takes over what can be taken over while running, and names the rest.
func (d *Daemon) Reload(next Config) []string {
	_, waiting := d.config.Changes(next)
	d.config = d.config.Reloaded(next)
	return waiting
}
