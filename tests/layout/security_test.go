package layout

import (
	"go/ast"
	"os"
	"regexp"
	"testing"
)

// SECURITY.md names the tests that show what it promises.
func TestWhatIsPromisedIsShown(t *testing.T) {
	page, err := os.ReadFile(root + "/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, s := range sources(t) {
		for _, d := range s.tree.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test {
				known[f.Name.Name] = true
			}
		}
	}
	names := regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w+`).FindAllString(string(page), -1)
	if len(names) < 10 {
		t.Errorf("it names %d tests", len(names))
	}
	for _, name := range names {
		if !known[name] {
			t.Errorf("there is no test %s", name)
		}
	}
}
