package layout

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "orchestrator/"
)

// ranks: a package imports only packages of a lower one. What is not listed here has no place yet, and fails.
var ranks = map[string]int{
	"daemon/gtid": 0, "daemon/plural": 0, "daemon/release": 0, "daemon/secret": 0,
	"daemon/crowd": 0, "daemon/printable": 0, "daemon/certificate": 0,
	"daemon/topology": 1, "haproxy": 1, "daemon/audit": 1,
	"daemon/analysis": 2, "daemon/server": 2, // it speaks of keys, flavours and channels in the words of topology
	"daemon/plan":    3,
	"daemon/drawing": 4, "backend": 4, "daemon/mysql": 4, "daemon/hook": 4,
	"backend/report": 5, "backend/sqlstore": 5, "backend/storetest": 5, "daemon/discovery": 5, "daemon/lead": 5,
	"daemon/declared": 5, "daemon/trail": 5,
	"daemon/recovery": 5, "daemon/peer": 5, "daemon/httpd": 5,
	"daemon/api": 6, "daemon/api/client": 6, "daemon/api/classic": 6, "daemon/web": 6,
	"backend/raftstore": 6, "backend/pair": 6,
	"daemon/config":    7,
	"daemon":           8,
	"cmd/orchestrator": 9, "cmd/orchestrator-client": 9,
}

// within: a package and its own parts may know each other.
var within = map[string]string{"daemon/api": "daemon/api/client", "daemon/api/client": "daemon/api"}

var pure = []string{"daemon/gtid", "daemon/topology", "daemon/analysis", "daemon/plan", "daemon/drawing",
	"daemon/audit"}

// impure is what a decision must not touch: it would depend on more than its arguments.
var impure = []string{"database/sql", "net", "net/http", "os", "log", "log/slog", "context", "math/rand",
	"math/rand/v2", "crypto/rand"}

var top = []string{
	"cmd", "daemon", "backend", "haproxy", "ansible", "tests", "docs", "go.mod", "go.sum", "Makefile",
	"orchestrator.toml", "README.md",
	"LICENSE", "CONTRIBUTING.md", "SECURITY.md", ".ci", ".gitignore", ".gitattributes", ".git", ".github",
	"bin", "coverage.out", // built, and ignored by git
}

// oldWords may stand where a server, or the classic API, speaks them: in the code that talks to servers and in what
// imitates them.
var oldWords = []string{"daemon/server/", "daemon/mysql/", "daemon/hook/", "daemon/api/classic/", "backend/sqlstore/",
	"backend/pair/", "haproxy/", "tests/", "docs/", "ansible/"}

type source struct {
	name string // from the top, with slashes
	pkg  string // its directory
	test bool
	text string
	tree *ast.File
	fset *token.FileSet
}

func (s source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.name, s.fset.Position(n.Pos()).Line)
}

func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "bin" || strings.HasPrefix(d.Name(), ".") &&
			file != root) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, ".go") {
			return nil
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		tree, err := parser.ParseFile(fset, name, data, parser.ParseComments)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		out = append(out, source{name: name, pkg: strings.TrimSuffix(strings.TrimSuffix(name, filepath.Base(file)),
			"/"),
			test: strings.HasSuffix(file, "_test.go"), text: string(data), tree: tree, fset: fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 10 {
		t.Fatalf("only %d Go files below %s: not the repository", len(out), root)
	}
	return out
}

func imports(s source) []string {
	var out []string
	for _, i := range s.tree.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err == nil {
			out = append(out, path)
		}
	}
	return out
}

func TestAPackageImportsOnlyLowerRanks(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.pkg, "tests/") {
			continue
		}
		rank, ok := ranks[s.pkg]
		if !ok {
			t.Errorf("%s: package %s has no rank: give it one here, and in the table of docs", s.name, s.pkg)
			continue
		}
		for _, path := range imports(s) {
			other, ours := strings.CutPrefix(path, module)
			if !ours || within[s.pkg] == other {
				continue
			}
			if otherRank, ok := ranks[other]; !ok || otherRank >= rank {
				t.Errorf("%s: %s (rank %d) imports %s (rank %d): take a small interface, and let daemon wire the two",
					s.name, s.pkg, rank, other, otherRank)
			}
		}
	}
}

// What a test imports is its own affair, but the program must not contain a test's tools.
// What CONTRIBUTING.md tells newcomers is what is checked.
func TestTheRanksAreInTheGuide(t *testing.T) {
	guide, err := os.ReadFile(root + "/CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]int{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\d) \| ([^|:]*)`).FindAllStringSubmatch(string(guide), -1) {
		rank, _ := strconv.Atoi(row[1]) // digits
		for _, pkg := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[2], -1) {
			told[pkg[1]] = rank
		}
	}
	for pkg, rank := range ranks {
		if _, err := os.Stat(path.Join(root, pkg)); err != nil {
			continue // it comes later
		}
		if got, ok := told[pkg]; !ok || got != rank {
			t.Errorf("%s has rank %d; CONTRIBUTING.md says %d (%v)", pkg, rank, got, ok)
		}
		delete(told, pkg)
	}
	if len(told) > 0 {
		t.Errorf("CONTRIBUTING.md has packages that do not exist: %v", told)
	}
}

func TestTheProgramImportsNoTests(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.pkg, "tests/") {
			continue
		}
		for _, path := range imports(s) {
			if strings.HasPrefix(path, module+"tests/") || path == "testing" && s.pkg != "backend/storetest" {
				t.Errorf("%s imports %s", s.name, path)
			}
		}
	}
}

func TestPurePackagesDependOnTheirArgumentsOnly(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !slices.Contains(pure, s.pkg) {
			continue
		}
		for _, path := range imports(s) {
			if slices.Contains(impure, path) {
				t.Errorf("%s imports %s", s.name, path)
			}
		}
		for _, call := range calls(s, "time", "Now", "Since", "Until", "After", "Tick", "NewTimer", "NewTicker",
			"Sleep", "AfterFunc") {
			t.Errorf("%s: a clock: put the time into the snapshot", s.at(call))
		}
	}
}

// calls finds package.name(…), whatever name the package was imported under.
func calls(s source, pkg string, names ...string) []ast.Node {
	local := path.Base(pkg)
	for _, i := range s.tree.Imports {
		if i.Name != nil && i.Path.Value == strconv.Quote(pkg) {
			local = i.Name.Name
		}
	}
	var out []ast.Node
	ast.Inspect(s.tree, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || !slices.Contains(names, sel.Sel.Name) {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && id.Name == local {
			out = append(out, sel)
		}
		return true
	})
	return out
}

func TestNobodySleeps(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.pkg, "tests/") {
			continue
		}
		for _, call := range calls(s, "time", "Sleep") {
			t.Errorf("%s: time.Sleep can't be ended: select on a timer and the context", s.at(call))
		}
	}
}

// Only main ends the program: anybody else would take the ordered end away from it.
func TestOnlyMainExits(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.pkg, "tests/") || strings.HasPrefix(s.pkg, "cmd/") {
			continue
		}
		for _, call := range slices.Concat(calls(s, "os", "Exit"), calls(s, "log", "Fatal", "Fatalf", "Fatalln")) {
			t.Errorf("%s: return an error", s.at(call))
		}
	}
}

func TestLoggersAndRegisterersAreGiven(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.pkg, "tests/") {
			continue
		}
		global := slices.Concat(calls(s, "log/slog", "Default", "SetDefault"),
			calls(s, "github.com/prometheus/client_golang/prometheus", "MustRegister", "Register"))
		for _, call := range global {
			t.Errorf("%s: uses a global", s.at(call))
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	says := map[string]string{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		says[s.pkg] += ""
		if s.tree.Doc != nil {
			if says[s.pkg] != "" {
				t.Errorf("%s: a second comment on package %s", s.name, s.pkg)
			}
			says[s.pkg] = s.tree.Doc.Text()
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(says)) {
		if len(says[pkg]) < 80 {
			t.Errorf("%s: says %q: what it is for, what it is not for, and the one idea", pkg, says[pkg])
		}
	}
}

func TestTheTopIsFixed(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(top, e.Name()) && !strings.HasSuffix(e.Name(), ".test") {
			t.Errorf("%s has no place at the top", e.Name())
		}
	}
}

// old lets pass what only a server can have said: variables and columns (gtid_slave_pos, Slave_IO_Running), statements
// in capitals.
var old = regexp.MustCompile(`(^|[^A-Za-z_-])([Mm]asters?|[Ss]laves?)([^a-z_-]|$)|[a-z](Master|Slave)`)

func TestOldWordsStandOnlyWhereAServerSpeaksThem(t *testing.T) {
	for _, s := range sources(t) {
		if slices.ContainsFunc(oldWords, func(dir string) bool { return strings.HasPrefix(s.name, dir) }) {
			continue
		}
		for i, line := range strings.Split(s.text, "\n") {
			if old.MatchString(line) {
				t.Errorf("%s:%d: primary, replica, source: %s", s.name, i+1, strings.TrimSpace(line))
			}
		}
	}
}

var unfinished = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)

func TestNothingIsLeftForLater(t *testing.T) {
	for _, s := range sources(t) {
		if s.pkg == "tests/layout" {
			continue
		}
		for i, line := range strings.Split(s.text, "\n") {
			if unfinished.MatchString(line) {
				t.Errorf("%s:%d: %s", s.name, i+1, strings.TrimSpace(line))
			}
		}
	}
}

// serverTime are the functions by which a server would let its own clock decide, or its own chance; each member of a
// pair has another.
var serverTime = regexp.MustCompile(
	`(?i)\b(NOW|SYSDATE|CURDATE|CURTIME|UTC_DATE|UTC_TIME|UTC_TIMESTAMP|UNIX_TIMESTAMP|RAND|UUID|UUID_SHORT)\s*\(|\b(CURRENT_TIMESTAMP|CURRENT_DATE|CURRENT_TIME|LOCALTIME|LOCALTIMESTAMP)\b`)

// Backends may have any clock: no statement of ours about records and leases asks for it. That of the doctor asks to
// compare, and one about a server's own log is answered with the clock by which that is written.
func TestNoStatementOfTheBackendUsesItsClock(t *testing.T) {
	asks := map[string]bool{"backend/pair/questions.go": true, "daemon/mysql/questions.go": true}
	seen := map[string]int{}
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.pkg, "tests/") {
			continue
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			text, ok := n.(*ast.BasicLit)
			if !ok || text.Kind != token.STRING || !serverTime.MatchString(text.Value) {
				return true
			}
			seen[s.name]++
			if !asks[s.name] {
				t.Errorf("%s: the server's clock, or its chance, has no part in what is stored: give the value",
					s.at(n))
			}
			return true
		})
	}
	for _, name := range slices.Sorted(maps.Keys(asks)) {
		if seen[name] != 1 {
			t.Errorf("%s: %d statements ask for the server's time, want the one that is known", name, seen[name])
		}
	}
}
