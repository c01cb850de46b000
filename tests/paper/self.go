package paper

import (
	"context"
	"fmt"
	"time"

	"orchestrator/backend/report"
	"orchestrator/daemon/api"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/topology"
)

// Self is the daemon itself.
type Self struct {
	*Record
	Now api.Status
}

func (s *Self) Status() api.Status { return s.Now }

func (s *Self) StepDown(_ context.Context, by, reason string) error {
	if !s.Now.Leading {
		return fmt.Errorf("%w: d2 leads", api.ErrConflict)
	}
	return s.did("step down %s %s", by, reason)
}

// Backend is a pair whose members can be worked on. Work that is asked for goes on until somebody reads it again.
type Backend struct {
	*Record
	Now  api.Backend
	work *api.BackendWork
}

func (b *Backend) Backend(context.Context) api.Backend {
	if b.Now.Kind == "" {
		return api.Backend{Kind: "sqlite", Members: []api.BackendMember{}}
	}
	return b.Now
}

// Pair is a backend of the kind that has members.
func Pair() api.Backend {
	k := topology.Key{Host: "10.0.0.1", Port: 3306}
	compared := Compared(true)
	return api.Backend{Kind: "mysql", Identity: "a", Serves: k, Why: "it serves",
		Members:  []api.BackendMember{{Key: k, Up: true, Identity: "a", Format: "STATEMENT", Term: 1}},
		Proxy:    []report.ProxyServer{{Key: k, Name: "a", Up: true, State: "UP", Sessions: 3}},
		Compared: &api.BackendComparison{At: drawing.At, By: "d1", Comparison: compared}}
}

// Compared are members that differed in one record.
func Compared(merged bool) report.Comparison {
	held := [2]*report.Held{{Version: 5, Writer: "d1"}, nil}
	ds := []report.Difference{{Kind: "tag", Key: "db1:3306 dc", Held: held}}
	c := report.Comparison{Records: 7, Kinds: []report.Kind{{Kind: "tag", Records: [2]int64{7, 6}, Differ: 1}}}
	if merged {
		c.Equal, c.Merged = true, ds
	} else {
		c.Differences = ds
	}
	return c
}

func (b *Backend) BackendProofs(context.Context) ([]api.BackendComparison, error) {
	one := api.BackendComparison{At: drawing.At, By: "d1", Why: "a split has healed", Comparison: Compared(true)}
	return []api.BackendComparison{one}, b.Fails
}

func (b *Backend) BackendWork() *api.BackendWork { return b.work }

func (b *Backend) began(what, by string, w api.BackendWork) (api.BackendWork, error) {
	w.What, w.By, w.Began, w.Ended = what, by, drawing.At, drawing.At
	if err := b.did("%s (%s)", what, by); err != nil {
		return api.BackendWork{}, err
	}
	b.work = &w
	begun := w
	begun.Ended = time.Time{} // it takes a while
	return begun, nil
}

func (b *Backend) BackendPromote(
	_ context.Context, r api.BackendPromoteRequest, within time.Duration,
) (api.BackendWork, error) {
	if r.Force {
		return api.BackendWork{}, fmt.Errorf("%w: it lives", api.ErrConflict)
	}
	c := Compared(true)
	return b.began(fmt.Sprintf("promote %v within %v", r.To, within), r.By, api.BackendWork{Report: &report.Report{
		Steps: []report.Step{{At: r.To, Does: "let HAProxy serve it", Done: true, Took: "3 ms",
			Statements: []string{"SET GLOBAL read_only = 0"}}},
		Seen: []string{"it takes writes"}, Verification: &c}})
}

func (b *Backend) BackendRejoin(
	_ context.Context, r api.BackendRejoinRequest, within time.Duration,
) (api.BackendWork, error) {
	return b.began(fmt.Sprintf("rejoin %v seed=%v within %v", r.Member, r.Seed, within), r.By,
		api.BackendWork{Error: "it lacks 3 transactions"})
}

func (b *Backend) BackendVerify(_ context.Context, repair bool, by string) (api.BackendWork, error) {
	c := Compared(repair)
	return b.began("verify", by, api.BackendWork{Comparison: &c})
}

func (b *Backend) BackendDoctor(_ context.Context, fix bool, by string) (api.BackendWork, error) {
	return b.began("doctor", by, api.BackendWork{Doctor: &report.Examination{Complaints: []report.Complaint{}}})
}
