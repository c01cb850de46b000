package mysql

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Anybody who may replicate can make the list of those that have registered long. It is read as far as it matters, and
// where it is too long for that, the server is asked for all else.
func TestALongListOfRegisteredReplicas(t *testing.T) {
	for _, c := range []struct {
		name    string
		n, wide int
		read    int
		asked   int // how often, by three probes after changes
	}{{"few", 3, 1, 3, 3}, {"many", 30_000, 1, mostRegistered, 1}, {"too many to be read", 60_000, 200, 0, 1}} {
		t.Run(c.name, func(t *testing.T) {
			f := replicaOf(t, "8.4.3")
			answers := f.answers
			asked := 0
			f.answers = func(q string) ([]string, [][]string, uint16) {
				if q != "SHOW REPLICAS" {
					return answers(q)
				}
				asked++
				var rows [][]string
				for n := range c.n {
					host := fmt.Sprintf("%s%d", strings.Repeat("h", c.wide), n)
					rows = append(rows, []string{"7", host, "3306", "1", "u"})
				}
				return []string{"Server_Id", "Host", "Port", "Source_Id", "Replica_UUID"}, rows, 0
			}
			s := New(Options{User: "orc", ProbeTimeout: 20 * time.Second})
			defer s.Close()
			k := f.start(t)
			for range 3 {
				i, failure, err := s.Probe(t.Context(), k)
				if err != nil || len(i.Registered) != c.read || len(i.Channels) != 1 {
					t.Fatalf("%q, %v: %d are registered", failure, err, len(i.Registered))
				}
				if got := slices.ContainsFunc(i.Unusable, func(text string) bool {
					return strings.Contains(text, "too long to be read")
				}); got != (c.read == 0) {
					t.Errorf("unusable: %q", i.Unusable)
				}
				v, err := s.server(k)
				if err != nil {
					t.Fatal(err)
				}
				v.changed.Store(true)
			}
			if asked != c.asked {
				t.Errorf("the list is asked for %d times, want %d", asked, c.asked)
			}
		})
	}
}
