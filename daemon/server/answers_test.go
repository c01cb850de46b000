package server

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// A connection that only asks has no buffer and no goroutine of its own between questions.
func TestAConnectionThatOnlyAsksKeepsNoDriver(t *testing.T) {
	address := listen(t, func(p *peer, q string) {
		p.columns("a")
		p.row(q)
		p.send(eof)
	})
	for several, want := range map[bool]bool{true: true, false: false} {
		c := dial(t, address, Options{Several: several})
		if got := c.driver == nil; got != want {
			t.Errorf("several %v: the driver is gone: %v", several, got)
		}
		for range 2 {
			r, err := c.One(t.Context(), question)
			if err != nil || r.Get("a") != question.Text {
				t.Errorf("several %v: %v, %v", several, r, err)
			}
		}
	}
	before := runtime.NumGoroutine() // those of the peers among them
	const conns = 20
	for range conns {
		dial(t, address, Options{Several: true})
	}
	for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before+conns; {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines for %d connections and as many peers", runtime.NumGoroutine()-before, conns)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestALongAnswer(t *testing.T) {
	cell := strings.Repeat("0123456789", 7_000)
	c := dial(t, listen(t, func(p *peer, _ string) {
		p.columns("a", "b")
		for range 20 {
			long := append([]byte{0xfd, byte(len(cell)), byte(len(cell) >> 8), byte(len(cell) >> 16)}, cell...)
			p.send(append(long, text("end")...))
		}
		p.send(eof)
	}), Options{Room: NewRoom(1 << 30)})
	for range 2 {
		rows, err := c.Query(t.Context(), question)
		if err != nil || len(rows) != 20 || rows[19].Long("a") != cell || rows[19].Get("b") != "end" {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
	}
}

// The names of columns are kept once, whichever connection they come from; a server that makes up ever more of them
// fills no memory.
func TestNamesOfColumnsAreShared(t *testing.T) {
	room, n := NewRoom(1<<20), 0
	address := listen(t, func(p *peer, q string) {
		if q == "ODD" {
			n++
			p.columns(strings.Repeat("x", n%200), strings.Repeat("y", n/200))
		} else {
			p.columns("a", "b")
			p.row("1", "2")
		}
		p.send(eof)
	})
	one, two := dial(t, address, Options{Room: room}), dial(t, address, Options{Room: room})
	a, err := one.One(t.Context(), question)
	b, failed := two.One(t.Context(), question)
	if err != nil || failed != nil || &a.names[0] != &b.names[0] {
		t.Errorf("%v, %v, %v, %v", a, err, b, failed)
	}
	for range 2 * mostNamed {
		if _, err := one.Query(t.Context(), Statement{Text: "ODD"}); err != nil {
			t.Fatal(err)
		}
	}
	if len(room.named) > mostNamed {
		t.Errorf("%d lists of names are kept", len(room.named))
	}
	if r, err := two.One(t.Context(), question); err != nil || r.Get("B") != "2" {
		t.Error(r, err)
	}
}

func TestValuesAreQuotedAsTheSessionTakesThem(t *testing.T) {
	var asked string
	status := byte(0)
	c := dial(t, listen(t, func(p *peer, q string) {
		asked = q
		p.send([]byte{0, 0, 0, 2, status, 0, 0})
	}), Options{})
	ask := func(text string, values ...any) string {
		asked = ""
		if _, err := c.Query(t.Context(), Statement{Text: text}, values...); err != nil {
			return err.Error()
		}
		return asked
	}
	for _, q := range []struct {
		text   string
		values []any
		want   string
	}{
		{"SELECT ?", []any{`a\b`}, "is not known before its first answer"},
		{"KILL ?", []any{7}, "KILL 7"},
		{"SELECT ?, ?", []any{"it's", int64(-1)}, "SELECT 'it''s', -1"},
		{"SELECT ?", []any{"?"}, "SELECT '?'"},
		{"SELECT ?", []any{`a\b'`}, `SELECT 'a\\b\''`},
		{"SELECT ?", []any{1, 2}, "places for 1 values, and there are 2"},
		{"SELECT ?", []any{1.5}, "float64 can't be sent"},
	} {
		if got := ask(q.text, q.values...); !strings.Contains(got, q.want) {
			t.Errorf("%s %v: %s, want %s", q.text, q.values, got, q.want)
		}
	}
	status = 2 // of the higher byte: NO_BACKSLASH_ESCAPES
	ask("SELECT 1")
	if got := ask("SELECT ?", `a\b'`); got != `SELECT 'a\b'''` {
		t.Error(got)
	}
}
