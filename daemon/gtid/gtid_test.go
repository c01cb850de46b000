package gtid

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	a = "aaaaaaaa-1111-1111-1111-111111111111"
	b = "bbbbbbbb-2222-2222-2222-222222222222"
)

// long writes A and B out as UUIDs.
func long(text string) string {
	return strings.NewReplacer("A:", a+":", "B:", b+":", "A :", a+" :").Replace(text)
}

func set(text string) Set { return MustParse(long(text)) }

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", " \n", ""},
		{"one transaction", "A:5", "A:5"},
		{"an interval", "A:1-5", "A:1-5"},
		{"what touches is joined, in order", "A:7:1-3:4-5", "A:1-5:7"},
		{"what overlaps is joined", "A:1-10:3-4:9-12", "A:1-12"},
		{"line breaks, as MySQL prints them", "B:1-2,\nA:1-3", "A:1-3,B:1-2"},
		{"a comma at the end", "A:1,", "A:1"},
		{"blanks", " A : 1 - 5 : 8 , B:1 ", "A:1-5:8,B:1"},
		{"capital letters", strings.ToUpper(a) + ":1", "A:1"},
		{"a server that is there twice", "A:1-3,A:4", "A:1-4"},
		{"tags", "A:1-3:blue:1-2:4:green:7", "A:1-3:blue:1-2:4:green:7"},
		{"a tag is a world of its own", "A:Blue:1-3,A:4", "A:4:blue:1-3"},
		{"the last number there is", "A:1-9223372036854775806", "A:1-9223372036854775806"},
		{"huge intervals side by side", "A:9223372036854775806:1-9223372036854775805", "A:1-9223372036854775806"},
		{"a position", "0-1-100", "0-1-100"},
		{"positions, sorted by domain", "2-1-7, 0-1-100", "0-1-100,2-1-7"},
		{"a binlog state names several servers a domain", "0-1-100,0-2-120,0-3-7", "0-2-120"},
		{"a domain that has nothing yet", "0-1-0,1-1-4", "1-1-4"},
		{"a difference", "0-1-91..100", "0-1-91..100"},
		{"a difference from the beginning", "0-1-1..100", "0-1-100"},
		{"the last sequence there is", "0-1-18446744073709551615", "0-1-18446744073709551615"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(long(c.text))
			if err != nil || got.String() != long(c.want) {
				t.Errorf("Parse(%q) = %q, %v; want %q", c.text, got, err, c.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"A:":                                   `"" is no transaction number`,
		"A:0":                                  `"0" is no transaction number`,
		"A:5-3":                                "ends before it begins",
		"A:1-x":                                `"x" is no transaction number`,
		"A:+1":                                 "no transaction number",
		"A:1--5":                               "no transaction number",
		"A:9223372036854775807":                "no transaction number",
		"A:blue":                               "tag without an interval",
		"A:blue:green:1":                       "tag without an interval",
		"A:1,B:2:blue":                         "tag without an interval",
		"aaaa:1":                               "no server UUID",
		":1":                                   "no server UUID",
		a[:35] + "g:1":                         "no server UUID",
		strings.Replace(a, "-", "0", 1) + ":1": "no server UUID",
		"A:" + strings.Repeat("x", 33) + ":1":  "no transaction number",
		"A:tä:1":                               "no transaction number",
		"0-1":                                  "is not domain-server-sequence",
		"0-1-2-3":                              "is not domain-server-sequence",
		"x-1-2":                                "is not domain-server-sequence",
		"0-x-2":                                "is not domain-server-sequence",
		"0-1-x":                                "is not domain-server-sequence",
		"0-4294967296-1":                       "is not domain-server-sequence",
		"0-1-5..4":                             "is not domain-server-sequence",
		"0-1-0..4":                             "is not domain-server-sequence",
		"0-1-x..4":                             "is not domain-server-sequence",
		"0-1-1,":                               "is not domain-server-sequence",
		"garbage":                              "is not domain-server-sequence",
	} {
		if s, err := Parse(long(text)); err == nil || !strings.Contains(err.Error(), want) || !s.Empty() {
			t.Errorf("Parse(%q) = %q, %v; want an error with %q", text, s, err, want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("MustParse of garbage does not panic")
		}
	}()
	MustParse("garbage")
}

func TestAlgebra(t *testing.T) {
	for _, c := range []struct{ name, s, o, without, union, both string }{
		{"nothing", "", "", "", "", ""},
		{"from nothing", "", "A:1-5", "", "A:1-5", ""},
		{"the same", "A:1-5", "A:1-5", "", "A:1-5", "A:1-5"},
		{"the end", "A:1-5", "A:1-3", "A:4-5", "A:1-5", "A:1-3"},
		{"the beginning", "A:1-5", "A:3-9", "A:1-2", "A:1-9", "A:3-5"},
		{"the middle", "A:1-9", "A:4-5", "A:1-3:6-9", "A:1-9", "A:4-5"},
		{"several holes", "A:1-20", "A:2:5-6:10-30", "A:1:3-4:7-9", "A:1-30", "A:2:5-6:10-20"},
		{"one interval takes from several", "A:1-3:5-7:9", "A:2-9", "A:1", "A:1-9", "A:2-3:5-7:9"},
		{"another server", "A:1-5", "B:1-5", "A:1-5", "A:1-5,B:1-5", ""},
		{"another tag", "A:1-5:x:1-5", "A:x:2-5", "A:1-5:x:1", "A:1-5:x:1-5", "A:x:2-5"},
		{"to the last number", "A:1-9223372036854775806", "A:2-9223372036854775806", "A:1", "A:1-9223372036854775806",
			"A:2-9223372036854775806"},

		{"a further position", "0-1-100", "0-1-90", "0-1-91..100", "0-1-100", "0-1-90"},
		{"a nearer position", "0-1-90", "0-2-100", "", "0-2-100", "0-1-90"},
		{"another domain", "0-1-90,1-1-5", "0-1-90", "1-1-5", "0-1-90,1-1-5", "0-1-90"},
		{"they have parted at the last", "0-1-90", "0-2-90", "0-1-90..90", "0-1-90", "0-1-89"},
		{"they have parted at the first", "0-1-1", "0-2-1", "0-1-1", "0-1-1", ""},
		{"parted at the last number there is", "0-1-18446744073709551615", "0-2-18446744073709551615",
			"0-1-18446744073709551615..18446744073709551615", "0-1-18446744073709551615", "0-1-18446744073709551614"},
		{"a difference less its end", "0-1-91..100", "0-1-95", "0-1-96..100", "0-1-100", "0-1-91..95"},
		{"a difference that the other has not reached", "0-1-91..100", "0-1-80", "0-1-91..100", "0-1-91..100", ""},
		{"a difference that follows on", "0-1-91..100", "0-1-90", "0-1-91..100", "0-1-100", ""},
		{"less a difference at the end", "0-1-100", "0-1-91..100", "0-1-90", "0-1-100", "0-1-91..100"},
		{"less a difference in the middle, which can't be told", "0-1-100", "0-1-50..60", "0-1-100", "0-1-100",
			"0-1-50..60"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, o := set(c.s), set(c.o)
			for what, pair := range map[string][2]string{
				"without": {s.Subtract(o).String(), long(c.without)},
				"union":   {s.Union(o).String(), long(c.union)},
				"both":    {s.Intersect(o).String(), long(c.both)},
			} {
				if pair[0] != pair[1] {
					t.Errorf("%s %s %s: %q, want %q", c.s, what, c.o, pair[0], pair[1])
				}
			}
			if got, want := o.Contains(s), c.without == ""; got != want {
				t.Errorf("Contains = %v, want %v", got, want)
			}
			if s.String() != long(c.s) || o.String() != long(c.o) {
				t.Errorf("the operands have changed: %v, %v", s, o)
			}
		})
	}
}

func TestCount(t *testing.T) {
	for text, want := range map[string]uint64{
		"": 0, "A:5": 1, "A:1-5:9,B:2-3": 8, "0-1-100,1-2-5": 105, "0-1-91..100": 10,
		"0-1-18446744073709551615,1-1-1":                                          math.MaxUint64, // and not 0
		"A:1-9223372036854775806,B:1-9223372036854775806:x:1-9223372036854775806": math.MaxUint64,
	} {
		if got := set(text).Count(); got != want {
			t.Errorf("Count(%s) = %d, want %d", text, got, want)
		}
	}
	if got := set("A:1-5").Missing(set("A:3-9,B:1")); got != 5 {
		t.Errorf("Missing = %d, want 5", got)
	}
	if (Set{}).Contains(set("0-1-18446744073709551615,1-1-1")) {
		t.Error("an overflowing count of what is missing counts as nothing")
	}
	if !set("A:1-2:3").Equal(set("A:1-3")) || set("A:1").Equal(set("A:1-2")) || set("0-1-5").Equal(set("0-2-5")) {
		t.Error("Equal")
	}
}

func TestWriters(t *testing.T) {
	s := set("B:1-3:x:4,A:1")
	if got := s.Writers(); !reflect.DeepEqual(got, []string{a, b}) {
		t.Errorf("Writers = %v", got)
	}
	if got := s.From(strings.ToUpper(b)); got.String() != long("B:1-3:x:4") {
		t.Errorf("From = %v", got)
	}
	if got := s.From("nobody"); !got.Empty() {
		t.Errorf("From(nobody) = %v", got)
	}
	if m := set("0-1-100,3-7-9,4-7-2"); m.LastBy(7).String() != "3-7-9,4-7-2" || m.NotLastBy(7).String() != "0-1-100" ||
		!m.LastBy(2).Empty() || !m.NotLastBy(2).Equal(m) {
		t.Errorf("LastBy(7) = %v, NotLastBy(7) = %v", m.LastBy(7), m.NotLastBy(7))
	}
	if got := set("0-1-100,3-7-9").LastWriters(); !reflect.DeepEqual(got, map[uint32]uint32{0: 1, 3: 7}) {
		t.Errorf("LastWriters = %v", got)
	}
	for o, want := range map[string]bool{"0-1-90,3-7-2": true, "0-1-90": true, "0-1-90,5-9-9": true, "": true,
		"0-2-90,3-7-9": false, "3-8-9": false} {
		s := set("0-1-100,3-7-9")
		if got := s.SameWriters(set(o)); got != want || set(o).SameWriters(s) != want {
			t.Errorf("SameWriters(%s) = %v", o, got)
		}
	}
}

func TestJSON(t *testing.T) {
	type holder struct {
		S Set `json:"s"`
		Z Set `json:"z,omitzero"`
	}
	data, err := json.Marshal(holder{S: set("A:1-5")})
	if err != nil || string(data) != long(`{"s":"A:1-5"}`) {
		t.Fatalf("%s, %v", data, err)
	}
	var back holder
	if err := json.Unmarshal(data, &back); err != nil || !back.S.Equal(set("A:1-5")) {
		t.Errorf("%v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"s":"rubbish"}`), &back); err == nil {
		t.Error("rubbish is read without an error")
	}
}

// model is the naive set: every transaction by name.
type model map[string]bool

func (m model) only(keep func(string) bool) model {
	out := model{}
	for k := range m {
		if keep(k) {
			out[k] = true
		}
	}
	return out
}

func union(m, o model) model {
	out := model{}
	for _, x := range []model{m, o} {
		for k := range x {
			out[k] = true
		}
	}
	return out
}

// explicit lists the transactions of a set, reading only what String prints.
func explicit(s Set) model {
	out := model{}
	for part := range strings.SplitSeq(s.String(), ",") {
		if part == "" {
			continue
		}
		if !strings.Contains(part, ":") {
			var domain, server, from, to int
			if n, _ := fmt.Sscanf(part, "%d-%d-%d..%d", &domain, &server, &from, &to); n == 3 {
				from, to = 1, from
			}
			for i := from; i <= to; i++ {
				out[fmt.Sprint(domain, " ", i)] = true
			}
			continue
		}
		f := strings.Split(part, ":")
		tag := ""
		for _, x := range f[1:] {
			var from, to int
			if n, _ := fmt.Sscanf(x, "%d-%d", &from, &to); n == 0 {
				tag = x
				continue
			} else if n == 1 {
				to = from
			}
			for i := from; i <= to; i++ {
				out[fmt.Sprint(f[0], tag, " ", i)] = true
			}
		}
	}
	return out
}

func anyMySQL(t *rapid.T) (Set, model) {
	var parts []string
	m := model{}
	for range rapid.IntRange(0, 6).Draw(t, "parts") {
		uuid := rapid.SampledFrom([]string{a, b}).Draw(t, "uuid")
		tag := rapid.SampledFrom([]string{"", "", "x", "y_1"}).Draw(t, "tag")
		from := rapid.IntRange(1, 25).Draw(t, "from")
		to := rapid.IntRange(from, 30).Draw(t, "to")
		id := uuid
		if tag != "" {
			id += ":" + tag
		}
		parts = append(parts, fmt.Sprintf("%s:%d-%d", id, from, to))
		for i := from; i <= to; i++ {
			m[fmt.Sprint(uuid, tag, " ", i)] = true
		}
	}
	return MustParse(strings.Join(parts, ",")), m
}

// anyMaria draws positions of servers that have not parted: one writer.
func anyMaria(t *rapid.T) (Set, model) {
	var parts []string
	m := model{}
	for d := range 3 {
		if n := rapid.IntRange(0, 12).Draw(t, "seq"); n > 0 {
			parts = append(parts, fmt.Sprintf("%d-1-%d", d, n))
			for i := 1; i <= n; i++ {
				m[fmt.Sprint(d, " ", i)] = true
			}
		}
	}
	return MustParse(strings.Join(parts, ",")), m
}

// TestModel holds every operation to the naive model.
func TestModel(t *testing.T) {
	for name, draw := range map[string]func(*rapid.T) (Set, model){"mysql": anyMySQL, "mariadb": anyMaria} {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			s, m := draw(t)
			o, n := draw(t)
			before, other := s.String(), o.String()
			same := func(what string, got Set, want model) {
				if !reflect.DeepEqual(explicit(got), want) {
					t.Fatalf("%s of %v and %v is %v, want %v", what, s, o, got, want)
				}
				if again := MustParse(got.String()); again.String() != got.String() {
					t.Fatalf("%s: %v is read back as %v", what, got, again)
				}
				if got.Count() != uint64(len(want)) || got.Empty() != (len(want) == 0) {
					t.Fatalf("%s: Count %d, Empty %v of %v", what, got.Count(), got.Empty(), got)
				}
			}
			less := m.only(func(k string) bool { return !n[k] })
			same("itself", s, m)
			same("union", s.Union(o), union(m, n))
			same("subtract", s.Subtract(o), less)
			same("intersect", s.Intersect(o), m.only(func(k string) bool { return n[k] }))
			same("rest and intersection", s.Subtract(o).Union(s.Intersect(o)), m)
			same("back to the beginning", s.Subtract(s.Subtract(o)), m.only(func(k string) bool { return n[k] }))
			if o.Contains(s) != (len(less) == 0) || o.Missing(s) != uint64(len(less)) {
				t.Fatalf("%v contains %v: %v, misses %d", o, s, o.Contains(s), o.Missing(s))
			}
			if s.Equal(o) != reflect.DeepEqual(m, n) {
				t.Fatalf("%v equals %v: %v", s, o, s.Equal(o))
			}
			if s.Same(o) != (s.String() == o.String()) || !s.Same(MustParse(s.String())) {
				t.Fatalf("%v reads the same as %v: %v", s, o, s.Same(o))
			}
			same("one writer", s.From(a), m.only(func(k string) bool { return strings.HasPrefix(k, a) }))
			if s.String() != before || o.String() != other {
				t.Fatalf("an operation has changed its operands: %v → %v, %v → %v", before, s, other, o)
			}
		}))
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"", "A:1-5:7,B:x:1", "0-1-100,1-2-3..9", "A:1,\nB:2", "A::", "0-1-", ",:,", "A:x"} {
		f.Add(long(text), "A:3")
	}
	f.Fuzz(func(t *testing.T, text, other string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		back, err := Parse(s.String())
		if err != nil || back.String() != s.String() || !back.Equal(s) {
			t.Fatalf("%q → %q → %q, %v", text, s, back, err)
		}
		o, err := Parse(other)
		if err != nil {
			return
		}
		if s.Empty() == o.Empty() && (len(s.mysql) > 0) == (len(o.mysql) > 0) {
			if u := s.Union(o); !u.Contains(s) {
				t.Fatalf("%v ∪ %v = %v lacks what it is made of", s, o, u)
			}
		}
		if !s.Contains(s.Subtract(o)) {
			t.Fatalf("%v without %v is %v: more than there was", s, o, s.Subtract(o))
		}
		if !s.Contains(s.Intersect(o)) {
			t.Fatalf("%v and %v have in common %v: more than there was", s, o, s.Intersect(o))
		}
	})
}

func TestWhatEachPollAsksAllocatesNothing(t *testing.T) {
	for name, pair := range map[string][2]Set{
		"MySQL":   {set("A:1-9:20-30,B:1-5"), set("A:2-8:25,B:1-5")},
		"MariaDB": {set("0-1-100,1-2-7"), set("0-2-90,1-2-7")},
	} {
		all, some := pair[0], pair[1]
		n := testing.AllocsPerRun(100, func() {
			if !all.Contains(some) || some.Contains(all) || !all.Union(some).Equal(all) || !some.Union(all).Equal(all) {
				t.Errorf("%s: %v contains %v", name, all, some)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// What is kept of servers is bounded by its size, and so are errors that show what they said.
func TestSize(t *testing.T) {
	for text, want := range map[string][2]int{
		"":            {0, 0},
		"0-1-5":       {100, 300},
		"0-1-5,1-1-5": {200, 600},
		"11111111-1111-1111-1111-111111111111:1-5":     {100, 300},
		"11111111-1111-1111-1111-111111111111:1-5:7:9": {150, 400},
	} {
		if n := MustParse(text).Size(); n < want[0] || n > want[1] {
			t.Errorf("%q takes %d bytes, want %v", text, n, want)
		}
	}
	s, err := ParseState("0-1-5,0-2-5,1-1-1")
	if n := s.Size(); err != nil || n < 500 || n > 2000 || (State{}).Size() != 0 {
		t.Errorf("a state takes %d bytes, %v", n, err)
	}
	for _, text := range []string{strings.Repeat("x", 10_000), a + ":" + strings.Repeat("9", 10_000) + ":"} {
		if _, err := Parse(text); err == nil || len(err.Error()) > 1000 {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
	}
}
