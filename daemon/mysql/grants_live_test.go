package mysql_test

import (
	"strings"
	"testing"

	"orchestrator/daemon/mysql"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// What the account has by a role counts where the role is active, also the role of a role.
func TestPrivilegesByRoles(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		s, err := l.Start(t.Context(), lab.Spec{Flavor: f})
		if err != nil {
			t.Fatal(err)
		}
		exec := func(statements ...string) {
			t.Helper()
			if err := s.Exec(t.Context(), statements...); err != nil {
				t.Fatal(err)
			}
		}
		of := func(user string) string {
			t.Helper()
			asking := mysql.New(mysql.Options{User: user, Password: "role-secret", Security: lab.Security()})
			defer asking.Close()
			missing, err := asking.CheckGrants(t.Context(), s.Key)
			if err != nil {
				t.Fatal(err)
			}
			var all []string
			for _, m := range missing {
				all = append(all, m.String())
			}
			return strings.Join(all, "\n")
		}
		rest, byRole := "ALL PRIVILEGES ON *.*", "RELOAD, PROCESS ON *.*"
		exec("SET GLOBAL read_only = 0", "CREATE ROLE deep, watcher", "GRANT deep TO watcher",
			"GRANT "+byRole+" TO deep", "CREATE USER role@'%' IDENTIFIED BY 'role-secret'",
			"GRANT "+rest+" TO role@'%'", "REVOKE "+byRole+" FROM role@'%'", "GRANT watcher TO role@'%'")
		for _, lost := range []string{"RELOAD", "PROCESS"} {
			if got := of("role"); !strings.Contains(got, "GRANT "+lost+" ON *.* TO 'role'@'%': without it, ") {
				t.Errorf("the role is not active, and %s is not missing: %s", lost, got)
			}
		}
		if f == lab.MariaDB {
			exec("SET DEFAULT ROLE watcher FOR role@'%'")
		} else {
			exec("SET DEFAULT ROLE ALL TO role@'%'")
		}
		if got := of("role"); got != "" {
			t.Errorf("the role is active, and missing is: %s", got)
		}
	})
}
