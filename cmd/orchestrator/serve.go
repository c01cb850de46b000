package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"orchestrator/daemon"
	"orchestrator/daemon/config"
)

func newServe() *cobra.Command {
	var file string
	serve := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon (the same as no command at all)",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := load(file, cmd.Flags().Changed("config"))
			if err != nil {
				return err
			}
			signals := make(chan os.Signal, 8)
			signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
			defer signal.Stop(signals)
			s := newServer(file, c, cmd.ErrOrStderr())
			for _, risk := range c.Risks() {
				s.log.Warn("the configuration has a risk", "what", risk)
			}
			return s.serve(cmd.Context(), signals)
		},
	}
	serve.Flags().StringVar(&file, "config", defaultConfig, "the configuration `FILE`")
	return serve
}

// server is the daemon with its surroundings: the signals, the log, and the service manager.
type server struct {
	file   string
	config config.Config // with which it started
	level  *slog.LevelVar
	log    *slog.Logger
}

func newServer(file string, c config.Config, errs io.Writer) *server {
	level := new(slog.LevelVar)
	level.Set(levelOf(c))
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewTextHandler(errs, options)
	if c.Log.Format == "json" {
		handler = slog.NewJSONHandler(errs, options)
	}
	return &server{file: file, config: c, level: level, log: slog.New(handler)}
}

func levelOf(c config.Config) slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return slog.LevelInfo
	}
	return level
}

// runner is a daemon.Daemon, or a test's replacement that hangs.
type runner interface {
	Run(ctx context.Context) error
	Reload(config.Config) []string
	Alive() error
}

// collection is how much garbage may gather before it is collected, in % of what is in use. A fleet takes up much and
// changes little: with less than Go's 100 %, 10,000 servers need a tenth less memory, and hardly more processor time.
const collection = 75

func (s *server) serve(ctx context.Context, signals <-chan os.Signal) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collection)
	}
	d, err := daemon.New(s.config, daemon.Options{Version: version(), Logger: s.log})
	if err != nil {
		return coded(whyNot(err), err)
	}
	return s.run(ctx, d, signals)
}

// run runs the daemon until ctx ends, a signal stops it, or it fails.
func (s *server) run(ctx context.Context, d runner, signals <-chan os.Signal) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	s.tell("READY=1")
	var watch <-chan time.Time
	if every := watchdog(os.Getenv); every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		watch = t.C
	}
	ending, hangs := false, false
	for {
		select {
		case <-watch:
			err := d.Alive()
			switch {
			case err == nil:
				s.tell("WATCHDOG=1")
			case !hangs: // without the message, the service manager kills and restarts it
				s.log.Error("the daemon hangs: the service manager will restart it", "why", err)
			}
			hangs = err != nil
		case err := <-done:
			return coded(whyNot(err), err)
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP && !ending:
				s.reload(d)
			case sig == syscall.SIGHUP: // too late
			case ending:
				return fmt.Errorf("second signal (%v): stopped at once, without cleaning up", sig)
			default:
				ending = true
				s.log.Info("stopping", "signal", sig.String())
				s.tell("STOPPING=1")
				end()
			}
		}
	}
}

// reload applies what a running daemon can change. A file with a problem changes nothing: half a configuration is
// worse than the old one.
func (s *server) reload(d runner) {
	s.tell(reloading())
	defer s.tell("READY=1")
	next, err := config.Load(s.file)
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			s.log.Error("the configuration was not reloaded: nothing changed", "file", p.File, "line", p.Line, "key",
				p.Key, "problem", p.Says)
		}
		return
	case err != nil:
		s.log.Error("the configuration was not reloaded: nothing changed", "problem", err)
		return
	}
	s.level.Set(levelOf(next))
	d.Reload(next) // logs what it applies, and what needs a restart
}

func (s *server) tell(state string) {
	if err := notify(state); err != nil {
		s.log.Warn("the service manager can't be notified", "error", err)
	}
}

// whyNot returns the exit code of a daemon that could not start or continue.
func whyNot(err error) int {
	switch {
	case errors.Is(err, daemon.ErrBackend):
		return exitBackend
	case errors.Is(err, daemon.ErrListen):
		return exitListen
	}
	return exitFailure
}
