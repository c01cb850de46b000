package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"orchestrator/daemon/audit"
)

var at = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

// record seals one after another.
func record(t rapid.TB, daemon string, previous audit.Mark) (audit.Record, json.RawMessage) {
	previous.Daemon = daemon
	r, err := audit.Seal(audit.Record{Daemon: daemon, Process: "p1", At: at.Add(time.Duration(previous.Number) *
		time.Minute), Entry: audit.Entry{Who: audit.Who{Name: "ann", Role: "admin", Proof: "token"}, By: "ann <ops>",
		From: "10.0.0.1:4711", Change: "switchRecoveries", Method: "PUT", Route: "/api/v1/recoveries",
		Parameters: []byte(`{"on":false,"n":9007199254740993}`), Status: 200}}, previous)
	if err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return r, document
}

// trail is n records of each daemon, with their heads.
func trail(t rapid.TB, n int, daemons ...string) (out audit.Trail) {
	for _, daemon := range daemons {
		var head audit.Mark
		for range n {
			r, document := record(t, daemon, head)
			head = r.Mark()
			out.Documents = append(out.Documents, document)
		}
		out.Heads = append(out.Heads, head)
	}
	return out
}

func broken(t audit.Trail) (says []string) {
	for _, c := range audit.Verify(t) {
		for _, b := range c.Broken {
			says = append(says, c.Daemon+": "+b)
		}
	}
	return says
}

func replaced(document json.RawMessage, old, new string) json.RawMessage {
	return bytes.Replace(document, []byte(old), []byte(new), 1)
}

// resealed gives a changed document the hash that it should have.
func resealed(t *testing.T, document json.RawMessage) json.RawMessage {
	t.Helper()
	r, err := audit.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := audit.Sum(document)
	if err != nil {
		t.Fatal(err)
	}
	return replaced(document, r.Hash, sum)
}

func TestWhatBreaksAChainIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*audit.Trail)
		want []string
	}{
		"nothing":       {func(*audit.Trail) {}, nil},
		"another order": {func(a *audit.Trail) { slices.Reverse(a.Documents) }, nil},
		"spaces":        {func(a *audit.Trail) { a.Documents[3] = replaced(a.Documents[3], ",", " , ") }, nil},
		"a changed record": {func(a *audit.Trail) { a.Documents[2] = replaced(a.Documents[2], `"admin"`, `"read"`) },
			[]string{"d1: record 3 was changed after it was written"}},
		"a field more": {func(a *audit.Trail) { a.Documents[2] = replaced(a.Documents[2], `{`, `{"x":1,`) },
			[]string{"d1: record 3 was changed after it was written"}},
		"a field under another case": {
			func(a *audit.Trail) { a.Documents[2] = replaced(a.Documents[2], `{"daemon"`, `{"BY":"bob","daemon"`) },
			[]string{"d1: record 3 was changed after it was written"}},
		"a replaced record": {
			func(a *audit.Trail) {
				a.Documents[2] = resealed(t, replaced(a.Documents[2], `"admin"`, `"read"`))
			}, []string{"d1: record 4 does not follow record 3"}},
		"the last record replaced": {
			func(a *audit.Trail) {
				a.Documents[4] = resealed(t, replaced(a.Documents[4], `"admin"`, `"read"`))
			}, []string{"d1: record 5 was replaced: it had another hash when it was noted"}},
		"a removed record": {func(a *audit.Trail) { a.Documents = slices.Delete(a.Documents, 2, 3) },
			[]string{"d1: record 3 is missing"}},
		"two removed records": {func(a *audit.Trail) { a.Documents = slices.Delete(a.Documents, 0, 2) },
			[]string{"d1: records 1 to 2 are missing"}},
		"a lost end": {func(a *audit.Trail) { a.Documents = slices.Delete(a.Documents, 3, 5) },
			[]string{"d1: records 4 to 5 are missing"}},
		"a lost chain": {func(a *audit.Trail) { a.Documents = slices.Delete(a.Documents, 0, 5) },
			[]string{"d1: records 1 to 5 are missing"}},
		"a fork": {
			func(a *audit.Trail) {
				a.Documents = append(a.Documents, resealed(t, replaced(a.Documents[4], `"p1"`, `"p2"`)))
			}, []string{"d1: 2 records have the number 5 (written by p1, p2): the chain forks here"}},
		"old ones cut": {
			func(a *audit.Trail) {
				r, _ := audit.Parse(a.Documents[2])
				a.Cuts, a.Documents = []audit.Mark{r.Mark()}, slices.Delete(a.Documents, 0, 3)
			}, nil},
		"old ones cut, and one of them back": {
			func(a *audit.Trail) {
				r, _ := audit.Parse(a.Documents[2])
				a.Cuts, a.Documents = []audit.Mark{r.Mark()}, slices.Delete(a.Documents, 1, 3)
			}, nil},
		"old ones cut, and more": {
			func(a *audit.Trail) {
				r, _ := audit.Parse(a.Documents[1])
				a.Cuts, a.Documents = []audit.Mark{r.Mark()}, slices.Delete(a.Documents, 0, 3)
			}, []string{"d1: record 3 is missing"}},
		"a cut that was changed": {
			func(a *audit.Trail) {
				a.Cuts, a.Documents = []audit.Mark{{Daemon: "d1", Number: 2, Hash: "x"}},
					slices.Delete(a.Documents, 0, 2)
			}, []string{"d1: record 3 does not follow record 2"}},
		"the cut record replaced": {
			func(a *audit.Trail) { a.Cuts = []audit.Mark{{Daemon: "d1", Number: 5, Hash: "x"}} },
			[]string{"d1: record 5 was replaced: it had another hash when it was removed by age"}},
		"all cut": {
			func(a *audit.Trail) {
				a.Cuts, a.Documents = slices.Clone(a.Heads), nil
			}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := trail(t, 5, "d1", "d2")
			c.do(&a)
			got := broken(a)
			if len(got) != len(c.want) {
				t.Fatalf("%q, want %q", got, c.want)
			}
			for i, want := range c.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("%q, want %q", got[i], want)
				}
			}
		})
	}
}

func TestAChainInBrief(t *testing.T) {
	a := trail(t, 3, "d2", "d1")
	chains := audit.Verify(a)
	if len(chains) != 2 || chains[0].Daemon != "d1" {
		t.Fatalf("%+v", chains)
	}
	if c := chains[0]; c.Records != 3 || c.First != 1 || c.Last != 3 || !c.From.Equal(at) ||
		!c.To.Equal(at.Add(2*time.Minute)) || c.Head != a.Heads[1].Hash {
		t.Errorf("%+v", c)
	}
}

func TestManyFaultsAreCounted(t *testing.T) {
	a := trail(t, 100, "d1")
	for i := range a.Documents {
		a.Documents[i] = replaced(a.Documents[i], `"admin"`, `"read"`)
	}
	if c := audit.Verify(a)[0]; len(c.Broken) != audit.MostBroken || c.More != 100-audit.MostBroken {
		t.Errorf("%d are named, %d counted", len(c.Broken), c.More)
	}
}

// What somebody has spoilt in the store does not keep the rest from being exported and verified.
func TestADocumentThatIsNotJSONIsNamed(t *testing.T) {
	for _, spoilt := range []string{"", "{", "no JSON\n\xff", "null", `"text"`} {
		a := trail(t, 3, "d1")
		a.Documents[1] = []byte(spoilt)
		text, err := a.Export()
		if err != nil {
			t.Fatal(err)
		}
		b, unreadable := audit.Import(text)
		if len(unreadable) != 1 || len(b.Documents) != 2 || len(broken(b)) != 1 {
			t.Errorf("%q: unreadable %q, %d documents, broken %q", spoilt, unreadable, len(b.Documents), broken(b))
		}
	}
}

func TestAnExportIsImported(t *testing.T) {
	a := trail(t, 3, "d1", "d2")
	a.Cuts = []audit.Mark{{Daemon: "d3", Number: 7, Hash: "x", At: at}}
	text, err := a.Export()
	if err != nil {
		t.Fatal(err)
	}
	b, unreadable := audit.Import(append(text, '\n'))
	again, err := b.Export()
	if err != nil || len(unreadable) > 0 || !bytes.Equal(text, again) || len(broken(b)) > 0 {
		t.Errorf("%v, %q, broken %q; exported\n%s\nand then\n%s", err, unreadable, broken(b), text, again)
	}
}

func TestWhatCannotBeReadIsNamed(t *testing.T) {
	long := `{"daemon":"d1","number":1,"error":"` + strings.Repeat("x", audit.MaxLine) + `"}`
	for _, text := range []string{"{", "[]", `{"daemon":"d1"}`, `{"number":1}`, `{"daemon":"d1","number":"1"}`, long,
		`{"daemon":"d1","number":1,"at":"yesterday"}`} {
		a, unreadable := audit.Import([]byte("\n" + text + "\n"))
		if len(unreadable) != 1 || !strings.HasPrefix(unreadable[0], "line 2 ") || len(a.Documents) > 0 {
			t.Errorf("%.40s: %q", text, unreadable)
		}
	}
}

// The hash is that of the JSON without the hash itself, with sorted keys and no spaces: other programs compute it too.
func TestTheHashIsThatOfSortedJSON(t *testing.T) {
	got, err := audit.Sum([]byte(`{"b":"<ä>","hash":"x","a":{"d":1.0,"c":null}}`))
	// printf '%s' '{"a":{"c":null,"d":1.0},"b":"<ä>"}' | sha256sum
	const want = "abc790b86447634ad497839177f3767863be86944a8c622fbc22c6b51a7a1690"
	if err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	for _, text := range []string{"", "[]", `{"a":1} {}`, `{"a":1} x`, "null x"} {
		if _, err := audit.Sum([]byte(text)); err == nil {
			t.Errorf("%q has a hash", text)
		}
	}
}

func TestARecordThatIsNoJSONIsNotSealed(t *testing.T) {
	if _, err := audit.Seal(audit.Record{Daemon: "d1", Entry: audit.Entry{Parameters: []byte("{")}},
		audit.Mark{}); err == nil {
		t.Error("it was sealed")
	}
}

// Whatever is removed from a chain, changed or exchanged, is noticed: but for the first that were cut, never nothing.
func TestNothingGoesUnnoticed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "records")
		a := trail(t, n, "d1")
		i := rapid.IntRange(0, n-1).Draw(t, "which")
		switch rapid.IntRange(0, 2).Draw(t, "what") {
		case 0:
			a.Documents = slices.Delete(a.Documents, i, i+1)
		case 1: // one byte
			d := slices.Clone(a.Documents[i])
			at := rapid.IntRange(0, len(d)-1).Draw(t, "byte")
			d[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
			if same(d, a.Documents[i]) {
				t.Skip("it means the same")
			}
			a.Documents[i] = d
		case 2:
			_, other := record(t, "d1", audit.Mark{Number: int64(i), Hash: fmt.Sprint("other", i)})
			a.Documents[i] = other
		}
		b, unreadable := audit.Import(lines(a))
		if len(unreadable) == 0 && len(broken(b)) == 0 {
			t.Fatalf("unnoticed: %s", lines(a))
		}
	})
}

func same(a, b json.RawMessage) bool {
	x, err := audit.Sum(a)
	y, _ := audit.Sum(b)
	p, bad := audit.Parse(a)
	q, _ := audit.Parse(b)
	return err == nil && bad == nil && x == y && p.Hash == q.Hash
}

func lines(a audit.Trail) []byte {
	heads, _ := audit.Trail{Heads: a.Heads}.Export()
	for _, d := range a.Documents {
		heads = append(append(heads, d...), '\n')
	}
	return heads
}

func FuzzImport(f *testing.F) {
	a := trail(f, 2, "d1")
	text, err := a.Export()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"cut":{"daemon":"d1","number":-9223372036854775808,"hash":"x"}}`))
	f.Add([]byte(`{"daemon":"d1","number":9223372036854775807,"hash":"x","previous":""}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, _ := audit.Import(text)
		chains := audit.Verify(a)
		for _, c := range chains {
			if len(c.Broken) > audit.MostBroken || c.Records > len(a.Documents) {
				t.Fatalf("%+v", c)
			}
		}
		again, err := a.Export()
		if err != nil {
			t.Fatal(err)
		}
		if b, unreadable := audit.Import(again); len(unreadable) > 0 || len(b.Documents) != len(a.Documents) {
			t.Fatalf("what was exported can't be read: %q", unreadable)
		}
	})
}

// Whoever is named in a record is found: who has proved a name, who has signed, and for whom.
func TestEachNameOfARecordIsFound(t *testing.T) {
	twice := audit.SentBy(audit.SentBy("bob (ops)", "eve"), "ann")
	for _, c := range []struct {
		by   string
		who  string
		want bool
	}{
		{"bob", "ann", true}, {"bob", "bob", true}, {"bob", "bo", false}, {"", "ann", true}, {"", "bob", false},
		{audit.SentBy("bob", "ann"), "bob", true}, {audit.SentBy("bob", "ann"), "bob (sent by ann)", true},
		{audit.SentBy("bob", "ann"), "sent", false}, {audit.SentBy("bob", "ann"), "bob (sent by ann", false},
		{twice, "bob (ops)", true}, {twice, "eve", true}, {twice, "ann", true}, {twice, "bob", false},
	} {
		if got := (audit.Entry{Who: audit.Who{Name: "ann"}, By: c.by}).Names(c.who); got != c.want {
			t.Errorf("%q of ann names %q: %v", c.by, c.who, got)
		}
	}
	if !(audit.Entry{By: audit.SentBy("bob", "ann")}).Names("ann") {
		t.Error("the sender is not found")
	}
}
