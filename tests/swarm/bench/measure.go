package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"orchestrator/tests/swarm"
)

// How long things may take before they count as failed.
const (
	knownWithin    = 3 * time.Minute
	repairedWithin = 90 * time.Second
	readWithin     = 20 * time.Second // all reads of one kind
	reads          = 100              // of one kind
	many           = 20
	veryMany       = 200
)

// bench is one size that is being measured.
type bench struct {
	settings settings
	fleet    *fleet
	daemon   *program
	next     int // the first cluster that nothing has happened to
	result
}

// size measures one size of the fleet.
func (s settings) size(ctx context.Context, servers int, poll time.Duration) (r result, err error) {
	dir, err := os.MkdirTemp("", "bench-scale-*")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	say("%d servers, poll %s: start the swarm", servers, poll)
	b := &bench{settings: s}
	b.servers, b.poll = servers, poll
	if b.fleet, err = startFleet(servers, s.writing); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.fleet.close()) }()
	if b.daemon, err = s.startDaemon(dir, b.fleet.seeds, poll); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.daemon.stop()) }()
	if err := b.all(ctx); err != nil {
		return b.result, fmt.Errorf("%d servers: %w; the daemon's log: %s", servers, err, b.daemon.log())
	}
	return b.result, b.fleet.unknown()
}

func (b *bench) all(ctx context.Context) error {
	if err := b.daemon.profiled(partKnown, func() error { return b.awaitKnown(ctx) }); err != nil {
		return err
	}
	if err := wait(ctx, b.settings.settle); err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		do   func(context.Context) error
	}{{partSteady, b.steadily}, {partAPI, b.read}, {partOne, b.one}, {partMany, b.many}, {partSilent, b.silent}} {
		if !b.settings.has(part.name) {
			continue
		}
		if err := b.daemon.profiled(part.name, func() error { return part.do(ctx) }); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// awaitKnown waits until every server was asked.
func (b *bench) awaitKnown(ctx context.Context) error {
	began := time.Now()
	for {
		p, err := b.fleet.polls(false)
		if err != nil {
			return err
		}
		if p.Asked == p.Servers {
			b.known = time.Since(began)
			say("all known after %s", b.known.Round(time.Millisecond))
			return nil
		}
		if time.Since(began) > knownWithin {
			return fmt.Errorf("%d of %d servers were asked within %s", p.Asked, p.Servers, knownWithin)
		}
		if err := b.daemon.wait(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// steadily measures a fleet in which nothing but writing happens.
func (b *bench) steadily(ctx context.Context) error {
	if _, err := b.fleet.polls(true); err != nil {
		return err
	}
	pids := []int{b.daemon.cmd.Process.Pid}
	for _, p := range b.fleet.programs {
		pids = append(pids, p.Process.Pid)
	}
	var before, after []usage
	for _, p := range pids {
		u, err := usageOf(p)
		if err != nil {
			return err
		}
		before = append(before, u)
	}
	if err := wait(ctx, b.settings.steady); err != nil {
		return err
	}
	for _, p := range pids {
		u, err := usageOf(p)
		if err != nil {
			return err
		}
		after = append(after, u)
	}
	p, err := b.fleet.polls(true)
	b.gap, b.cores, b.rss, b.files = p.Longest, cores(before[0], after[0]), after[0].rss, after[0].files
	for i := range before[1:] {
		b.swarmCores += cores(before[1+i], after[1+i])
	}
	say("steady: %.2f cores, %d MB, %d files, longest gap %s (the swarm: %.2f cores)", b.cores, b.rss>>20, b.files,
		b.gap.Round(time.Millisecond), b.swarmCores)
	return err
}

// read measures the API.
func (b *bench) read(ctx context.Context) error {
	var clusters []struct{ Name string }
	body, _, err := b.get(ctx, "clusters", true)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, &clusters); err != nil {
		return err
	}
	if len(clusters) == 0 {
		return errors.New("the daemon knows no clusters")
	}
	for i, kind := range readKinds {
		var times []time.Duration
		for began := time.Now(); len(times) < reads && time.Since(began) < readWithin; {
			path := kind
			if kind == oneCluster || kind == onePlan {
				path = fmt.Sprintf(kind, url.PathEscape(clusters[len(times)*7%len(clusters)].Name))
			}
			_, took, err := b.get(ctx, path, false)
			if err != nil {
				return err
			}
			times = append(times, took)
		}
		b.api[i] = times
		say("GET %s: median %s, p99 %s of %d", kind, quantile(times, 0.5), quantile(times, 0.99), len(times))
	}
	return nil
}

// get reads one path; compressed, as a browser does, unless plain is asked for.
func (b *bench) get(ctx context.Context, path string, plain bool) ([]byte, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.daemon.url+"/api/v1/"+path, nil)
	if err != nil {
		return nil, 0, err
	}
	if !plain {
		r.Header.Set("Accept-Encoding", "gzip")
	}
	began := time.Now()
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", path, a.Status, body)
	}
	return body, time.Since(began), err
}

// one kills single primaries, one after another.
func (b *bench) one(ctx context.Context) error {
	for range b.settings.runs {
		out, err := b.strike(ctx, 1, false)
		if err != nil {
			return err
		}
		b.single = append(b.single, out...)
		if err := wait(ctx, time.Second); err != nil {
			return err
		}
	}
	say("one dies: %s", text(b.single))
	return nil
}

// many kills 20 primaries at once, and 200 where there are ten times as many.
func (b *bench) many(ctx context.Context) (err error) {
	if b.at20, err = b.strike(ctx, many, false); err != nil {
		return err
	}
	say("%d die: %s", many, text(b.at20))
	if len(b.fleet.seeds) < 10*veryMany {
		return nil
	}
	if b.at200, err = b.strike(ctx, veryMany, false); err == nil {
		say("%d die: %s", veryMany, text(b.at200))
	}
	return err
}

func (b *bench) silent(ctx context.Context) (err error) {
	if b.silent20, err = b.strike(ctx, many, true); err == nil {
		say("%d fall silent: %s", many, text(b.silent20))
	}
	return err
}

// strike kills or silences the primaries of the next n clusters, and waits until all are repaired. Then they are
// brought back.
func (b *bench) strike(ctx context.Context, n int, silent bool) ([]swarm.Outcome, error) {
	if b.next+n > len(b.fleet.seeds) {
		return nil, nil
	}
	var clusters []int
	for range n { // spread over the fleet, and over its processes
		clusters = append(clusters, b.next*spread%len(b.fleet.seeds))
		b.next++
	}
	slices.Sort(clusters)
	if err := b.fleet.strike(clusters, silent); err != nil {
		return nil, err
	}
	for began := time.Now(); ; {
		out, err := b.fleet.outcomes(clusters)
		if err != nil {
			return nil, err
		}
		left := slices.IndexFunc(out, func(o swarm.Outcome) bool { return !o.Done })
		if late := time.Since(began) > repairedWithin; left < 0 || late {
			if late {
				say("not repaired within %s: the cluster of %v, %+v", repairedWithin, b.fleet.seeds[clusters[left]],
					out[left])
			}
			if err := b.fleet.bringBack(clusters); err != nil {
				return nil, err
			}
			return out, wait(ctx, 2*time.Second)
		}
		if err := b.daemon.wait(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// spread has no factor in common with the numbers of clusters that are measured.
const spread = 617
