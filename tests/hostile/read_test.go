package hostile_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"orchestrator/daemon/api/client"
	"orchestrator/daemon/topology"
	"orchestrator/tests/swarm"
	"orchestrator/tests/watched"
)

// star is a cluster of simulated servers that the daemon watches, too, so large that its plans are expensive.
func (r *row) star() *swarm.Swarm {
	r.Helper()
	size := 400
	if whole {
		size = 3000
	}
	s, err := swarm.New(swarm.Spec{Clusters: 1, Size: size, Flavors: []topology.Flavor{topology.MariaDB}}, nil)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { s.Close() })
	r.seeds = append(r.seeds, s.Seeds()...)
	return s
}

// readers is from how many connections at a time readPlans reads.
const readers = 24

// readPlans asks for the plan of the death of the star's primary again and again until ctx ends.
func readPlans(ctx context.Context, f *watched.Fleet, s *swarm.Swarm) (wait func()) {
	var clients sync.WaitGroup
	for range readers {
		clients.Go(func() {
			for ctx.Err() == nil {
				_ = readPlan(ctx, f, s)
			}
		})
	}
	return clients.Wait
}

func readPlan(ctx context.Context, f *watched.Fleet, s *swarm.Swarm) error {
	primary := s.Clusters()[0].Servers[0].Key.String()
	_, err := f.API.Plan(ctx, primary, primary)
	return err
}

// spent is how much of the processor the daemon has had.
func spent(f *watched.Fleet) time.Duration {
	f.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", f.API.Pid()))
	f.Must(err)
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')'):]))
	var ticks int
	for _, field := range fields[12:14] { // utime and stime, in hundredths of a second
		n, err := strconv.Atoi(field)
		f.Must(err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func inOneSecond(f *watched.Fleet) time.Duration {
	f.Helper()
	before := spent(f)
	time.Sleep(time.Second)
	return spent(f) - before
}

// Reads that cost seconds each delay no failover, end with their clients, and don't keep the daemon from ending.
func TestExpensiveReads(t *testing.T) {
	r := begin(t)
	s := r.star()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var wait func()
	var calm, one time.Duration // what a second without them costs, and what one of them
	f := r.failsOver(func(f *watched.Fleet) {
		f.Await("the star is known", func() bool {
			all, err := f.API.Clusters(f.Ctx)
			known := 0
			for _, c := range all {
				known += c.Servers
			}
			return err == nil && known == 3+len(s.Clusters()[0].Servers)
		})
		calm = inOneSecond(f)
		before := spent(f)
		patient, err := client.New(client.Options{Endpoints: []string{f.API.URL}, Timeout: time.Minute})
		f.Must(err)
		primary := s.Clusters()[0].Servers[0].Key.String()
		_, err = patient.Plan(ctx, primary, primary)
		f.Must(err)
		one = spent(f) - before
		wait = readPlans(ctx, f, s)
		time.Sleep(500 * time.Millisecond)
	})
	end()
	wait()
	left := spent(f)
	time.Sleep(time.Second)
	f.Await("the daemon is idle again", func() bool { return inOneSecond(f) < 2*calm+one })
	if more := spent(f) - left; more > readers/2*one {
		t.Errorf("it worked for %v when the clients of %d reads, of %v each, were gone", more, readers, one)
	}

	again, end := context.WithCancel(t.Context())
	defer end()
	wait = readPlans(again, f, s)
	time.Sleep(500 * time.Millisecond)
	at := time.Now()
	f.Must(syscall.Kill(f.API.Pid(), syscall.SIGTERM))
	f.Within(20*time.Second, "the daemon ends", func() bool { return f.API.Pid() == 0 })
	t.Logf("ended %v after SIGTERM", time.Since(at))
	end()
	wait()
}
