package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/topology"
)

// CheckGrants returns the GRANT statements that our account lacks at k, in the words of that server; none when it has all. An error is a
// server that could not be asked.
func (s *Servers) CheckGrants(ctx context.Context, k topology.Key) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.StepTimeout)
	defer cancel()
	c, err := s.connect(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("check grants at %v: %w", k, explain(err))
	}
	defer c.close()
	var n known
	if err := n.recognise(ctx, c); err != nil {
		return nil, fmt.Errorf("check grants at %v: %w", k, err)
	}
	rows, err := c.query(ctx, showGrants)
	if err != nil {
		return nil, fmt.Errorf("check grants at %v: %w", k, err)
	}
	var lines []string
	for _, r := range rows {
		for _, line := range r {
			lines = append(lines, line)
		}
	}
	if missing := missing(n.dialect.privileges, lines); len(missing) > 0 {
		return []string{grant(strings.Join(missing, ", "), n.account)}, nil
	}
	return nil, nil
}

// missing returns those of the wanted global privileges that no line of SHOW GRANTS gives.
func missing(want, lines []string) []string {
	has := map[string]bool{}
	for _, line := range lines {
		rest, ok := strings.CutPrefix(line, "GRANT ")
		given, _, global := strings.Cut(rest, " ON *.* TO ")
		if !ok || !global {
			continue
		}
		for p := range strings.SplitSeq(given, ",") {
			has[strings.TrimSpace(strings.ToUpper(p))] = true
		}
	}
	var out []string
	for _, p := range want {
		if !has[p] && !has["ALL PRIVILEGES"] && !has[synonyms[p]] && !(has["SUPER"] && slices.Contains(underSuper, p)) {
			out = append(out, p)
		}
	}
	return out
}

// The same privilege under the other of its names.
var synonyms = map[string]string{
	"SLAVE MONITOR":            "REPLICA MONITOR",
	"BINLOG MONITOR":           "REPLICATION CLIENT",
	"REPLICATION SLAVE":        "REPLICATION REPLICA",
	"REPLICATION SLAVE ADMIN":  "REPLICATION REPLICA ADMIN",
	"REPLICATION MASTER ADMIN": "REPLICATION SOURCE ADMIN",
}

// What SUPER still stands for on servers that have finer privileges too. MariaDB has taken its part out of SUPER from 10.11 on.
var underSuper = []string{"REPLICATION_SLAVE_ADMIN", "SYSTEM_VARIABLES_ADMIN", "CONNECTION_ADMIN"}

// quoteAccount turns CURRENT_USER()'s user@host into what GRANT takes.
func quoteAccount(account string) string {
	i := strings.LastIndexByte(account, '@')
	if i < 0 {
		return "<the account that we log in with>"
	}
	quote := func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'" }
	return quote(account[:i]) + "@" + quote(account[i+1:])
}
