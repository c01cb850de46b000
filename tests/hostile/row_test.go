package hostile_test

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/hostile"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// binary is the daemon's program, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(lab.RunWith(m, &binary)) }

// row is an attack on a daemon that watches a cluster of real servers:
//
//	r := begin(t)
//	r.serve(1, nil, hostile.Columns(1<<40))   // servers that the daemon is told to watch
//	r.failsOver(func(f *watched.Fleet) { … }) // what else is done to it, just before the primary dies
type row struct {
	*testing.T
	lab     *lab.Lab
	seeds   []topology.Key
	config  string // of the daemon, besides watched.Policy
	flavor  topology.Flavor
	program string // the daemon's; "" is the usual one
}

func begin(t *testing.T) *row {
	t.Helper()
	t.Parallel()
	return &row{T: t, lab: lab.Test(t), flavor: lab.MariaDB}
}

// serve starts so many hostile servers, which are among the seeds.
func (r *row) serve(n int, greet, answer hostile.Act) {
	r.Helper()
	address, err := r.lab.Address()
	if err != nil {
		r.Fatal(err)
	}
	for range n {
		v, err := hostile.Listen(address, greet, answer)
		if err != nil {
			r.Fatal(err)
		}
		r.Cleanup(v.Close)
		r.seeds = append(r.seeds, v.Key)
	}
}

// The bounds of a failover beside an attack, and of the memory that the attack costs. Everything else that the machine
// does counts as well, and changes from test to test: so a failover that took long is compared with an undisturbed one
// that is played at once, beside what else is going on. With ORCHESTRATOR_HOSTILE=all ("make hostile"), where one test
// runs at a time, the bound is what is promised.
const (
	longer = time.Second
	room   = 3 // times the undisturbed one, besides
	memory = 150 << 20
)

// whole says that each test runs alone, and all of them.
var whole = os.Getenv("ORCHESTRATOR_HOSTILE") == "all"

// most is how long a failover may take where an undisturbed one takes so long.
func most(undisturbed time.Duration) time.Duration {
	if whole {
		return longer + undisturbed
	}
	return longer + room*undisturbed
}

// failsOver kills the primary while the attack goes on. The failover must take no longer than an undisturbed one, and
// the daemon must need no more memory.
func (r *row) failsOver(attack func(f *watched.Fleet)) *watched.Fleet {
	r.Helper()
	f := r.start()
	if attack != nil {
		attack(f)
	}
	took := failover(f)
	r.compare(f, took)
	return f
}

// compare has a failover, and the daemon's memory, compared with undisturbed ones.
func (r *row) compare(f *watched.Fleet, took time.Duration) {
	r.Helper()
	usual, err := undisturbed()
	if err != nil {
		r.Fatal(err)
	}
	r.Logf("promoted after %v (undisturbed %v); memory %d MB (%d MB)", took, usual.took, peak(f)>>20, usual.memory>>20)
	if more := peak(f) - usual.memory; more > memory {
		r.Errorf("the daemon needed %d MB more memory than undisturbed", more>>20)
	}
	if took <= most(usual.took) {
		return
	}
	now := (&row{T: r.T, lab: r.lab, flavor: r.flavor}).calm()
	r.Logf("an undisturbed failover takes %v now", now.took)
	if took > most(now.took) {
		r.Errorf("it took %v, and undisturbed failovers %v and %v", took, usual.took, now.took)
	}
}

func (r *row) start() *watched.Fleet {
	r.Helper()
	f := watched.Servers(r.T, r.lab, lab.Spec{Flavor: r.flavor}, 2)
	f.Watch(lab.DaemonSpec{Binary: cmp.Or(r.program, binary), Config: watched.Policy + r.config,
		Seeds: append([]topology.Key{f.Replicas[0].Key}, r.seeds...)})
	_, err := f.API.AwaitServers(f.Ctx, 3)
	f.Must(err)
	return f
}

// failover returns how long after the death of the primary another one was promoted.
func failover(f *watched.Fleet) time.Duration {
	f.Helper()
	at := time.Now()
	f.Must(f.Primary.Kill())
	e, primary := f.Promoted()
	f.Settled(primary)
	return e.Promoted.Sub(at)
}

// peak is the most memory that the daemon has had.
func peak(f *watched.Fleet) int {
	f.Helper()
	return peakOf(f.T, f.API)
}

func peakOf(t *testing.T, d *lab.Daemon) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return kilobytes << 10
		}
	}
	t.Fatal("the kernel does not say how much memory the daemon has had")
	return 0
}

// usual is what an undisturbed failover takes.
type usual struct {
	took   time.Duration
	memory int
}

// calm is the undisturbed failover. TestUndisturbed plays it first.
var calm struct {
	sync.Mutex
	usual
	played bool
}

func undisturbed() (usual, error) {
	calm.Lock()
	defer calm.Unlock()
	if !calm.played {
		return usual{}, errors.New("TestUndisturbed has not passed: add it to the tests that run")
	}
	return calm.usual, nil
}

// TestUndisturbed is what all others are compared with. It is not parallel, and they are: so it ends before they go on.
func TestUndisturbed(t *testing.T) {
	u := (&row{T: t, lab: lab.Test(t), flavor: lab.MariaDB}).calm()
	t.Logf("promoted after %v, memory %d MB", u.took, u.memory>>20)
	calm.Lock()
	defer calm.Unlock()
	calm.usual, calm.played = u, true
}

// calm plays an undisturbed failover.
func (r *row) calm() usual {
	r.Helper()
	f := r.start()
	return usual{took: failover(f), memory: peak(f)}
}
