package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// must runs a command that ends with a code, and returns what it prints.
func (d desk) must(t *testing.T, code int, args ...string) string {
	t.Helper()
	got, out, errs := d.run(t, args...)
	if got != code {
		t.Fatalf("%q: exit %d, want %d: %s%s", args, got, code, out, errs)
	}
	return out
}

func TestTheAuditIsReadAndVerified(t *testing.T) {
	d := newDesk(t, "")
	d.must(t, 0, "recoveries", "off", "--reason", "network works")
	d.must(t, 0, "tag", "web2:3307", "dc=west")
	d.must(t, 1, "rule", "set", "db2", "perfer")
	list := d.must(t, 0, "audit", "--since", "0")
	for _, want := range []string{"nobody proved (signed ann)", "switchRecoveries", "network works", "done",
		"web2:3307 dc in web1:3307", "400: ", "2026-01-01T00:00:10Z"} {
		if !strings.Contains(list, want) {
			t.Errorf("%q is not in:\n%s", want, list)
		}
	}
	for args, want := range map[string]int{"--cluster shop": 1, "--cluster db1": 1, "--who ann": 1, "--who eve": 0,
		"--since 2026-01-01T00:00:11Z": 0, "--since 2026-01-01T00:00:10Z": 3} {
		out := d.must(t, 0, append([]string{"audit", "--since", "0", "-o", "json"}, strings.Fields(args)...)...)
		if got := strings.Count(out, `"number":`); got != want {
			t.Errorf("audit %s lists %d records, want %d: %s", args, got, want, out)
		}
	}
	if out := d.must(t, 0, "audit", "verify"); !strings.Contains(out, "d1: whole") ||
		!strings.Contains(out, "3 records, 1 to 3") {
		t.Errorf("verify says %s", out)
	}
}

func TestABrokenExportIsNamed(t *testing.T) {
	d := newDesk(t, "")
	for _, by := range []string{"bob", "cid", "dan"} {
		d.must(t, 0, "recoveries", "off", "--reason", "works", "--by", by)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole := d.must(t, 0, "audit", "export")
	earlier := write("earlier.json", d.must(t, 0, "audit", "verify", "-o", "json"))
	d.must(t, 0, "audit", "verify", "--file", write("whole", whole), "--against", earlier)
	d.must(t, 0, "audit", "verify", "--against", earlier)
	lines := strings.SplitAfter(strings.TrimSpace(whole), "\n") // the head, and three records
	for name, c := range map[string]struct{ text, says string }{
		"changed":    {strings.ReplaceAll(whole, "cid", "eve"), "record 2 was changed"},
		"removed":    {strings.Replace(whole, lines[2], "", 1), "record 2 is missing"},
		"shortened":  {strings.Replace(whole, lines[3], "", 1), "record 3 is missing"},
		"unreadable": {whole + "\nx\n", "line 6 can't be read"},
	} {
		out := d.must(t, exitNo, "audit", "verify", "--file", write(name, c.text))
		if !strings.Contains(out, c.says) {
			t.Errorf("%s: %q is not in:\n%s", name, c.says, out)
		}
	}
	// Who removes the last records and every trace of them is found by what was noted before.
	cut := write("cut", lines[1]+lines[2])
	d.must(t, 0, "audit", "verify", "--file", cut)
	if out := d.must(t, exitNo, "audit", "verify", "--file", cut, "--against", earlier); !strings.Contains(out,
		"record 3 is missing") {
		t.Error(out)
	}
}

func TestSince(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{"24h": now.Add(-24 * time.Hour), "0": {},
		"2026-01-01T10:00:00Z": time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)} {
		if got, err := sinceTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"-1h", "yesterday", ""} {
		if _, err := sinceTime(text, now); err == nil {
			t.Errorf("%q is a time", text)
		}
	}
}
