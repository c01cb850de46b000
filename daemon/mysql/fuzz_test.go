package mysql

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"orchestrator/daemon/topology"
)

// FuzzProbe is a server of a known version of which one cell of every answer says anything. A probe fails, or makes an
// instance that can be stored and read again.
func FuzzProbe(f *testing.F) {
	versions := []string{"8.4.3", "8.0.20", "10.11.19-MariaDB"}
	for i, text := range []string{"", null, "-1", "99999999999999999999", "a:b:c", "[::1", "Yes", "\x00\xff", "1.5e9",
		source + ":1-9:x", "0-1-5,0-2-7", strings.Repeat("x", 300), "{\"a\":", "db1:70000"} {
		f.Add(uint8(i), uint8(i), text)
	}
	fakes := map[string]*fake{}
	keys := map[string]topology.Key{}
	var now struct {
		sync.Mutex
		at   int
		text string
	}
	t := &testing.T{} // replicaOf fails on a version that can't be read, and these can
	for _, v := range versions {
		fakes[v] = replicaOf(t, v)
		answers := fakes[v].answers
		fakes[v].answers = func(q string) ([]string, [][]string, uint16) {
			columns, rows, errno := answers(q)
			now.Lock()
			defer now.Unlock()
			for i, row := range rows {
				rows[i] = append([]string(nil), row...)
				if len(row) > 0 {
					rows[i][now.at%len(row)] = now.text
				}
			}
			return columns, rows, errno
		}
		keys[v] = listen(f, fakes[v].serve)
	}
	f.Fuzz(func(t *testing.T, which, at uint8, text string) {
		now.Lock()
		now.at, now.text = int(at), text[:min(len(text), 60_000)]
		now.Unlock()
		v := versions[int(which)%len(versions)]
		s := New(Options{User: "orc"})
		defer func() { _ = s.Close() }()
		for range 2 { // the second is a steady poll
			i, failure, err := s.Probe(t.Context(), keys[v])
			fakes[v].taken()
			if err != nil {
				if failure == topology.OK || len(err.Error()) > 4096 {
					t.Errorf("%s: an error of %d bytes", failure, len(err.Error()))
				}
				return
			}
			stored, err := json.Marshal(i)
			if err != nil {
				t.Fatalf("%+v can't be stored: %v", i, err)
			}
			var back topology.Instance
			if err := json.Unmarshal(stored, &back); err != nil {
				t.Fatalf("%s can't be read again: %v", stored, err)
			}
			found := i.Registered
			for _, c := range i.Channels {
				found = append(found, c.Source)
			}
			for _, k := range found {
				if again, err := topology.ParseKey(k.String()); !k.IsZero() && (err != nil || again != k) {
					t.Errorf("it has found %v: %v", k, err)
				}
			}
		}
	})
}
