package plan_test

import (
	"strings"
	"testing"

	"orchestrator/daemon/plan"
)

const (
	replaced = `
stop_receiver db2
stop_receiver db3
promote db2
repoint db3 db2`
	twoReplicas = `
db1 down
  db2 io=connecting ioerr=2003
  db3 io=connecting ioerr=2003`
)

// Only a server that this failover, a promotion on record or an operator chose, or that was a replica when the primary
// fell silent, is taken for the new primary.
func TestWhoIsTakenForTheNewPrimary(t *testing.T) {
	for _, c := range []struct{ name, drawing, want string }{
		{"a copy that takes writes and has all is not taken", twoReplicas + `
db4 of=db1 rw exec=db1:1-100+db4:1-50`, replaced},
		{"a copy of MariaDB, whose higher number says nothing of what it has", `
db1 mariadb=10.11.6 down
  db2 io=connecting ioerr=2003
  db3 io=connecting ioerr=2003
db4 of=db1 rw exec=0-4-150`, replaced},
		{"a copy that lacks something holds nothing up", twoReplicas + `
db4 of=db1 rw must_not downtime=1h exec=db1:1-80+db4:1-50`, replaced},
		{"a replica that left an hour before the primary died", twoReplicas + `
db4 of=db1 rw left=db1,1h exec=db1:1-100+db4:1-50`, replaced},
		{"a replica of another cluster", twoReplicas + `
db4 of=db1 rw left=db9,1s exec=db1:1-100`, replaced},
		{"a replica that was opened since is the new primary", twoReplicas + `
db4 of=db1 rw left=db1,1s exec=db1:1-100+db4:1-50`, `
repoint db2 db4
repoint db3 db4`},
		{"on MariaDB, where its log shows that it has all, although it has written since", `
db1 mariadb=10.11.6 down
  db2 io=connecting ioerr=2003
  db3 io=connecting ioerr=2003
db4 of=db1 rw left=db1,1s exec=0-4-150 state=0-1-100+0-4-150`, `
repoint db2 db4
repoint db3 db4`},
		{"one of the second tier, too", twoReplicas + `
db4 of=db1 rw left=db2,1s exec=db1:1-100+db4:1-50`, `
repoint db2 db4
repoint db3 db4`},
		{"one that had fetched from a replica that follows it by now", `
db1 down
  db3 io=connecting ioerr=2003
db4 of=db1 rw left=db2,1s exec=db1:1-100
  db2`, `
repoint db3 db4`},
		{"such a one that lacks something: no second one beside it", twoReplicas + `
db4 of=db1 rw left=db1,1s exec=db1:1-90`, `
stop_receiver db2
stop_receiver db3
refused: db4:3306 takes writes already, opened by somebody else since db1:3306 fell silent, and is not taken for the ` +
			`new primary: it lacks 10 transactions that others of its cluster have. To promote another server beside ` +
			`it would split the cluster: make db4:3306 read-only, or stop it`},
		{"such a one with must_not", twoReplicas + `
db4 of=db1 rw must_not left=db1,1s exec=db1:1-100`, `
stop_receiver db2
stop_receiver db3
refused: db4:3306 takes writes already, opened by somebody else since db1:3306 fell silent, and is not taken for the ` +
			`new primary: its promotion rule is must_not. To promote another server beside it would split the ` +
			`cluster: make db4:3306 read-only, or stop it`},
		{"such a one of MariaDB that has written since: what it has is not known", `
db1 mariadb=10.11.6 down
  db2 io=connecting ioerr=2003
db4 of=db1 rw left=db1,1s exec=0-4-150`, `
stop_receiver db2
refused: db4:3306 takes writes already, opened by somebody else since db1:3306 fell silent, and is not taken for the ` +
			`new primary: whether it has what others of its cluster have is not known, because MariaDB names only the ` +
			`last writer, and it has written since. To promote another server beside it would split the cluster: ` +
			`make db4:3306 read-only, or stop it`},
		{"such a one of MariaDB that has written nothing", `
db1 mariadb=10.11.6 down
  db2 io=connecting ioerr=2003
db4 of=db1 rw left=db1,1s exec=0-1-100`, `
repoint db2 db4`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, want := told(plan.Preview(situation(c.drawing))), strings.TrimSpace(c.want); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// Whatever else takes writes is made read-only before a server is opened.
func TestWritersAreFencedBeforeAnotherIsOpened(t *testing.T) {
	for _, c := range []struct {
		name, drawing string
		others        bool // the policy's fence_others
		want          string
	}{
		{"a replica that takes writes", `
db1 down
  db2 rw io=connecting ioerr=2003 prefer_not
  db3 io=connecting ioerr=2003`, false, `
stop_receiver db2
stop_receiver db3
fence db2
promote db3
repoint db2 db3`},
		{"one of the second tier", `
db1 down
  db2 io=connecting ioerr=2003
    db3 rw`, false, `
stop_receiver db2
fence db3
promote db2`},
		{"the candidate itself is opened", `
db1 down
  db2 rw io=connecting ioerr=2003`, false, `
stop_receiver db2
promote db2`},
		{"one with several sources is never changed", `
db1 down
  db2 io=connecting ioerr=2003
  db3 rw io=connecting ioerr=2003 also=db9`, false, `
stop_receiver db2
promote db2
lost: db3 it has several sources, and those are never changed automatically; its channel from db1:3306 must be ` +
			`moved by hand`},
		{"a copy, where the policy says so", twoReplicas + `
db4 of=db1 rw exec=db1:1-100+db4:1-50`, true, `
stop_receiver db2
stop_receiver db3
fence db4
promote db2
repoint db3 db2`},
		{"a copy in downtime is left alone", twoReplicas + `
db4 of=db1 rw downtime=1h exec=db1:1-100+db4:1-50`, true, replaced},
		{"a replica that somebody opened, and that lacks something", twoReplicas + `
db4 of=db1 rw left=db1,1s exec=db1:1-90`, true, `
stop_receiver db2
stop_receiver db3
fence db4
promote db2
repoint db3 db2`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := situation(c.drawing)
			s.Policy.FenceOthers = c.others
			if got, want := told(plan.Preview(s)), strings.TrimSpace(c.want); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
