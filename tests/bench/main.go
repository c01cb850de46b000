// Command bench measures failovers on real servers: one primary with three replicas, a writer at full speed, the
// daemon, and a fault. It prints how long the writer was out, when all replicas had moved, what was lost, and where the
// time went, as tables in Markdown.
//
// It doesn't say what is good enough; the tests do. The one idea: each run begins with fresh servers and a fresh
// daemon, so that runs don't depend on each other, and all that is measured is what a client of the servers sees.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// settings are what the command line says.
type settings struct {
	flavors, faults string
	runs, others    int
	replicas        int
	semisync        bool
	binary, config  string
	markdown        string
	logs            string
}

func main() {
	var s settings
	flag.StringVar(&s.flavors, "flavors", "mariadb,mysql", "which servers, with commas between")
	flag.StringVar(&s.faults, "faults", "kill,term,hang,cut", "which faults, with commas between")
	flag.IntVar(&s.runs, "runs", 20, "how often the primary is killed")
	flag.IntVar(&s.others, "others", 5, "how often each of the other faults happens")
	flag.IntVar(&s.replicas, "replicas", 3, "replicas of the primary")
	flag.BoolVar(&s.semisync, "semisync", false, "with semi-synchronous replication")
	flag.StringVar(&s.binary, "binary", "bin/orchestrator", "the daemon's program")
	flag.StringVar(&s.config, "config", "", "a file with more of the daemon's configuration; it must allow recoveries")
	flag.StringVar(&s.markdown, "markdown", "", "a file for the tables, beside printing them")
	flag.StringVar(&s.logs, "logs", "", "a directory for the daemon's log of each run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := s.bench(ctx, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

var errRuns = errors.New("not all runs went well")

// bench does all runs; what was measured is printed also when one of them fails.
func (s settings) bench(ctx context.Context, out, progress io.Writer) error {
	var config string
	if s.config != "" {
		text, err := os.ReadFile(s.config)
		if err != nil {
			return err
		}
		config = string(text)
	}
	binary, err := filepath.Abs(s.binary)
	if err != nil {
		return err
	}
	l, err := lab.New()
	if err != nil {
		return err
	}
	defer l.Close()
	var all []series
	var failed error
	for _, flavor := range strings.Split(s.flavors, ",") {
		for _, name := range strings.Split(s.faults, ",") {
			f, ok := faults[name]
			if !ok {
				return fmt.Errorf("fault %q: want some of kill, term, hang, cut", name)
			}
			n := s.others
			if name == "kill" {
				n = s.runs
			}
			set := series{flavor: topology.Flavor(flavor), fault: name, semisync: s.semisync}
			for i := range n {
				spec := lab.Spec{Flavor: set.flavor, Semisync: s.semisync}
				r, err := one(ctx, l, spec, s.replicas, lab.DaemonSpec{Binary: binary, Config: config}, f)
				err = errors.Join(err, s.save(l, fmt.Sprintf("%s-%s-%d.log", flavor, name, i+1)))
				if ctx.Err() != nil {
					failed = errors.Join(failed, ctx.Err())
					break
				}
				if err != nil {
					set.failed++
					failed = errRuns // why stands where it failed
					fmt.Fprintf(progress, "%s %s %d/%d: FAILED: %v\n", flavor, name, i+1, n, err)
					continue
				}
				fmt.Fprintf(progress, "%s %s %d/%d: %v\n", flavor, name, i+1, n, r)
				set.runs = append(set.runs, r)
			}
			all = append(all, set)
		}
	}
	var text strings.Builder
	report(&text, all)
	fmt.Fprint(out, text.String())
	if s.markdown != "" {
		failed = errors.Join(failed, os.WriteFile(s.markdown, []byte(text.String()), 0o644))
	}
	return failed
}

// save writes the daemon's log of a run.
func (s settings) save(l *lab.Lab, name string) error {
	if s.logs == "" {
		return nil
	}
	for _, d := range l.Daemons() {
		if err := os.WriteFile(filepath.Join(s.logs, name), []byte(d.Log()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// randomWait is how long the writer runs before the fault, so that faults don't follow the beat of the daemon's polls.
func randomWait() time.Duration { return time.Second + rand.N(2*time.Second) }
