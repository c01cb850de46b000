// Package monitoring holds what we ship for Prometheus and Grafana to what real daemons show, by a real Prometheus: every expression of the rules
// and of the dashboards is one that it can read, asks for metrics and labels that there are, and says what it should when something happens.
package monitoring

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"orchestrator/daemon/analysis"
)

var update = flag.Bool("update", false, "write the tables of docs/metrics.md anew")

const files = "../../ansible/roles/monitoring/files"

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 && args[1] == "metrics" {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestTheRulesDoWhatTheySay(t *testing.T) {
	promtool(t, "", "check", "rules", files+"/orchestrator.rules.yml")
	promtool(t, "", "test", "rules", "rules.test.yml")
	promtool(t, "", "check", "config", files+"/prometheus.yml")
}

// A file that yamllint finds fault with fails in somebody's pipeline.
func TestYamllint(t *testing.T) {
	program, err := exec.LookPath("yamllint")
	if err != nil {
		t.Skip("no yamllint here")
	}
	out, err := exec.CommandContext(t.Context(), program, "-d", "{extends: default, rules: {line-length: disable, document-start: disable, truthy: {check-keys: false}}}",
		files, "rules.test.yml").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// rule is an alert, or what is recorded, as it stands in the file.
type rule struct {
	record, alert, expr, text string
}

// rules reads our own file, which has a rule a block, an expression a line.
func rules(t *testing.T) (out []rule) {
	t.Helper()
	for _, text := range regexp.MustCompile(`(?m)^      - `).Split(read(t, files+"/orchestrator.rules.yml"), -1)[1:] {
		part := func(key string) string {
			m := regexp.MustCompile(`(?m)^ *` + key + `: (.*)$`).FindStringSubmatch(text)
			if m == nil {
				return ""
			}
			return m[1]
		}
		r := rule{record: part("record"), alert: part("alert"), expr: part("expr"), text: text}
		if r.expr == "" || (r.record == "") == (r.alert == "") {
			t.Fatalf("not a rule: %s", text)
		}
		out = append(out, r)
	}
	return out
}

// Every alert has a severity, a summary and a description that name whom it is about, and a runbook that is there and names it.
func TestEveryAlertSaysWhatToDo(t *testing.T) {
	var books []string
	for _, r := range rules(t) {
		if r.alert == "" {
			continue
		}
		if !regexp.MustCompile(`severity: (critical|warning|info)\b`).MatchString(r.text) {
			t.Errorf("%s has no severity", r.alert)
		}
		if strings.Contains(r.text, "annotations: *missing") {
			continue // those of the guard before it
		}
		for _, key := range []string{"summary", "description"} {
			m := regexp.MustCompile(`(?m)^ +` + key + `: (.*)$`).FindStringSubmatch(r.text)
			if m == nil || key == "summary" && !strings.Contains(m[1], "{{ $labels.") {
				t.Errorf("%s: its %s does not say whom it is about: %q", r.alert, key, m)
			}
		}
		m := regexp.MustCompile(`(?m)^ +runbook: (docs/runbooks/[a-z-]+\.md)$`).FindStringSubmatch(r.text)
		if m == nil {
			t.Errorf("%s has no runbook", r.alert)
			continue
		}
		text, err := os.ReadFile("../../" + m[1])
		if err != nil || !strings.Contains(string(text), "`"+r.alert+"`") {
			t.Errorf("%s: %s does not speak of it (%v)", r.alert, m[1], err)
		}
		books = append(books, filepath.Base(m[1]))
	}
	index := read(t, "../../docs/runbooks/README.md")
	all, err := filepath.Glob("../../docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, book := range all {
		if name := filepath.Base(book); name != "README.md" && !strings.Contains(index, "("+name+")") {
			t.Errorf("docs/runbooks/README.md does not list %s", name)
		}
	}
	t.Logf("%d alerts, %d runbooks", len(books), len(all)-1)
}

type dashboard struct {
	file          string
	Title, UID    string
	SchemaVersion int              `json:"schemaVersion"`
	Inputs        *json.RawMessage `json:"__inputs"`
	Panels        []struct {
		ID         int
		Type       string
		Title      string
		Datasource *struct{ UID string }
		GridPos    struct{ X, Y, W, H int } `json:"gridPos"`
		Targets    []struct {
			Expr       string
			Datasource struct{ UID string }
		}
	}
	Annotations struct{ List []struct{ Expr string } }
	Templating  struct {
		List []struct{ Name, Definition string }
	}
}

func dashboards(t *testing.T) (out []dashboard) {
	t.Helper()
	all, err := filepath.Glob(files + "/dashboards/*.json")
	if err != nil || len(all) < 3 {
		t.Fatalf("dashboards: %q (%v)", all, err)
	}
	for _, file := range all {
		d := dashboard{file: filepath.Base(file)}
		if err := json.Unmarshal([]byte(read(t, file)), &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, d)
	}
	return out
}

// What Grafana wants of a dashboard that is imported.
func TestDashboardsCanBeImported(t *testing.T) {
	uids := map[string]bool{}
	for _, d := range dashboards(t) {
		if d.SchemaVersion < 39 || d.UID == "" || d.Title == "" || uids[d.UID] || d.Inputs == nil {
			t.Errorf("%s: schema version %d, uid %q, title %q", d.file, d.SchemaVersion, d.UID, d.Title)
		}
		uids[d.UID] = true
		ids, covered := map[int]bool{}, map[[2]int]string{}
		for _, p := range d.Panels {
			if ids[p.ID] || p.Title == "" {
				t.Errorf("%s: panel %d %q: no title, or an id that is used twice", d.file, p.ID, p.Title)
			}
			ids[p.ID] = true
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := covered[[2]int{x, y}]; other != "" || x >= 24 {
						t.Fatalf("%s: %q lies over %q, or beyond the edge", d.file, p.Title, other)
					}
					covered[[2]int{x, y}] = p.Title
				}
			}
			if p.Type == "row" {
				continue
			}
			if len(p.Targets) == 0 || p.Datasource == nil || p.Datasource.UID != "${datasource}" {
				t.Errorf("%s: %q asks nobody for nothing", d.file, p.Title)
			}
			for _, q := range p.Targets {
				if q.Datasource.UID != "${datasource}" {
					t.Errorf("%s: %q asks the data source %q", d.file, p.Title, q.Datasource.UID)
				}
			}
		}
	}
}

// queries are all expressions of the dashboards, as Grafana would send them.
func queries(t *testing.T, cluster string) map[string]string {
	t.Helper()
	fill := strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$job", "orchestrator", "$cluster", cluster, "$instance", ".*")
	out := map[string]string{}
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			for i, q := range p.Targets {
				out[fmt.Sprintf("%s: %s (%d)", d.file, p.Title, i+1)] = fill.Replace(q.Expr)
			}
		}
		for i, a := range d.Annotations.List {
			out[fmt.Sprintf("%s: annotation %d", d.file, i+1)] = fill.Replace(a.Expr)
		}
		for _, v := range d.Templating.List {
			if v.Definition == "" {
				continue
			}
			m := regexp.MustCompile(`^label_values\((.*), ([a-z]+)\)$`).FindStringSubmatch(v.Definition)
			if m == nil {
				t.Errorf("%s: variable %s is %q", d.file, v.Name, v.Definition)
				continue
			}
			out[fmt.Sprintf("%s: variable %s", d.file, v.Name)] = fmt.Sprintf("count by (%s) (%s)", m[2], fill.Replace(m[1]))
		}
	}
	return out
}

var (
	quoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	selector = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)?\{([^}]*)\}`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	window   = regexp.MustCompile(`\[[^\]]*\]`)
	grouping = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	word     = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
	called   = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(`)
	operator = []string{"and", "or", "unless", "bool", "offset"}
)

// metrics are the names that an expression asks for, each with the labels that it is selected by.
func metrics(expr string) map[string][]string {
	out := map[string][]string{}
	expr = quoted.ReplaceAllString(expr, `""`)
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			out[m[1]] = append(out[m[1]], l[1])
		}
	}
	expr = regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(expr, " ")
	expr = grouping.ReplaceAllString(window.ReplaceAllString(expr, " "), " ")
	expr = regexp.MustCompile(`\b(by|without|on|ignoring)\s*\(\s*\)`).ReplaceAllString(expr, " ")
	expr = called.ReplaceAllString(expr, "(")
	for _, name := range word.FindAllString(quoted.ReplaceAllString(expr, " "), -1) {
		if !slices.Contains(operator, name) {
			out[name] = append(out[name], nil...)
		}
	}
	return out
}

func TestTheNamesInAnExpressionAreFound(t *testing.T) {
	got := metrics(`sum by (job, code) (rate(a_total{job=~"$job", code!="b"}[5m])) > 2 * on (job) group_left () job:c:max and d unless on () up{x="y{z}"} == 1 or vector(0)`)
	if want := []string{"a_total", "d", "job:c:max", "up"}; !slices.Equal(slices.Sorted(maps.Keys(got)), want) || !slices.Equal(got["a_total"], []string{"job", "code"}) {
		t.Errorf("got %v", got)
	}
}

// Codes that nobody finds would make an alert that never comes.
func TestTheCodesInTheRulesAreThoseOfFindings(t *testing.T) {
	seen := 0
	for _, r := range rules(t) {
		for _, m := range regexp.MustCompile(`code=~?"([^"]*)"`).FindAllStringSubmatch(r.expr, -1) {
			for code := range strings.SplitSeq(m[1], "|") {
				seen++
				if !slices.Contains(analysis.Codes(), analysis.Code(code)) {
					t.Errorf("%s: nobody finds %s", r.alert, code)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d codes seen", seen)
	}
}

// families are what a daemon shows: type, help and labels by name.
type family struct {
	kind, help string
	labels     []string
}

var series = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? `)

func families(text string, into map[string]*family) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, help, _ := strings.Cut(strings.TrimSpace(rest), " ")
			if into[name] == nil {
				into[name] = &family{}
			}
			into[name].help = help
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(strings.TrimSpace(rest), " ")
			into[name].kind = kind
			continue
		}
		m := series.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		name := m[1]
		if into[name] == nil {
			name = regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		}
		f := into[name]
		for _, l := range matcher.FindAllStringSubmatch(quoted.ReplaceAllString(m[2], `""`), -1) {
			if !slices.Contains(f.labels, l[1]) && l[1] != "le" {
				f.labels = append(f.labels, l[1])
			}
		}
	}
}

func get(ctx context.Context, t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s (%v)", url, answer.Status, err)
	}
	return string(text)
}
