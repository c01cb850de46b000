package backend_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
)

// A record that a daemon with a wrong clock has written can be changed all the same, and the clock does not follow it.
// Where nothing can win, that is what is said, and not OK.
func TestAWriteThatDoesNotWinSaysSo(t *testing.T) {
	for name, far := range map[string]int64{
		"ten years ahead":    time.Now().AddDate(10, 0, 0).UnixMicro(),
		"the highest number": math.MaxInt64,
	} {
		s, c := &storetest.Memory{}, backend.NewClock(time.Now)
		wrong := backend.Record{Kind: "downtime", Key: "db1:3306", Version: far, Writer: "other",
			Document: []byte(`{}`)}
		if err := s.Put(t.Context(), wrong); err != nil {
			t.Fatal(err)
		}
		mine := backend.Record{Kind: "downtime", Key: "db1:3306", Writer: "me", Document: []byte(`{"reason":"x"}`)}
		_, err := backend.Write(t.Context(), s, c, mine)
		if far == math.MaxInt64 {
			if err == nil || !strings.Contains(err.Error(), "no write can win") {
				t.Errorf("%s: %v", name, err)
			}
		} else if got, _ := s.Get(t.Context(), "downtime", "db1:3306"); err != nil || got.Writer != "me" {
			t.Errorf("%s: %v, and %s has written what is stored", name, err, got.Writer)
		}
		if v := c.Next(); v > time.Now().Add(time.Minute).UnixMicro() {
			t.Errorf("%s: the clock follows it to %d", name, v)
		}
		if len(c.Runaway()) != 1 {
			t.Errorf("%s: it is not reported", name)
		}
	}
}
