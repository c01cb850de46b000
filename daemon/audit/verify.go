package audit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/plural"
)

// Chain is what Verify says of the records of one daemon.
type Chain struct {
	Daemon  string    `json:"daemon"`
	Records int       `json:"records"`
	First   int64     `json:"first,omitempty"`
	Last    int64     `json:"last,omitempty"`
	From    time.Time `json:"from,omitzero"`
	To      time.Time `json:"to,omitzero"`
	Head    string    `json:"head,omitempty" doc:"hash of the last record"`
	Removed int64     `json:"removed,omitempty" doc:"the last record that was removed by age"`
	Until   time.Time `json:"removed_until,omitzero" doc:"when that one was written"`
	Broken  []string  `json:"broken,omitempty" doc:"what is wrong, and at which record"`
	More    int       `json:"more,omitempty" doc:"how many more of them there are"`
}

// MostBroken is how many faults of one chain are named. The others are counted.
const MostBroken = 20

// Verify computes every chain again, and says what is wrong with it. The chains are sorted by daemon.
func Verify(t Trail) []Chain {
	chains := map[string]*chain{}
	of := func(daemon string) *chain {
		if chains[daemon] == nil {
			chains[daemon] = &chain{Chain: Chain{Daemon: daemon}, hashes: map[int64][]string{}}
		}
		return chains[daemon]
	}
	for _, m := range t.Cuts {
		if c := of(m.Daemon); m.Number > c.cut.Number {
			c.cut = m
		}
	}
	for _, m := range t.Heads {
		c := of(m.Daemon)
		c.heads = append(c.heads, m)
	}
	for _, document := range t.Documents {
		if r, err := Parse(document); err == nil { // Import has named the others
			c := of(r.Daemon)
			c.links = append(c.links, link{r.Number, r.At, r.Process, r.Previous, r.Hash, altered(document, r.Hash)})
		}
	}
	var out []Chain
	for _, daemon := range slices.Sorted(maps.Keys(chains)) {
		c := chains[daemon]
		c.verify()
		out = append(out, c.Chain)
	}
	return out
}

func altered(document json.RawMessage, hash string) bool {
	sum, err := Sum(document)
	return err != nil || sum != hash
}

// link is what is verified of a record.
type link struct {
	number         int64
	at             time.Time
	process        string
	previous, hash string
	altered        bool // its content does not have its hash
}

// chain is one while it is verified.
type chain struct {
	Chain
	links  []link
	cut    Mark // what was removed by age ends here
	heads  []Mark
	hashes map[int64][]string // by number; two daemons that think they are the same write several of one number
}

func (c *chain) verify() {
	slices.SortFunc(c.links, func(a, b link) int {
		return cmp.Or(cmp.Compare(a.number, b.number), strings.Compare(a.process, b.process))
	})
	if n := len(c.links); n > 0 {
		first, last := c.links[0], c.links[n-1]
		c.Records, c.First, c.Last, c.From, c.To, c.Head = n, first.number, last.number, first.at, last.at, last.hash
	}
	c.hashes[0] = []string{""}
	if c.cut.Number > 0 {
		c.hashes[c.cut.Number] = []string{c.cut.Hash}
		c.Removed, c.Until = c.cut.Number, c.cut.At
	}
	before := c.cut.Number
	for rest := c.links; len(rest) > 0; {
		number, same := rest[0].number, 1
		for same < len(rest) && rest[same].number == number {
			same++
		}
		c.missing(before+1, number-1)
		c.place(rest[:same])
		before, rest = max(before, number), rest[same:]
	}
	slices.SortFunc(c.heads, func(a, b Mark) int { return cmp.Compare(a.Number, b.Number) })
	for _, m := range c.heads {
		before = c.reach(m, before)
	}
}

func (c *chain) missing(from, to int64) {
	if from == to {
		c.fault("record %d is missing", from)
	} else if from < to {
		c.fault("records %d to %d are missing", from, to)
	}
}

// place verifies the records of one number, after those of the number before.
func (c *chain) place(same []link) {
	number := same[0].number
	if len(same) > 1 {
		var processes []string
		for _, l := range same {
			processes = append(processes, l.process)
		}
		c.fault("%s have the number %d (written by %s): the chain forks here", plural.Count(len(same), "record"),
			number, strings.Join(processes, ", "))
	}
	known, cut := c.hashes[number-1], c.hashes[number]
	var hashes []string
	for _, l := range same {
		hashes = append(hashes, l.hash)
		if l.altered {
			c.fault("record %d was changed after it was written: its content does not have its hash", number)
		}
		if len(known) > 0 && !slices.Contains(known, l.previous) {
			c.fault("record %d does not follow record %d: it names another hash, so one of the two was replaced",
				number, number-1)
		}
	}
	if len(cut) > 0 && !slices.Contains(hashes, cut[0]) {
		c.fault("record %d was replaced: it had another hash when it was removed by age", number)
	}
	c.hashes[number] = hashes
}

// reach verifies that the chain has the record that somebody has noted as its last, and returns where it ends then.
func (c *chain) reach(m Mark, end int64) int64 {
	if m.Number > end {
		c.missing(end+1, m.Number)
		return m.Number
	}
	if known := c.hashes[m.Number]; len(known) > 0 && !slices.Contains(known, m.Hash) {
		c.fault("record %d was replaced: it had another hash when it was noted as the last one", m.Number)
	}
	return end
}

func (c *chain) fault(format string, args ...any) {
	if len(c.Broken) == MostBroken {
		c.More++
		return
	}
	c.Broken = append(c.Broken, fmt.Sprintf(format, args...))
}
