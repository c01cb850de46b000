package analysis_test

import "testing"

// A stranger is seen, and is no evidence: neither of a death nor of a life.
func TestStrangers(t *testing.T) {
	check(t, []picture{
		{"a moment ago", `
db1
  db2
  db9 stranger=unconfirmed,2s`, ``},
		{"for a while", `
db1
  db2
  db9 stranger=unconfirmed,20s`, `db9 Stranger`},
		{"it has more than its source", `
db1
  db2
  db9 stranger=ahead recv=1-900`, `db9 Stranger`},
		{"the configuration leaves it out", `
db1 readers=2
  db2
  db9 stranger=not_admitted`, ``},
		{"it is no witness", `
db1 down
  db2 io=no
  db9 ioerr=2003 stranger`, `db1 UnreachablePrimary, db2 ReplicaStopped, db9 Stranger`},
		{"what it says of a dead primary is no proof of life", `
db1 down
  db2 ioerr=2003
  db9 stranger=ahead`, `db1 DeadPrimary, db9 Stranger`},
		{"it has no vote", `
db1 down=timeout
  db2 ioerr=2003
  db3 ioerr=2003
  db7 stranger=unconfirmed,1s down=timeout
  db8 stranger=unconfirmed,1s down=timeout
  db9 stranger=unconfirmed,1s down=timeout`, `db1 DeadPrimary`},
		{"names that never answered", `
db1 registered=db2+db8+db9
  db2
db8 never of=db1 down=timeout since=600s stranger
db9 never of=db1 down=timeout since=600s stranger`, `db1 UnknownReader`},
		{"it takes writes", `
db1
  db2
db9 of=db1 rw stranger=unconfirmed,1s`, ``},
		{"it is a cluster of its own only where it has never belonged to another", `
db9 stranger=unconfirmed,1m`, `db9 Stranger`},
		{"there are too many", `
db1 left_out=99900
  db2`, `db1 TooManyRegistered`},
	})
}
