//go:build !crash

package mysql

import "orchestrator/daemon/server"

// crash does nothing in the programs that are shipped; see crash_on.go.
type crash struct{}

func (*crash) point(server.Statement) {}
