//go:build crash

package mysql

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"orchestrator/daemon/server"
)

// crash kills the process at one point of a recovery, for tests that are built with this tag: just before, or just
// after, one of the statements by which steps change servers. CrashVariable says at which point, counted from 1.
type crash struct{ passed atomic.Int64 }

// CrashVariable is the environment variable with the number of the point.
const CrashVariable = "ORCHESTRATOR_CRASH_AT"

func (c *crash) point(q server.Statement) {
	if strings.HasPrefix(q.Text, "SELECT") || strings.HasPrefix(q.Text, "SHOW") || strings.HasPrefix(q.Text, "XA") {
		return
	}
	if at, err := strconv.ParseInt(os.Getenv(CrashVariable), 10, 64); err == nil && c.passed.Add(1) == at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // nothing more is sent
	}
}
