package server

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"orchestrator/daemon/topology"
)

// peer is the server's side of a connection: it lets everybody in, and answers each question as answer does.
type peer struct {
	net.Conn
	seq byte
}

// listen returns the address of a server that answers each question as answer does, after the login.
func listen(t *testing.T, answer func(p *peer, question string)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.43.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				(&peer{Conn: c}).serve(answer)
			}()
		}
	}()
	return l.Addr().String()
}

var ok, eof = []byte{0, 0, 0, 2, 0, 0, 0}, []byte{0xfe, 0, 0, 2, 0}

// greeting is that of a server that can this besides what each can.
func greeting(besides uint32) []byte {
	// protocol 4.1, long authentication data, plugins, several statements at once, long passwords
	capabilities := 0x200 | 0x8000 | 0x80000 | 0x30000 | 1 | besides
	g := append([]byte{10}, "8.4.0\x00\x01\x00\x00\x00abcdefgh\x00"...)
	g = binary.LittleEndian.AppendUint16(g, uint16(capabilities))
	g = append(g, 45, 2, 0)
	g = binary.LittleEndian.AppendUint16(g, uint16(capabilities>>16))
	return append(g, "\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ijklmnopqrst\x00mysql_native_password\x00"...)
}

func (p *peer) serve(answer func(p *peer, question string)) {
	p.send(greeting(0))
	if p.receive() == nil {
		return
	}
	p.send(ok)
	for {
		q := p.receive()
		if len(q) == 0 || q[0] != 3 {
			return
		}
		answer(p, string(q[1:]))
	}
}

func (p *peer) send(data []byte) {
	_, _ = p.Write(append([]byte{byte(len(data)), byte(len(data) >> 8), byte(len(data) >> 16), p.seq}, data...))
	p.seq++
}

func (p *peer) receive() []byte {
	var h [4]byte
	if _, err := io.ReadFull(p, h[:]); err != nil {
		return nil
	}
	data := make([]byte, int(h[0])|int(h[1])<<8|int(h[2])<<16)
	if _, err := io.ReadFull(p, data); err != nil {
		return nil
	}
	p.seq = h[3] + 1
	return data
}

// What a server says is kept, shown and stored: a text has the length of what servers say, and a position, or a list of
// sources, that is longer than any is refused.
func TestHowMuchAServerSaysOfItself(t *testing.T) {
	long := strings.Repeat("x", longRow)
	r := Row{names: []string{"a"}, cells: []string{long}}
	if got := r.Get("a"); len(got) > longestText+len("…") || r.Long("a") != long {
		t.Errorf("a text of %d bytes is one of %d, or %d", len(long), len(got), len(r.Long("a")))
	}
	if e := errorIn([]byte("\xff\x28\x04#HY000" + long)).Error(); len(e) > longestText+100 {
		t.Errorf("an error has %d bytes", len(e))
	}
	out, err := cells(append([]byte{0xfc, 0, 0x40}, long+"\x01y\xfb"...), 3)
	if err != nil || !slices.Equal(out, []string{long, "y", ""}) {
		t.Errorf("a long row: %v", err)
	}
	for _, column := range []string{"executed", "binlog_state"} {
		set := strings.Repeat("0-1-2,", longestPosition/6+1)
		_, err := ReadPositions(Row{names: []string{column}, cells: []string{set}}, nil)
		if !errors.Is(err, ErrTooMuch) {
			t.Errorf("%s of %d bytes: %v", column, len(set), err)
		}
	}
	set := Row{names: []string{"source_host", "source_port", "retrieved_gtid_set"}, cells: []string{"db1", "1",
		strings.Repeat(" ", longestPosition+1)}}
	_, err = ReadChannels([]Row{set}, Dialect{Flavor: topology.MySQL}, Positions{}, nil)
	if !errors.Is(err, ErrTooMuch) {
		t.Errorf("what it has received: %v", err)
	}
	if _, err := ReadChannels(make([]Row, mostChannels+1), Dialect{}, Positions{}, nil); !errors.Is(err, ErrTooMuch) {
		t.Errorf("%d sources: %v", mostChannels+1, err)
	}
}

// text is a string of less than 251 bytes as the protocol has it.
func text(s string) []byte { return append([]byte{byte(len(s))}, s...) }

// columns begins an answer.
func (p *peer) columns(names ...string) {
	p.send([]byte{byte(len(names))})
	for _, name := range names {
		d := text("def")
		for _, s := range []string{"", "", "", name, name} {
			d = append(d, text(s)...)
		}
		p.send(append(d, 12, 45, 0, 255, 0, 0, 0, 253, 0, 0, 0, 0, 0))
	}
	p.send(eof)
}

func (p *peer) row(cells ...string) {
	var b []byte
	for _, s := range cells {
		if s == "NULL" {
			b = append(b, 0xfb)
			continue
		}
		b = append(b, text(s)...)
	}
	p.send(b)
}

func dial(t *testing.T, address string, o Options) *Conn {
	t.Helper()
	o.User, o.Timeout = "u", 5*time.Second
	c, err := Dial(t.Context(), address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var question = Statement{Text: "SELECT 1"}

func TestRowsAreReadByNameInAnyCase(t *testing.T) {
	c := dial(t, listen(t, func(p *peer, _ string) {
		p.columns("Source_Host", "Seconds_Behind", "Auto", "Empty")
		p.row("db1", "NULL", "1", "")
		p.row("db2", "17", "OFF", "x")
		p.send(eof)
	}), Options{})
	rows, err := c.Query(t.Context(), question)
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	a, b := rows[0], rows[1]
	if a.Get("master_host", "source_host") != "db1" || a.Get("seconds_behind") != "" || !a.On("auto") ||
		a.Get("nothing") != "" ||
		a.Has("nothing") || !a.Has("EMPTY") {
		t.Errorf("%+v", a)
	}
	if b.Int("SECONDS_BEHIND") != 17 || b.Uint("seconds_behind") != 17 || b.On("auto") || b.Int("source_host") != 0 ||
		b.Get("empty") != "x" {
		t.Errorf("%+v", b)
	}
}

func TestSeveralStatementsAreOneRoundTrip(t *testing.T) {
	three := []Statement{{Text: "SELECT 1"}, {Text: "SHOW X"}, {Text: "SELECT 3"}}
	eofMore := []byte{0xfe, 0, 0, 2 | 8, 0}
	rows := func(p *peer, end []byte, cells ...string) {
		p.send([]byte{1})
		p.send(append(append(text("def"), "\x00\x00\x00\x01a\x01a"...), 12, 45, 0, 255, 0, 0, 0, 253, 0, 0, 0, 0, 0))
		p.send(end)
		for _, cell := range cells {
			p.row(cell)
		}
		p.send(end)
	}
	for _, c := range []struct {
		name      string
		answer    func(p *peer)
		want, err string
	}{
		{"all", func(p *peer) { rows(p, eofMore, "1"); rows(p, eofMore); rows(p, eof, "3", "4") }, "1||3,4", ""},
		{"the second is refused", func(p *peer) {
			rows(p, eofMore, "1")
			p.send(append([]byte{0xff, 0x10, 0x04}, "#42000no"...))
		}, "1", "SHOW X: Error 1040 (42000): no"},
		{"fewer", func(p *peer) { rows(p, eofMore, "1"); rows(p, eof, "2") }, "1|2",
			"SELECT 3: this is not a MySQL or MariaDB server: it returned 2 answers to 3 questions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked atomic.Int32
			conn := dial(t, listen(t, func(p *peer, q string) {
				if asked.Add(1); q == "SELECT 9" {
					rows(p, eof, "9")
				} else if q == "SELECT 1;\nSHOW X;\nSELECT 3" {
					c.answer(p)
				}
			}), Options{Several: true})
			answers, err := conn.QueryAll(t.Context(), three...)
			var all []string
			for _, rows := range answers {
				var cells []string
				for _, r := range rows {
					cells = append(cells, r.Get("a"))
				}
				all = append(all, strings.Join(cells, ","))
			}
			if got := strings.Join(all, "|"); got != c.want || c.err == "" && err != nil ||
				c.err != "" && (err == nil || err.Error() != c.err) {
				t.Errorf("%q, %v; want %q, %s", got, err, c.want, c.err)
			}
			r, err := conn.One(t.Context(), Statement{Text: "SELECT 9"}) // nothing is left over
			if err != nil || r.Get("a") != "9" || asked.Load() != 2 {
				t.Errorf("then: %+v, %v, asked %d times", r, err, asked.Load())
			}
		})
	}
}

func TestAnAnswerHasItsBudget(t *testing.T) {
	endless := func(p *peer, _ string) {
		p.columns("a")
		for range 10_000 {
			p.row(strings.Repeat("x", 200))
		}
		p.send(eof)
	}
	for name, c := range map[string]struct {
		budget Budget
		says   string
	}{
		"bytes":           {Budget{Bytes: 100_000}, "more than 100000 bytes"},
		"rows":            {Budget{Rows: 10}, "more than 10 rows"},
		"what was stored": {Stored(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, listen(t, endless), Options{Budget: c.budget})
			rows, err := conn.Query(t.Context(), question)
			if c.says == "" {
				if err != nil || len(rows) != 10_000 {
					t.Fatal(len(rows), err)
				}
				return
			}
			if !errors.Is(err, ErrTooMuch) || !strings.Contains(err.Error(), c.says) || Failure(err) != topology.Other {
				t.Errorf("%v, want %s", err, c.says)
			}
			if _, err := conn.Query(t.Context(), question); err == nil {
				t.Error("the connection is still used")
			}
		})
	}
}

// The budget is that of one question, not of the connection.
func TestEachQuestionHasItsOwnBudget(t *testing.T) {
	c := dial(t, listen(t, func(p *peer, _ string) {
		p.columns("a")
		p.row(strings.Repeat("x", 200))
		p.send(eof)
	}), Options{Budget: Budget{Bytes: 1000}})
	for range 100 {
		if _, err := c.Query(t.Context(), question); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAQuestionEndsWithItsContext(t *testing.T) {
	address := listen(t, func(p *peer, q string) {
		if q == "SELECT 1" {
			_, _ = io.Copy(io.Discard, p) // silence
		}
		p.send(ok)
	})
	t.Run("its deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := dial(t, address, Options{}).Query(ctx, question)
		if Failure(err) != topology.Timeout || !strings.Contains(err.Error(), "no answer in time") {
			t.Errorf("%s: %v", Failure(err), err)
		}
	})
	t.Run("it is cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := dial(t, address, Options{}).Query(ctx, question); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("it has ended before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := dial(t, address, Options{}).Query(ctx, question); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("silence", func(t *testing.T) {
		_, err := dial(t, address, Options{Silence: 50 * time.Millisecond}).Query(t.Context(), question)
		if Failure(err) != topology.Timeout {
			t.Errorf("%s: %v", Failure(err), err)
		}
	})
	t.Run("its deadline, before the silence was long enough", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := dial(t, address, Options{Silence: time.Minute}).Query(ctx, question)
		if Failure(err) != topology.Timeout || time.Since(began) > 30*time.Second {
			t.Errorf("%s after %v: %v", Failure(err), time.Since(began), err)
		}
	})
	t.Run("a deadline is that of its question only", func(t *testing.T) {
		c := dial(t, address, Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := c.Query(ctx, Statement{Text: "DO 1"})
		cancel()
		time.Sleep(30 * time.Millisecond)
		if _, again := c.Query(t.Context(), Statement{Text: "DO 1"}); err != nil || again != nil {
			t.Error(err, again)
		}
	})
}

func TestAwaitEnd(t *testing.T) {
	hangUp := make(chan struct{})
	address := listen(t, func(p *peer, _ string) {
		p.send(ok)
		<-hangUp
		_ = p.Close()
	})
	c := dial(t, address, Options{})
	if _, err := c.Query(t.Context(), question); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.AwaitEnd(t.Context()) }()
	close(hangUp)
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("nobody noticed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	silent := dial(t, listen(t, func(*peer, string) {}), Options{})
	if err := silent.AwaitEnd(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestReadChannels(t *testing.T) {
	maria := Row{
		names: []string{"Connection_name", "Master_Host", "Master_Port", "Slave_IO_Running", "Using_Gtid",
			"Gtid_IO_Pos",
			"Replicate_Do_DB", "Seconds_Behind_Master"},
		cells: []string{"b", "DB1", "3306", "Yes", "Slave_Pos", "0-1-9", "", "4"},
	}
	other := Row{names: []string{"Connection_name", "Master_Host"}, cells: []string{"a", "db2"}}
	internal := Row{names: []string{"Channel_Name", "Source_Host"}, cells: []string{"group_replication_applier", ""}}
	r := Row{names: []string{"slave_pos", "binlog_pos"}, cells: []string{"0-1-7", "0-1-8,1-2-3"}}
	p, err := ReadPositions(r, nil)
	if err != nil || p.Executed.String() != "0-1-8,1-2-3" {
		t.Fatal(p, err)
	}
	all, err := ReadChannels([]Row{maria, other, internal}, Dialect{Flavor: topology.MariaDB}, p, nil)
	if err != nil || len(all) != 2 || all[0].Name != "a" {
		t.Fatalf("%+v, %v", all, err)
	}
	c := all[1]
	if c.Source.String() != "db1:3306" || c.IO != topology.Running || !c.AutoPosition ||
		c.Received.String() != "0-1-9" || c.Filters || *c.Lag != 4 {
		t.Errorf("%+v", c)
	}
	maria.cells[5] = "nonsense"
	if _, err := ReadChannels([]Row{maria}, Dialect{Flavor: topology.MariaDB}, p, nil); err == nil {
		t.Error("a position that is none was read")
	}
}

func TestASourceThatIsNoName(t *testing.T) {
	names := []string{"Channel_Name", "Source_Host", "Source_Port"}
	rows := []Row{
		{names: names, cells: []string{"a", "db1:3306", "3306"}},
		{names: names, cells: []string{"b", "//DB2.", "3306"}},
		{names: names, cells: []string{"group_replication_applier", "", "0"}},
	}
	all, err := ReadChannels(rows, Dialect{Flavor: topology.MySQL}, Positions{}, nil)
	if err != nil || len(all) != 2 || !all[0].Source.IsZero() || all[1].Source.String() != "//db2:3306" {
		t.Errorf("%+v, %v", all, err)
	}
	if got := UnusableSources(rows); len(got) != 1 || got[0] != `source "db1:3306", port 3306` {
		t.Errorf("unusable: %q", got)
	}
}
