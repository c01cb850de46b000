package e2e

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// Three daemons know each other by certificates; one of them shows that of a stranger, from whatever authority. It is
// ignored and told why, a failover completes beside it, and with a right certificate it is another daemon.
func TestADaemonWithACertificateOfAStranger(t *testing.T) {
	l := lab.Test(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ours, err := lab.NewAuthority("ours")
	must(err)
	another, err := lab.NewAuthority("another")
	must(err)
	store, err := l.Member(ctx, lab.MariaDB, lab.Quick()...)
	must(err)
	primary, replicas := l.TestCluster(t, lab.Spec{Flavor: lab.MariaDB}, 3)
	ds, err := l.StartCertified(ctx, 3, lab.DaemonSpec{Binary: binary, Seeds: []topology.Key{primary.Key}}, store, ours,
		another)
	must(err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, d := range ds {
				t.Logf("log of %s:\n%s", d.URL, d.Log())
			}
		}
	})
	stranger, others := ds[2], ds[:2]
	await := func(what string, is func() bool) {
		t.Helper()
		for !is() {
			if ctx.Err() != nil {
				t.Fatalf("not within the time: %s", what)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	// silent is what a daemon says of those that don't answer.
	silent := func(d *lab.Daemon) string {
		s, err := d.Status(ctx)
		must(err)
		return strings.Join(s.SilentPeers, "; ")
	}
	for _, d := range ds {
		_, err := d.AwaitServers(ctx, 4)
		must(err)
	}
	for _, d := range others {
		await("only the stranger is silent", func() bool {
			s := silent(d)
			return strings.Contains(s, "is not signed by an authority in peers.ca") && !strings.Contains(s, ";")
		})
		await("it is logged who is refused", func() bool {
			return strings.Contains(d.Log(), `a question that is said to come from another daemon is refused`)
		})
	}
	await("the stranger is told why", func() bool {
		return strings.Count(silent(stranger), "it refuses the question: the certificate") == 2
	})

	must(primary.Kill())
	var leader *lab.Daemon
	await("a daemon leads", func() bool {
		leader = nil
		for _, d := range ds {
			if s, err := d.Status(ctx); err == nil && s.Leading {
				leader = d
			}
		}
		return leader != nil
	})
	e, err := leader.AwaitClosed(ctx, primary.Key)
	must(err)
	if !slices.ContainsFunc(replicas, func(r *lab.Server) bool { return r.Key == e.Candidate }) {
		t.Errorf("promoted: %+v", e)
	}

	// An authority is replaced while they ask each other: both, then the certificates, then the new one alone.
	for _, d := range ds {
		must(errors.Join(d.Trust(ours.PEM+another.PEM), d.Signal(syscall.SIGHUP)))
	}
	for _, d := range ds {
		await("all answer", func() bool { return silent(d) == "" })
	}
	for _, d := range ds {
		must(errors.Join(d.Certify("peer", another), d.Signal(syscall.SIGHUP)))
	}
	before := make([]int, len(ds))
	for i, d := range ds {
		await("it has the new certificate", func() bool {
			return strings.Contains(d.Log(), "[peers.cert")
		})
		before[i] = strings.Count(d.Log(), "does not answer")
	}
	for i, d := range ds {
		must(errors.Join(d.Trust(another.PEM), d.Signal(syscall.SIGHUP)))
		time.Sleep(2 * time.Second) // two rounds of questions
		if s := silent(d); s != "" {
			t.Errorf("%s lost %s", d.URL, s)
		}
		if after := strings.Count(d.Log(), "does not answer"); after != before[i] {
			t.Errorf("%s has lost a question", d.URL)
		}
	}
}
