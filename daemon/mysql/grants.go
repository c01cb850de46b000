package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// privilege is a row of the table: what our account needs, and what is lost where it lacks that.
type privilege struct {
	word    server.Word
	without string
}

var privileges = []privilege{
	{server.MayReadStatus, "the server can't be probed"},
	{server.MayReadBinlog, "a server without GTID can't be probed, nor what MariaDB has purged"},
	{server.MayListReplicas, "replicas are found by their connections only"},
	{server.MayReplicate, "replicas are found by their connections only"},
	{server.MaySeeThreads, "stalled commits are not seen, and a fence can't disconnect clients"},
	{server.MayAdminister, "nothing can be recovered"},
	{server.MayReload, "no server can be promoted"},
	{server.MaySetReadOnly, "no server can be promoted or fenced"},
	{server.MayKill, "a fence can't disconnect clients"},
	{server.MayEndSystem, "a fence can't disconnect clients that have SYSTEM_USER, and an applier that waits for the " +
		"rest of a transaction goes on for a minute after a promotion, with its locks"},
	{server.MaySetEvents, "a fence can't stop scheduled events, and those of MariaDB write on a read-only server"},
	{server.MaySeeEvents, "scheduled events that nobody runs after a promotion are not named"},
}

// seesLocks is what MySQL's performance_schema needs.
const seesLocks = "a full disk is not told from other stalls, nor who holds a lock of the whole server"

// CheckGrants returns the GRANT statements that our account lacks at k, in the words of that server; none when it has
// all. An error is a server that could not be asked.
func (s *Servers) CheckGrants(ctx context.Context, k topology.Key) ([]topology.Ungranted, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.StepTimeout)
	defer cancel()
	missing, err := s.checkGrants(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("check grants at %v: %w", k, explain(err))
	}
	return missing, nil
}

func (s *Servers) checkGrants(ctx context.Context, k topology.Key) ([]topology.Ungranted, error) {
	c, err := s.connect(ctx, k)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Recognise(ctx); err != nil {
		return nil, err
	}
	lines, err := c.Grants(ctx)
	if err != nil {
		return nil, err
	}
	return missing(c.Dialect, lines, c.Account), nil
}

// missing reads the lines of SHOW GRANTS: those of the account, and of the roles that are active in this session, as in
// each of ours, for none of them sets a role.
func missing(d server.Dialect, lines []string, account string) (out []topology.Ungranted) {
	for _, p := range privileges {
		if lacks := server.MissingPrivileges(d.Privileges(p.word), lines, ""); len(lacks) > 0 {
			out = append(out, topology.Ungranted{Grant: server.Grant(strings.Join(lacks, ", "), account),
				Without: p.without})
		}
	}
	const schema = "performance_schema"
	if !d.MariaDB() && len(server.MissingPrivileges([]string{"SELECT"}, lines, schema)) > 0 {
		out = append(out, topology.Ungranted{Grant: server.Grant("SELECT ON "+schema+".*", account),
			Without: seesLocks})
	}
	return out
}

// readGrants notes what our account lacks.
func (p *poll) readGrants(rows []server.Row) error {
	p.known.instance.Ungranted = missing(p.conn.Dialect, server.ReadGrants(rows), p.conn.Account)
	return nil
}

// reportMissing logs what our account lacks since now. Once it lacks nothing any more it has to log in again: a session
// keeps the privileges that it began with.
func (s *Servers) reportMissing(k topology.Key, v *kept, before []topology.Ungranted) {
	now := v.known.instance.Ungranted
	for _, m := range now {
		if !slices.Contains(before, m) {
			s.logger.Warn("the account on this server lacks a privilege", "at", k, "grant", m.String())
		}
	}
	if len(before) > 0 && len(now) == 0 {
		v.hangUp()
	}
}
