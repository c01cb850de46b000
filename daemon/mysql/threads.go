package mysql

import (
	"context"
	"errors"
	"slices"
	"strings"

	"orchestrator/daemon/server"
)

// thread is one that a stalled commit or a replica shows in.
type thread struct {
	command, state string
	seconds        int64
}

func readThreads(rows []server.Row) (out []thread) {
	for _, r := range rows {
		if command := r.Get("command"); command != "" { // else there is none, and the row is there for the rest
			out = append(out, thread{command, r.Get("state"), r.Int("seconds", "time")})
		}
	}
	return out
}

// listThreads needs no table. MariaDB makes one on disk for each question that reads information_schema.PROCESSLIST:
// where there is no space in its tmpdir, it answers with an error, and the rest of the poll with it. The list has all
// threads, so the tables are asked first.
var listThreads = server.Statement{Text: "SHOW PROCESSLIST", Needs: process}

// askThreads asks a table of the threads, or lists those that fit where the server can't make the table.
func askThreads(ctx context.Context, c *server.Conn, q server.Statement, fits func(server.Row) bool, args ...any) (
	[]server.Row, error) {
	rows, err := c.Query(ctx, q, args...)
	if err == nil || server.Number(err) == 0 || !survives(err) {
		return rows, err
	}
	rows, err = c.Query(ctx, listThreads)
	return filter(rows, fits), err
}

// noTable says that the table of threads is why a poll has failed.
func (n *known) noTable(err error) bool {
	var r *server.Refusal
	return errors.As(err, &r) && r.Statement.Text == n.questions.pollWithThreads.Text && server.Number(err) != 0 &&
		survives(err)
}

// The conditions of questions.go, for the list.

func isOfInterest(r server.Row) bool {
	state, seconds := strings.ToLower(r.Get("state")), r.Int("time")
	commits := strings.HasPrefix(strings.ToUpper(r.Get("info")), "COMMIT")
	switch {
	case isDump(r), strings.Contains(state, "free space"):
		return true
	case strings.Contains(state, "semi-sync ack"):
		return seconds >= 2
	case strings.Contains(state, "commit"):
		return seconds >= 5
	}
	return seconds >= 5 && (slices.Contains(hangAtLocks, state) || commits && slices.Contains(hangAtCommit, state))
}

var (
	hangAtLocks  = []string{"waiting for global read lock", "waiting for backup lock"}
	hangAtCommit = []string{"starting", "query end", "end"}
)

func isDump(r server.Row) bool { return dumps(r.Get("command")) }

// dumps says that a thread of this command sends the binary log to somebody.
func dumps(command string) bool { return strings.HasPrefix(command, "Binlog Dump") }

func isClient(r server.Row) bool {
	return !isDump(r) && !slices.Contains([]string{"system user", "event_scheduler", ""}, r.Get("user")) &&
		!slices.Contains([]string{"Daemon", "Slave_IO", "Slave_SQL", "Slave_worker"}, r.Get("command"))
}

// waitsForLock says that a thread waits for one of our locks.
func waitsForLock(r server.Row) bool {
	return r.Get("state") == "User lock" && strings.Contains(r.Get("info"), "orchestrator")
}

func filter(rows []server.Row, keep func(server.Row) bool) (out []server.Row) {
	for _, r := range rows {
		if keep(r) {
			out = append(out, r)
		}
	}
	return out
}
