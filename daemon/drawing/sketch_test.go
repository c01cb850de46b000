package drawing

import (
	"strings"
	"testing"
)

func TestSketch(t *testing.T) {
	got := Sketch(MustParse(`
db1 mysql=8.4.2 semisync
  db2 recv=1-120 exec=1-100 lag=30s prefer
    db5 delay=1h nologupdates
  db3 io=connecting ioerr=2003 also=db9 downtime=1h
  db4 down=timeout since=3s
  db6 sql=no sqlerr=1062 nobinlog
db7 of=db1 never
db8 of=db1 ro stalled=disk_full
`))
	want := `
db1:3306      writable   mysql 8.4.2  semi-sync
  db2:3306    read-only  mysql 8.4.2  replicating, 20 transactions to apply, 30s behind, prefer
    db5:3306  read-only  mysql 8.4.2  replicating, delayed by 1h0m0s, does not log what it replicates
  db3:3306    read-only  mysql 8.4.2  sources db1:3306 and db9:3306, receiver connecting (error 2003), replicating, in downtime
  db4:3306    DOWN       mysql 8.4.2  timeout for 3s
  db6:3306    read-only  mysql 8.4.2  applier stopped (error 1062), no binary log
db7:3306      DOWN                    timeout for 5s
db8:3306      read-only  mysql 8.4.2  commits hang for 30s: disk full
`
	if got != strings.TrimPrefix(want, "\n") {
		t.Errorf("got\n%s", got)
	}
}
