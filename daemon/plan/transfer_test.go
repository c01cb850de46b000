package plan_test

import (
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

func TestTransfer(t *testing.T) {
	for _, c := range []struct {
		name, seen, silent string
		// b and c are what each of the others reaches, after a state: leads, other (backend), nobody (answers).
		b, c string
		want string
	}{
		{"nothing is silent", "db2 db3", "", "db2 db3", "db2 db3", ""},
		{"dead for all", "db2", "db3", "db2", "db2", ""},
		{"another sees all", "db2", "db3", "db2", "db2 db3", "c reaches db3:3306"},
		{"another sees the one and not the other: neither is better", "db2", "db3", "db3", "db3", ""},
		{"two of three are better than one", "db2", "db3 db4", "db2 db4", "", "b reaches db4:3306"},
		{"who leads, too, is not to be given more", "db2", "db3", "leads db2 db3", "", ""},
		{"who has another backend can't take the lease", "db2", "db3", "other db2 db3", "", ""},
		{"who does not answer reaches nobody", "db2", "db3", "nobody db2 db3", "", ""},
		{"who sees nothing yields to anybody who does", "", "db2 db3", "", "db3", "c reaches db3:3306"},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys := func(text string) (out []topology.Key) {
				for _, host := range strings.Fields(text) {
					out = append(out, key(host))
				}
				return out
			}
			answers := map[topology.Key][]plan.Peer{}
			for _, k := range keys(c.seen + " " + c.silent) {
				for name, words := range map[string]string{"b": c.b, "c": c.c} {
					p := plan.Peer{Name: name, Answered: !strings.Contains(words, "nobody"),
						PeerStatus: plan.PeerStatus{Identity: "x", Leading: strings.Contains(words, "leads")}}
					if strings.Contains(words, "other") {
						p.Identity = "y"
					}
					p.Reaches = strings.Contains(words, k.Host)
					answers[k] = append(answers[k], p)
				}
			}
			got := plan.Transfer(plan.PeerStatus{Identity: "x", Leading: true}, keys(c.seen), keys(c.silent), answers)
			if !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestSight(t *testing.T) {
	for _, c := range []struct{ name, drawing, seen, silent string }{
		{"all answer", "db1 down\n  db2\n  db3", "db2 db3", ""},
		{"one is silent", "db1 down\n  db2\n  db3 down=timeout", "db2", "db3"},
		{"one is dead", "db1 down\n  db2\n  db3 down=refused", "db2", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := situation(c.drawing)
			seen, silent := plan.Sight(s, plan.Episode{Failed: key("db1"), Opened: s.Snapshot.At.Add(-time.Second)})
			words := func(keys []topology.Key) string {
				var out []string
				for _, k := range keys {
					out = append(out, k.Host)
				}
				return strings.Join(out, " ")
			}
			if words(seen) != c.seen || words(silent) != c.silent {
				t.Errorf("sees %q, and %q is silent; want %q, %q", words(seen), words(silent), c.seen, c.silent)
			}
		})
	}
}
