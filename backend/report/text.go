package report

import (
	"fmt"
	"strings"

	"orchestrator/daemon/plural"
)

// mostShown bounds the differences in the text; JSON has all.
const mostShown = 20

// String is for people.
func (v Comparison) String() string {
	var b strings.Builder
	if len(v.Arrived) > 0 {
		fmt.Fprintf(&b, "%s arrived by replication meanwhile:\n%s", plural.Count(len(v.Arrived), "record"),
			differences(v.Arrived))
	}
	if len(v.Merged) > 0 {
		fmt.Fprintf(&b, "%s differed, and %s merged:\n%s", plural.Count(len(v.Merged), "record"),
			plural.Of(len(v.Merged), "was", "were"), differences(v.Merged))
	}
	if v.Equal {
		fmt.Fprintf(&b, "Both members hold the same %s, of %s.\n", plural.Count(v.Records, "record"),
			plural.Count(len(v.Kinds), "kind"))
	} else {
		fmt.Fprintf(&b, "%d of %s %s:\n%s", len(v.Differences), plural.Count(v.Records, "record"),
			plural.Of(len(v.Differences), "differs", "differ"), differences(v.Differences))
	}
	if v.Note != "" {
		fmt.Fprintf(&b, "%s.\n", v.Note)
	}
	return b.String()
}

// differences returns one line for each, as the two members held it.
func differences(all []Difference) string {
	var b strings.Builder
	for i, d := range all {
		if i == mostShown {
			fmt.Fprintf(&b, "  … and %d more (--output json shows all)\n", len(all)-i)
			break
		}
		conflict := ""
		if d.Conflict {
			conflict = ", in two contents: something other than orchestrator wrote it"
		}
		fmt.Fprintf(&b, "  %s %s: %v | %v%s\n", d.Kind, d.Key, d.Held[0], d.Held[1], conflict)
	}
	return b.String()
}

// String is for people.
func (d Examination) String() string {
	var b strings.Builder
	tell := func(c Complaint) {
		where := "the pair"
		if !c.At.IsZero() {
			where = c.At.String()
		}
		fmt.Fprintf(&b, "%s: %s: %s\n", where, c.Code, c.Says)
	}
	if len(d.Mended) > 0 {
		b.WriteString("Fixed:\n")
		for _, c := range d.Mended {
			fmt.Fprintf(&b, "  %v: %s: %s\n", c.At, c.Code, strings.Join(c.Statements, "; "))
			for _, line := range c.Config {
				fmt.Fprintf(&b, "      my.cnf: %s\n", line)
			}
		}
		b.WriteByte('\n')
	}
	for _, c := range d.Complaints {
		tell(c)
		for _, s := range c.Statements {
			safe := ""
			if c.Safe {
				safe = "   (--fix)"
			}
			fmt.Fprintf(&b, "    %s;%s\n", s, safe)
		}
		for _, line := range c.Config {
			fmt.Fprintf(&b, "    my.cnf: %s\n", line)
		}
		if c.Do != "" {
			fmt.Fprintf(&b, "    %s\n", c.Do)
		}
	}
	if len(d.Complaints) == 0 {
		b.WriteString("Nothing is wrong with the pair.\n")
	}
	return b.String()
}

// String is for people.
func (r Report) String() string {
	var b strings.Builder
	if r.DryRun {
		b.WriteString("Would do:\n")
	}
	for i, s := range r.Steps {
		mark := "not done"
		switch {
		case r.DryRun:
			mark = ""
		case s.Done:
			mark = "done in " + s.Took
		}
		fmt.Fprintf(&b, "%2d. %v", i+1, s)
		if mark != "" {
			fmt.Fprintf(&b, " (%s)", mark)
		}
		b.WriteByte('\n')
		for _, q := range s.Statements {
			fmt.Fprintf(&b, "      %s;\n", q)
		}
	}
	if r.DryRun && len(r.Steps) == 0 {
		b.WriteString("  nothing: it is so already\n")
	}
	for _, p := range r.Seen {
		fmt.Fprintf(&b, "Seen: %s\n", p)
	}
	if r.Verification != nil {
		b.WriteString(r.Verification.String())
	}
	for _, n := range r.Next {
		fmt.Fprintf(&b, "Next: %s\n", n)
	}
	return b.String()
}
