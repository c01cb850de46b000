package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"orchestrator/daemon/printable"
)

// print writes the answer of a command: as JSON, or as text says.
func (p *program) print(value any, text func(io.Writer)) error {
	if p.output == "json" {
		e := json.NewEncoder(p.env.out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(value); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		return nil
	}
	var b strings.Builder
	text(&b)
	if _, err := io.WriteString(p.env.out, b.String()); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// done prints what a change that has no answer has done.
func (p *program) done(format string, args ...any) error {
	says := fmt.Sprintf(format, args...)
	return p.print(map[string]string{"done": says}, func(w io.Writer) { line(w, "%s", says) })
}

// line prints one line.
func line(w io.Writer, format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

// table prints aligned columns; a row without anything in it is left out.
func table(w io.Writer, head []string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	write := func(cells []string) {
		for i, c := range cells {
			c = strings.ReplaceAll(printable.Text(c), "\n", " ")
			if c == "" {
				c = "-"
			}
			if i == len(cells)-1 {
				fmt.Fprintln(t, c)
			} else {
				fmt.Fprint(t, c, "\t")
			}
		}
	}
	write(head)
	for _, r := range rows {
		write(r)
	}
	_ = t.Flush() // to a strings.Builder, which takes everything
}

// facts prints names and values, those without a value left out.
func facts(w io.Writer, pairs ...string) {
	wide := 0
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			wide = max(wide, len(pairs[i]))
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			line(w, "%-*s  %s", wide, pairs[i], strings.ReplaceAll(pairs[i+1], "\n", " "))
		}
	}
}

// list prints a heading and a line for each text, nothing when there are none.
func list(w io.Writer, heading string, texts []string) {
	if len(texts) == 0 {
		return
	}
	line(w, "%s", heading)
	for _, t := range texts {
		line(w, "  - %s", t)
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
