package mysql

import (
	"context"
	"strings"
	"time"

	"orchestrator/daemon/server"
)

// writeBound is how long a commit of our own may take. One that hangs is ended on the server, too.
const writeBound = 2 * time.Second

// tryWrite replaces the one row of the operator's table. Our account may write to a read-only server, so what is not
// open is refused here: that row would be a transaction that no other server has.
func (t *site) tryWrite(ctx context.Context, table string) error {
	if t.ReadOnly || t.SuperReadOnly {
		return &ErrExpect{"it is read-only", "a server that takes writes", "read_only = 1"}
	}
	ctx, cancel := context.WithTimeout(ctx, writeBound)
	defer cancel()
	_, err := t.Query(ctx, heartbeat(table), time.Now().UTC().Format("2006-01-02 15:04:05.000000"))
	return err
}

func heartbeat(table string) server.Statement {
	database, name, _ := strings.Cut(table, ".")
	quoted := server.QuoteName(database) + "." + server.QuoteName(name)
	return server.Statement{Text: "REPLACE INTO " + quoted + " (id, at) VALUES (1, ?)",
		Needs: "INSERT, DELETE ON " + quoted}
}
