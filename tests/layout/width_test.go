package layout

import (
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// columns is the widest that a line may be, so that two versions fit side by side. A tab counts as tabWidth.
const (
	columns  = 120
	tabWidth = 4
)

// written are the kinds of files that people write, by how their names end.
var written = []string{".go", ".md", ".toml", ".yml", ".yaml", ".py", ".j2", "Makefile", ".ci/run", ".sh"}

// tables are files whose lines are rows: series and the alerts that they should cause.
var tables = []string{"tests/monitoring/rules.test.yml"}

// expression matches a query of a Prometheus rule, which the tests read from one line.
var expression = regexp.MustCompile(`^ +expr: `)

func width(line string) int {
	n := 0
	for _, r := range line {
		if r == '\t' {
			n += tabWidth
		} else {
			n++
		}
	}
	return n
}

func TestNoLineIsTooWide(t *testing.T) {
	raw := map[string]map[int]bool{}
	for _, s := range sources(t) {
		raw[s.name] = rawLines(s)
	}
	seen := 0
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			hidden := strings.HasPrefix(d.Name(), ".") && file != root && d.Name() != ".ci"
			if d.Name() == "testdata" || d.Name() == "bin" || hidden {
				return filepath.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if !slices.ContainsFunc(written, func(end string) bool { return strings.HasSuffix(name, end) }) ||
			slices.Contains(tables, name) {
			return nil
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		seen++
		for _, at := range tooWide(name, string(data), raw[name]) {
			t.Errorf("%s:%d is wider than %d columns", name, at, columns)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 10 {
		t.Fatalf("only %d files below %s were looked at: not the repository", seen, root)
	}
}

// address matches what can't be broken.
var address = regexp.MustCompile(`https?://\S{40,}`)

// tooWide returns the numbers of the lines of a file that should be broken. Raw are the lines whose text is data. In
// markdown these are tables, and what programs print.
func tooWide(name, text string, raw map[int]bool) []int {
	var out []int
	fenced := false
	for i, line := range strings.Split(text, "\n") {
		data := raw[i+1]
		if strings.HasSuffix(name, ".md") {
			fence := strings.HasPrefix(strings.TrimSpace(line), "```")
			fenced = fenced != fence
			data = fenced || strings.HasPrefix(line, "    ") || strings.HasPrefix(strings.TrimSpace(line), "|") ||
				strings.HasPrefix(line, "<!-- lab:")
		}
		if width(line) > columns && !data && !address.MatchString(line) && !expression.MatchString(line) {
			out = append(out, i+1)
		}
	}
	return out
}

// rawLines are the lines that a raw string of several lines covers: input, or what a program should print. One that is
// a regular expression can't be broken either without hiding what it matches.
func rawLines(s source) map[int]bool {
	out := map[int]bool{}
	ast.Inspect(s.tree, func(n ast.Node) bool {
		text, ok := n.(*ast.BasicLit)
		if !ok || text.Kind != token.STRING || !strings.HasPrefix(text.Value, "`") {
			return true
		}
		from, to := s.fset.Position(text.Pos()).Line, s.fset.Position(text.End()).Line
		for line := from; line <= to; line++ {
			if from != to || len(text.Value) > columns/2 {
				out[line] = true
			}
		}
		return true
	})
	return out
}

func TestWhatIsTooWide(t *testing.T) {
	long := strings.Repeat("word ", 24) + "w"
	for _, c := range []struct {
		says, name, text string
		want             []int
	}{
		{"a line of 121", "a.md", "short\n" + long, []int{2}},
		{"a line of 120", "a.md", long[1:], nil},
		{"tabs count as four", "a.go", "\t" + long[4:], []int{1}},
		{"a table", "a.md", "| " + long + " |", nil},
		{"what a program prints", "a.md", "```console\n" + long + "\n```\n    " + long, nil},
		{"prose below that", "a.md", "```\n```\n" + long, []int{3}},
		{"a query", "a.yml", "        expr: " + long, nil},
		{"an address", "a.yml", "# " + long + " https://example.com/" + strings.Repeat("x", 40), nil},
	} {
		t.Run(c.says, func(t *testing.T) {
			if got := tooWide(c.name, c.text, nil); !slices.Equal(got, c.want) {
				t.Errorf("got lines %v, want %v", got, c.want)
			}
		})
	}
}
