package server

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// AskGrants asks for the privileges of the account that is logged in, with those of its roles that are active.
var AskGrants = Statement{Text: "SHOW GRANTS"}

// Grants are the answer to AskGrants, see ReadGrants.
func (c *Conn) Grants(ctx context.Context) ([]string, error) {
	rows, err := c.Query(ctx, AskGrants)
	return ReadGrants(rows), err
}

// ReadGrants are the lines that SHOW GRANTS prints.
func ReadGrants(rows []Row) (lines []string) {
	for _, r := range rows {
		lines = append(lines, r.cells...)
	}
	return lines
}

// MissingPrivileges returns those of the required privileges that none of the lines of SHOW GRANTS gives: on the table
// that a privilege names, as in "SELECT ON mysql.event"; else in a database or, where that is "", everywhere.
func MissingPrivileges(required, lines []string, database string) (missing []string) {
	widely := given(lines, database, "")
	for _, r := range required {
		has := widely
		p, table, named := strings.Cut(r, " ON ")
		if named {
			within, _, _ := strings.Cut(table, ".")
			has = given(lines, within, table)
		}
		if !has[p] && !has["ALL PRIVILEGES"] && !has[synonyms[p]] && !(has["SUPER"] && slices.Contains(underSuper, p)) {
			missing = append(missing, r)
		}
	}
	return missing
}

// given are the privileges that lines of SHOW GRANTS give everywhere, in a database or on a table; "" is none.
func given(lines []string, database, table string) map[string]bool {
	has := map[string]bool{}
	for _, line := range lines {
		rest, ok := strings.CutPrefix(line, "GRANT ")
		privileges, on, found := strings.Cut(rest, " ON ")
		on, _, _ = strings.Cut(on, " TO ")
		on = unquoted.Replace(on)
		if !ok || !found || on != "*.*" && (database == "" || !strings.EqualFold(on, database+".*")) &&
			(table == "" || !strings.EqualFold(on, table)) {
			continue
		}
		for p := range strings.SplitSeq(privileges, ",") {
			has[strings.TrimSpace(strings.ToUpper(p))] = true
		}
	}
	return has
}

// unquoted takes away what a name is quoted with.
var unquoted = strings.NewReplacer("`", "", `\`, "")

// The same privilege under the other of its names.
var synonyms = map[string]string{
	"SLAVE MONITOR":            "REPLICA MONITOR",
	"BINLOG MONITOR":           "REPLICATION CLIENT",
	"REPLICATION SLAVE":        "REPLICATION REPLICA",
	"REPLICATION SLAVE ADMIN":  "REPLICATION REPLICA ADMIN",
	"REPLICATION MASTER ADMIN": "REPLICATION SOURCE ADMIN",
}

// What SUPER still stands for on MySQL, which has finer privileges too. MariaDB has taken its part out of SUPER from
// 10.11 on.
var underSuper = []string{"REPLICATION CLIENT", "REPLICATION_SLAVE_ADMIN", "SYSTEM_VARIABLES_ADMIN", "CONNECTION_ADMIN"}

// Grant is the statement that gives privileges to an account, as CURRENT_USER() prints it: everywhere, unless they name
// where.
func Grant(privileges, account string) string {
	on := " ON *.*"
	if strings.Contains(privileges, " ON ") {
		on = ""
	}
	if account == "" {
		return "GRANT " + privileges + on + " TO <the account that we log in with>"
	}
	return "GRANT " + privileges + on + " TO " + QuoteAccount(account)
}

// MissingGrant is the statement that would let a refused statement through; "" where no known privilege is missing.
func MissingGrant(err error) string {
	var r *Refusal
	if !Means(err, PrivilegeMissing) || !errors.As(err, &r) || r.Statement.Needs == "" {
		return ""
	}
	return Grant(r.Statement.Needs, r.Account)
}
