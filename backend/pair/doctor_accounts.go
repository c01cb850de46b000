package pair

import (
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/server"
)

func (d *doctor) lookGrant(e *Exam) []string {
	_, everywhere := BackendGrants(e.Flavor)
	return []string{server.Grant(strings.Join(everywhere, ", "), d.Backend+"@%")}
}

func (d *doctor) backendGrants(e *Exam) {
	if e.GrantsErr != "" {
		if d.Backend != "" {
			d.say(Complaint{At: e.Key, Code: "privileges",
				Says: fmt.Sprintf("it is not known whether the account %s of the daemons has its privileges: %s",
					d.Backend, e.GrantsErr),
				Do: "create it on both members, with the same password: see docs/backend.md"})
		}
		return
	}
	onDatabase, everywhere := BackendGrants(e.Flavor)
	user := d.Backend + "@%"
	if missing := server.MissingPrivileges(onDatabase, e.Grants, d.Database); len(missing) > 0 {
		d.say(Complaint{At: e.Key, Code: "privileges",
			Says: fmt.Sprintf("the account %s of the daemons lacks %s in the database", d.Backend,
				strings.Join(missing, ", ")),
			Statements: []string{grantOn(missing, d.Database, user)}})
	}
	if missing := server.MissingPrivileges(everywhere, e.Grants, ""); len(missing) > 0 {
		d.say(Complaint{At: e.Key, Code: "privileges",
			Says: fmt.Sprintf("the account %s of the daemons lacks %s: they can't see whether this member has "+
				"applied everything", d.Backend, strings.Join(missing, ", ")),
			Statements: []string{server.Grant(strings.Join(missing, ", "), user)}})
	}
}

// systemAccounts are created by the installation of a server; each server has its own.
var systemAccounts = []string{"mysql.", "mariadb.sys", "root", "debian-sys-maint", "mysql", ""}

// accounts compares the accounts. An account that one member lacks can't log in after a switch; and a statement that
// changes it stops replication.
func (d *doctor) accounts(e, other *Exam) {
	if e.AccountsErr != "" {
		d.say(Complaint{At: e.Key, Code: "accounts", Says: "its accounts can't be compared with the other member's: " +
			e.AccountsErr, Do: "use an account that may read mysql.user"})
		return
	}
	if other.AccountsErr != "" {
		return
	}
	for _, a := range other.Accounts {
		user, _, _ := strings.Cut(a, "@")
		system := slices.ContainsFunc(systemAccounts, func(s string) bool {
			return user == s || strings.HasSuffix(s, ".") && strings.HasPrefix(user, s)
		})
		if system || slices.Contains(e.Accounts, a) {
			continue
		}
		says := fmt.Sprintf("it lacks the account %s, which %v has", server.QuoteAccount(a), other.Key)
		if c := other.From(e.Key); user == d.Backend {
			says += ": no daemon can log in after a switch"
		} else if c != nil && c.User == user {
			says += ": the other member replicates with it"
		} else {
			says += ": a change of it there stops replication here"
		}
		d.say(Complaint{At: e.Key, Code: "accounts", Says: says,
			Do: fmt.Sprintf("copy it with its password: at %v SHOW CREATE USER %s; SHOW GRANTS FOR %s; here SET "+
				"SESSION sql_log_bin = 0, and then both",
				other.Key, server.QuoteAccount(a), server.QuoteAccount(a))})
	}
	if d.Backend != "" && !slices.ContainsFunc(e.Accounts,
		func(a string) bool { return strings.HasPrefix(a, d.Backend+"@") }) &&
		!slices.ContainsFunc(other.Accounts, func(a string) bool { return strings.HasPrefix(a, d.Backend+"@") }) {
		d.say(Complaint{At: e.Key, Code: "accounts", Says: fmt.Sprintf("it lacks the account %s of the daemons",
			d.Backend), Do: "create it, with the grants in docs/backend.md"})
	}
}
