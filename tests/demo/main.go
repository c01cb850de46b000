// Command demo shows a failover on real servers: a MariaDB primary with three replicas, the daemon on its embedded
// SQLite, and a writer; then the primary is killed. It tells what happened and where to look next, and stays up until
// Ctrl-C.
//
// With --once it ends at once, and fails if anything was not as it should be. The one idea: it shows what the daemon's
// API says and what a client of the servers saw, and computes nothing itself.
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
	"strings"
	"syscall"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

const replicas = 3

// demo is what the command line says.
type demo struct {
	once   bool
	flavor topology.Flavor
	bin    string
	out    io.Writer
}

func main() {
	d := demo{out: os.Stdout}
	flavor := flag.String("flavor", string(lab.MariaDB), "which servers: mariadb or mysql")
	flag.BoolVar(&d.once, "once", false, "end at once, and fail if anything was not as it should be")
	flag.StringVar(&d.bin, "bin", "bin", "the directory of the programs")
	flag.Parse()
	d.flavor = topology.Flavor(*flavor)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := d.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

func (d demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

func (d demo) run(ctx context.Context) error {
	binary, err := filepath.Abs(filepath.Join(d.bin, "orchestrator"))
	if err != nil {
		return err
	}
	l, err := lab.New()
	if err != nil {
		return err
	}
	defer l.Close()

	d.say("Starting a %s primary with %d replicas, and the daemon. The primary acknowledges a row when a replica has "+
		"received it (semi-synchronous\nreplication): without that, what it sent to nobody in its last moment would "+
		"be lost with it, whichever replica is promoted.", d.flavor, replicas)
	setup, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	primary, _, err := l.Cluster(setup, lab.Spec{Flavor: d.flavor, Semisync: true}, replicas)
	if err != nil {
		return err
	}
	daemon, err := l.StartDaemon(setup, lab.DaemonSpec{Binary: binary, Seeds: []topology.Key{primary.Key}})
	if err != nil {
		return err
	}
	before, err := daemon.AwaitServers(setup, replicas+1)
	if err != nil {
		return err
	}
	d.say("The daemon was told of %v, and found the others. The topology:\n\n%s", primary.Key, indent(before.Drawing))
	d.showPlan(setup, daemon, before)

	w := lab.Write(ctx, 1, l.Servers()...)
	defer w.Stop()
	if err := w.AwaitRows(setup, 500); err != nil {
		return err
	}
	d.say("A writer inserts rows, one after the other: %d acknowledged so far.", w.Acknowledged())
	d.say("\nKilling the primary %v with SIGKILL.", primary.Key)
	struck := time.Now()
	if err := primary.Kill(); err != nil {
		return err
	}
	promise := d.check(setup, l, daemon, w, primary, struck)
	if promise != nil {
		d.say("\nNOT AS PROMISED: %v", promise)
		d.say("\nThe daemon's log:\n\n%s", indent(daemon.Log()))
	}
	if d.once || promise != nil {
		return promise
	}
	d.next(daemon, w)
	<-ctx.Done()
	d.say("\nEnding.")
	return nil
}

// showPlan says what the daemon would do before anything has happened.
func (d demo) showPlan(ctx context.Context, daemon *lab.Daemon, c api.Cluster) {
	p, err := daemon.Plan(ctx, c.Name, "")
	switch {
	case err != nil:
		d.say("The daemon can't say what it would do: %v\n", err)
	case p.IfDead == nil || !p.Ready:
		d.say("Ready for a failover: no, because %s\n", strings.Join(c.Readiness.Because, "; "))
	default:
		d.say("If the primary died now, it would promote %v. What might be lost: %s\n", p.IfDead.Main().Promoted(),
			p.IfDead.Main().Bound)
	}
}

// check waits for the end of the failover, tells it, and returns what was not as it should be.
func (d demo) check(ctx context.Context, l *lab.Lab, daemon *lab.Daemon, w *lab.Writer, primary *lab.Server,
	struck time.Time) error {
	if err := w.AwaitAnother(ctx, primary); err != nil {
		return err
	}
	promoted := w.Last()
	var moved []*lab.Server
	for _, s := range l.Servers() {
		if s != promoted && s != primary {
			moved = append(moved, s)
		}
	}
	var failed error
	if err := lab.AwaitReplication(ctx, promoted, moved...); err != nil {
		failed = err
	}
	settled := time.Since(struck)
	if err := w.AwaitRows(ctx, 200); err != nil {
		failed = errors.Join(failed, err)
	}
	outage := w.Outage(struck).Length()
	// The writer goes on; what it has written until here is compared.
	lost, err := w.Lost(ctx, promoted)
	if err != nil {
		failed = errors.Join(failed, err)
	}
	e, err := daemon.AwaitClosed(ctx, primary.Key)
	if err != nil {
		return errors.Join(failed, err)
	}
	d.tell(e, struck)
	var after api.Cluster
	// until the daemon's next look, a second at most, it draws receivers as they were when they had just been moved
	for range 30 {
		if after, err = daemon.Cluster(ctx, promoted.Key.String()); err != nil {
			return errors.Join(failed, err)
		}
		if !strings.Contains(after.Drawing, "connecting") {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	d.say("\nThe topology now:\n\n%s", indent(after.Drawing))
	if !strings.Contains(after.Drawing, promoted.Key.Host) {
		failed = errors.Join(failed, errors.New("the daemon doesn't draw the topology"))
	}
	d.say("Writes were out for %v; after %v all replicas replicated from the new primary.",
		outage.Round(time.Millisecond), settled.Round(time.Millisecond))
	d.say("Acknowledged rows: %d; lost: %d.", w.Acknowledged(), len(lost))
	if len(lost) > 0 {
		failed = errors.Join(failed, fmt.Errorf("%d acknowledged rows are lost", len(lost)))
	}
	if e.Candidate != promoted.Key {
		failed = errors.Join(failed, fmt.Errorf("the daemon says it promoted %v, but the writer writes to %v",
			e.Candidate, promoted.Key))
	}
	return failed
}

// tell says what the daemon saw and did, in its own words.
func (d demo) tell(e api.Episode, struck time.Time) {
	d.say("\n%s of %v: %s", e.Kind, e.Failed, e.Code)
	for _, evidence := range e.Evidence {
		d.say("  %s", evidence)
	}
	d.say("\nWhy %v was promoted:\n  %s", e.Candidate, e.Why)
	d.say("\nWhat was done, ms after the kill:")
	for _, s := range e.Steps {
		said := s.Why
		if s.Error != "" {
			said += "; FAILED: " + s.Error
		}
		d.say("  %5d +%-4d %-16s %-18v %s", s.Started.Sub(struck).Milliseconds(), int(s.Took*1000), s.Kind, s.At, said)
	}
	d.say("\n%s", e.Outcome)
}

// next says where to look.
func (d demo) next(daemon *lab.Daemon, w *lab.Writer) {
	d.say("\nThe servers, the daemon and the writer stay up until Ctrl-C. Look at")
	for _, path := range []string{"/api/v1/clusters", "/api/v1/episodes", "/health/ready", "/metrics"} {
		d.say("  curl %s%s", daemon.URL, path)
	}
	client := filepath.Join(d.bin, "orchestrator-client")
	d.say("or ask with the client:\n  export ORCHESTRATOR_API=%s", daemon.URL)
	for _, command := range []string{"topology " + w.Last().Key.String(), "why " + w.Last().Key.String(), "episodes",
		"findings", "--help"} {
		d.say("  %s %s", client, command)
	}
	d.say("The daemon's configuration is %s; the new primary is %v, and can be killed, too (process %d), once the "+
		"pause\nbetween two failovers (anti_flap) is over.",
		daemon.ConfigFile, w.Last().Key, w.Last().Pid())
	d.say("A server answers at, for example, mariadb -h %s -u %s -p app (the password is %s).", w.Last().Key.Host,
		lab.AppUser, lab.AppPassword)
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ") + "\n"
}
