// Command bench measures the daemon with thousands of servers: what a steady fleet costs, how long reading the API
// takes, and how long until the clusters of killed and silent primaries are repaired.
//
// It judges nothing. The servers are simulated (see tests/swarm), in processes of their own: a process may open 20,000
// files on many machines. The daemon is the real program, so that its processor time, memory and files can be read from
// /proc. The one idea: the swarm, not the daemon, says when a server was asked, opened for writes, and followed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// settings are what the command line says.
type settings struct {
	sizes   string
	poll    time.Duration
	poll1s  bool
	quick   bool
	parts   string
	binary  string
	profile string
	steady  time.Duration
	settle  time.Duration
	runs    int
	writing float64
}

// Parts that can be left out.
const (
	partKnown  = "known" // never left out
	partSteady = "steady"
	partAPI    = "api"
	partOne    = "one"
	partMany   = "many"
	partSilent = "silent"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case swarmCommand:
			exit(serveSwarm())
		case daemonCommand:
			exit(serveDaemon(os.Args[2], os.Args[3]))
		}
	}
	s := settings{}
	flag.StringVar(&s.sizes, "servers", "1000,3000,10000", "how many servers, with commas between; five make a cluster")
	flag.DurationVar(&s.poll, "poll", 5*time.Second, "discovery.poll")
	flag.BoolVar(&s.poll1s, "default-poll", true, "measure 1,000 servers with the default poll of 1 s first")
	flag.BoolVar(&s.quick, "quick", false, "short times and few runs, and only what -servers names")
	flag.StringVar(&s.parts, "parts", "steady,api,one,many,silent", "what is measured, with commas between")
	flag.StringVar(&s.binary, "binary", "bin/orchestrator", "the daemon's program")
	flag.StringVar(&s.profile, "pprof", "", "a directory for profiles of the daemon, which then is built into this "+
		"program")
	flag.DurationVar(&s.steady, "steady", 30*time.Second, "how long a steady fleet is measured")
	flag.DurationVar(&s.settle, "settle", 10*time.Second, "how long the fleet is left alone before")
	flag.IntVar(&s.runs, "runs", 7, "how often a single primary is killed")
	flag.Float64Var(&s.writing, "writing", 0.1, "the part of the clusters that is written to")
	flag.Parse()
	binary, err := filepath.Abs(s.binary) // it is started in a directory of its own
	if err != nil {
		exit(err)
	}
	s.binary = binary
	if s.quick {
		s.steady, s.settle = min(s.steady, 12*time.Second), min(s.settle, 3*time.Second)
		s.runs, s.poll1s = min(s.runs, 3), false
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = s.measure(ctx, os.Stdout)
	stop()
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-scale:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// measure measures each size, and prints one table of all.
func (s settings) measure(ctx context.Context, out io.Writer) error {
	var all []result
	if s.poll1s {
		r, err := s.size(ctx, 1000, time.Second)
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	for text := range strings.SplitSeq(s.sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < clusterSize || n%clusterSize != 0 {
			return fmt.Errorf("-servers %q: must be multiples of %d", text, clusterSize)
		}
		r, err := s.size(ctx, n, s.poll)
		if r.measured() {
			all = append(all, r)
		}
		if err != nil {
			return errors.Join(err, print(out, all))
		}
	}
	return print(out, all)
}

func (s settings) has(part string) bool {
	for p := range strings.SplitSeq(s.parts, ",") {
		if p == part {
			return true
		}
	}
	return false
}

// say shows progress.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s  %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
