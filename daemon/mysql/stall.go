package mysql

import (
	"context"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// readThreads looks for stalled commits, and for replicas that came or went.
func (n *known) readThreads(ctx context.Context, c *server.Conn, rows []server.Row, now time.Time) {
	stalled, dumps := stall(readThreads(rows))
	n.nameDiskFull(ctx, c, stalled)
	n.instance.Stalled = stalled
	if len(n.dumps) > 0 && dumps != n.dumps[0] {
		n.readAt = now.Add(-readAllEvery) // ask who is registered at the next probe
	}
	n.stallsAt, n.dumps = now, append([]int{dumps}, n.dumps[:min(len(n.dumps), looks-1)]...)
	n.countReaders()
}

// stall picks the worst of the hanging commits, and counts the binary log dump threads.
func stall(threads []thread) (worst *topology.Stall, readers int) {
	count := 0
	for _, t := range threads {
		if dumps(t.command) {
			readers++
			continue
		}
		one := topology.Stall{State: t.state, Seconds: t.seconds, Cause: "commit"}
		lower := strings.ToLower(t.state)
		switch {
		case strings.Contains(lower, "free space"):
			one.Cause = "disk_full"
		case strings.Contains(lower, "semi-sync ack"):
			one.Cause = "semi_sync"
		case strings.Contains(lower, "read lock"), strings.Contains(lower, "backup lock"),
			strings.Contains(lower, "commit lock"):
			one.Cause = "lock"
		}
		count++
		if worst == nil || worse(one, *worst) {
			worst = &one
		}
	}
	if worst != nil {
		worst.Count = count
	}
	return worst, readers
}

func worse(a, b topology.Stall) bool {
	return rank(a.Cause) > rank(b.Cause) || rank(a.Cause) == rank(b.Cause) && a.Seconds > b.Seconds
}

// rank: a full disk is why the others wait; those that wait for a lock may do so because its holder waits itself.
func rank(cause string) int {
	return slices.Index([]string{"lock", "commit", "semi_sync", "disk_full"}, cause)
}

// nameDiskFull finds the reason that MySQL 8 and later keep out of the thread's state ("waiting for handler commit"):
// the error that the first of the waiting commits logged. Where it can't be asked for, it stays a commit that hangs.
func (n *known) nameDiskFull(ctx context.Context, c *server.Conn, s *topology.Stall) {
	if s == nil || s.Cause != "commit" || n.questions.diskFull.Text == "" {
		return
	}
	r, err := c.One(ctx, n.questions.diskFull, s.Seconds+5)
	if err == nil && r.Uint("complaints") > 0 {
		s.Cause = "disk_full"
	}
}
