package hostile_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/tests/hostile"
	"orchestrator/tests/lab"
)

// says answers what a backend is asked at first, as a good one does, and all else with an act.
func says(then hostile.Act) hostile.Act {
	return func(s *hostile.Session) {
		q := string(s.Question[1:])
		switch {
		case strings.Contains(q, "SHOW VARIABLES"):
			s.Head("Variable_name", "Value")
			for _, v := range [][2]string{{"autocommit", "ON"}, {"binlog_format", "STATEMENT"}, {"log_bin", "ON"},
				{"max_allowed_packet", "67108864"}, {"read_only", "OFF"}, {"super_read_only", "OFF"},
				{"server_uuid", "11111111-1111-1111-1111-111111111111"}, {"version", "8.4.0"}} {
				s.Row(v[0], v[1])
			}
			s.Send(hostile.EOF)
		case strings.Contains(q, "MAX(version)"):
			s.Head("newest", "holder", "term", "beat")
			s.Row("0", "", "0", "0")
			s.Send(hostile.EOF)
		case strings.Contains(q, "FROM record"):
			then(s)
		default:
			s.Send(hostile.OK)
		}
	}
}

// records without end, each with a document of so many bytes.
func records(size int) hostile.Act {
	return func(s *hostile.Session) {
		s.Head("kind", "key", "version", "writer", "deleted", "document")
		for n := 0; !s.Over(); n++ {
			s.Row("instance", fmt.Sprint(n), "1", "w", "0", strings.Repeat("x", size))
		}
	}
}

// A backend, or what answers at its address, must not end or fill the daemon either.
func TestABackendThatAnswersBadly(t *testing.T) {
	acts := map[string]hostile.Act{
		"endless records":         says(records(8000)),
		"endless empty records":   says(records(0)),
		"endless long records":    says(records(1 << 20)),
		"2^40 columns of records": says(hostile.Columns(1 << 40)),
		"records of another shape": says(func(s *hostile.Session) {
			s.Head("a")
			s.Row("x")
			s.Send(hostile.EOF)
		}),
		"records that can't be read": says(func(s *hostile.Session) {
			s.Head("kind", "key", "version", "writer", "deleted", "document")
			s.Row("instance", "\x00", "9223372036854775807", "\xff", "0", "{")
			s.Row("downtime", "db1", "-1", "w", "0", `{"key":{}}`)
			s.Send(hostile.EOF)
		}),
		"noise for records":      says(hostile.Answers["noise"]),
		"endless identity":       hostile.Answers["endless rows"],
		"endless short identity": hostile.Answers["endless short rows"],
		"endless answers":        says(hostile.Answers["endless answers"]),
	}
	for _, name := range slices.Sorted(maps.Keys(acts)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lab.Test(t)
			address, err := l.Address()
			if err != nil {
				t.Fatal(err)
			}
			v, err := hostile.Listen(address, nil, acts[name])
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(v.Close)
			secret := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(secret, []byte(strings.Repeat("s", 32)), 0o600); err != nil {
				t.Fatal(err)
			}
			d, err := l.LaunchDaemon(lab.DaemonSpec{Binary: binary, Backend: fmt.Sprintf(`[backend]
kind = "mysql"
path = "journal.db"
address = %q
password_file = %q
[peers]
daemons = ["http://127.0.0.1:1"]
secret_file = %q`, v.Key, secret, secret)})
			if err != nil {
				t.Fatal(err)
			}
			ready := func() (int, error) {
				a, err := http.Get(d.URL + "/health/ready")
				if err != nil {
					return 0, err
				}
				return a.StatusCode, a.Body.Close()
			}
			// It connects again after each answer that makes no sense, so two were read to their end then.
			code, err := ready()
			for end := time.Now().Add(time.Minute); v.Met() < 3 || err != nil; code, err = ready() {
				if d.Pid() == 0 {
					t.Fatalf("the daemon has ended; its log: %s", d.Log())
				}
				if time.Now().After(end) {
					t.Fatalf("the backend was asked %d times; ready: %d, %v", v.Met(), code, err)
				}
				time.Sleep(20 * time.Millisecond)
			}
			if code == http.StatusOK {
				t.Error("the daemon says that it is ready")
			}
			if used := peakOf(t, d); used > 350<<20 { // an answer may have 128 MB
				t.Errorf("the daemon needed %d MB", used>>20)
			}
		})
	}
}
