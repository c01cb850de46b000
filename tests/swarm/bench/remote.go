package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/rpc"
	"os"
	"os/exec"
	"syscall"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/swarm"
)

const (
	swarmCommand = "swarm"
	// perProcess is how many servers one process simulates: each takes up to four files.
	perProcess  = 5000
	clusterSize = 5
	// rate of the clusters that are written to, transactions a second.
	rate = 20
)

// Part is the part of the fleet that one process simulates, as net/rpc wants it.
type Part struct {
	swarm  *swarm.Swarm
	failed map[int]*swarm.Server
}

// Strike says what happens to the primaries of some clusters.
type Strike struct {
	Clusters []int
	Silent   bool
}

// serveSwarm simulates a part of the fleet until its standard input ends.
func serveSwarm() error {
	server := rpc.NewServer()
	if err := server.Register(&Part{failed: map[int]*swarm.Server{}}); err != nil {
		return err
	}
	server.ServeConn(pipe{os.Stdin, os.Stdout})
	return nil
}

// pipe is the standard input and output as one connection.
type pipe struct {
	io.Reader
	io.WriteCloser
}

// Start makes the servers, and returns their seeds.
func (p *Part) Start(spec swarm.Spec, seeds *[]topology.Key) (err error) {
	if p.swarm, err = swarm.New(spec, slog.New(slog.NewTextHandler(os.Stderr, nil))); err == nil {
		*seeds = p.swarm.Seeds()
	}
	return err
}

// Polls is that of the swarm.
func (p *Part) Polls(reset bool, out *swarm.Polls) error {
	*out = p.swarm.Polls(reset)
	return nil
}

// Strike kills or silences the primaries of clusters.
func (p *Part) Strike(s Strike, _ *bool) error {
	for _, n := range s.Clusters {
		primary := p.swarm.Clusters()[n].Primary()
		p.failed[n] = primary
		if s.Silent {
			primary.Silence()
		} else {
			primary.Kill()
		}
	}
	return nil
}

// Outcomes says how far clusters are that were struck.
func (p *Part) Outcomes(clusters []int, out *[]swarm.Outcome) error {
	for _, n := range clusters {
		*out = append(*out, p.swarm.Clusters()[n].Outcome(p.failed[n]))
	}
	return nil
}

// Return brings back who was struck.
func (p *Part) Return(clusters []int, _ *bool) error {
	var failed error
	for _, n := range clusters {
		failed = errors.Join(failed, p.failed[n].Return())
	}
	return failed
}

// Unknown are the statements that the swarm does not know.
func (p *Part) Unknown(_ bool, out *map[string]int) error {
	*out = p.swarm.Unknown()
	return nil
}

// fleet is all parts. Clusters have numbers across them.
type fleet struct {
	parts    []*rpc.Client
	programs []*exec.Cmd
	ended    []chan struct{}
	clusters []int // of each part
	seeds    []topology.Key
}

// startFleet starts as many processes as are needed for so many servers.
func startFleet(servers int, writing float64) (*fleet, error) {
	f := &fleet{}
	for servers > 0 {
		n := min(servers, perProcess)
		servers -= n
		if err := f.add(n/clusterSize, writing); err != nil {
			return nil, errors.Join(err, f.close())
		}
	}
	return f, nil
}

func (f *fleet) add(clusters int, writing float64) error {
	cmd := exec.Command("/proc/self/exe", swarmCommand)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a swarm: %w", err)
	}
	c := rpc.NewClient(pipe{out, in})
	f.parts, f.programs, f.clusters = append(f.parts, c), append(f.programs, cmd), append(f.clusters, clusters)
	f.ended = append(f.ended, ending(cmd))
	var seeds []topology.Key
	spec := swarm.Spec{Clusters: clusters, Size: clusterSize, Writing: writing, Rate: rate}
	if err := c.Call("Part.Start", spec, &seeds); err != nil {
		return fmt.Errorf("start a swarm: %w", err)
	}
	f.seeds = append(f.seeds, seeds...)
	return nil
}

func (f *fleet) close() error {
	for i, c := range f.parts {
		_ = c.Close() // by which the process ends
		select {
		case <-f.ended[i]:
		case <-time.After(10 * time.Second):
			_ = f.programs[i].Process.Kill()
		}
	}
	return nil
}

// ending is closed when a process that was started has ended, however that is.
func ending(cmd *exec.Cmd) chan struct{} {
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	return ended
}

// polls is that of all parts together.
func (f *fleet) polls(reset bool) (sum swarm.Polls, err error) {
	for _, c := range f.parts {
		var p swarm.Polls
		err = errors.Join(err, c.Call("Part.Polls", reset, &p))
		sum.Servers, sum.Asked, sum.Longest = sum.Servers+p.Servers, sum.Asked+p.Asked, max(sum.Longest, p.Longest)
	}
	return sum, err
}

// each calls a part with those of the clusters that are its own, by its numbers.
func (f *fleet) each(clusters []int, do func(c *rpc.Client, own []int) error) error {
	var failed error
	first := 0
	for i, c := range f.parts {
		var own []int
		for _, n := range clusters {
			if n >= first && n < first+f.clusters[i] {
				own = append(own, n-first)
			}
		}
		first += f.clusters[i]
		if len(own) > 0 {
			failed = errors.Join(failed, do(c, own))
		}
	}
	return failed
}

func (f *fleet) strike(clusters []int, silent bool) error {
	return f.each(clusters, func(c *rpc.Client, own []int) error {
		return c.Call("Part.Strike", Strike{Clusters: own, Silent: silent}, new(bool))
	})
}

func (f *fleet) outcomes(clusters []int) (out []swarm.Outcome, err error) {
	err = f.each(clusters, func(c *rpc.Client, own []int) error {
		var some []swarm.Outcome
		defer func() { out = append(out, some...) }()
		return c.Call("Part.Outcomes", own, &some)
	})
	return out, err
}

func (f *fleet) bringBack(clusters []int) error {
	return f.each(clusters, func(c *rpc.Client, own []int) error { return c.Call("Part.Return", own, new(bool)) })
}

// unknown is an error when the daemon has sent a statement that the swarm does not know.
func (f *fleet) unknown() error {
	for _, c := range f.parts {
		var all map[string]int
		if err := c.Call("Part.Unknown", false, &all); err != nil {
			return err
		}
		if len(all) > 0 {
			return fmt.Errorf("the swarm does not know %d statements: %v", len(all), all)
		}
	}
	return nil
}
