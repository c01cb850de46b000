package analysis

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/findings.md")

const document = "../../docs/findings.md"

// findings is the page that operators read.
func findings() string {
	var b strings.Builder
	b.WriteString(`# Findings

What the daemon reports, and when. If several findings hold, it reports all of them. The names are stable: they appear
in the API, in metrics, in logs, and in the output of ` + "`orchestrator analyze`" + `. Each finding has a sentence and its
evidence, one fact per line.

A server is called dead only when witnesses say so. A witness is a replica that was asked after the server fell silent,
and that itself tried to reach it: its receiver is *connecting* with a connection error, or without an error for at
least half a second, or it stopped with a connection error after the server stopped answering us. A receiver that
somebody stopped has not tried. A receiver that runs is proof of life.

This page is made from the table of rules (` + "`go test ./daemon/analysis -update`" + `).

| finding | at | means |
|---|---|---|
`)
	names := []struct {
		role
		text string
	}{{primary, "primary"},
		{intermediate, "intermediate"}, {former, "former primary"}, {leaf, "replica"}, {outsider, "stranger"}}
	for _, r := range rules {
		var at []string
		for _, n := range names {
			if r.of&n.role != 0 {
				at = append(at, n.text)
			}
		}
		who := strings.Join(at, ", ")
		if r.of == anyone {
			who = "any replica"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.code, who, r.explain)
	}
	b.WriteString("\nThese are about the deployment itself, and belong to no cluster:\n\n")
	b.WriteString("| finding | at | means |\n|---|---|---|\n")
	for _, r := range deploymentRules {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.code, r.at, r.explain)
	}
	return b.String()
}

func TestDocument(t *testing.T) {
	want := findings()
	if *update {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(document)
	if err != nil || string(got) != want {
		t.Errorf("docs/findings.md is not what the rules say (%v): go test ./daemon/analysis -update", err)
	}
}

// Every code that is declared has its one rule, and an explanation.
func TestEveryCodeIsExplained(t *testing.T) {
	var declared []Code
	for _, name := range []string{"analysis.go", "deployment.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && fmt.Sprint(v.Type) == "Code" {
				text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil || text != v.Names[0].Name {
					t.Errorf("the text of %s is %s", v.Names[0].Name, text)
				}
				declared = append(declared, Code(text))
			}
			return true
		})
	}
	ruled := Codes()
	slices.Sort(declared)
	slices.Sort(ruled)
	if !slices.Equal(declared, ruled) {
		t.Errorf("declared\n%v\nruled\n%v", declared, ruled)
	}
	explains := map[Code]string{}
	for _, r := range rules {
		explains[r.code] = r.explain
	}
	for _, r := range deploymentRules {
		explains[r.code] = r.explain
	}
	for c, text := range explains {
		if !strings.HasSuffix(text, ".") || strings.ContainsAny(text, "|\n") {
			t.Errorf("%s: %q is no explanation for a table", c, text)
		}
	}
}
