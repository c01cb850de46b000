// Package monitoring holds what we ship for Prometheus and Grafana to what real daemons show, by a real Prometheus:
// every expression of the rules and of the dashboards is one that it can read, asks for metrics and labels that there
// are, and says what it should when something happens.
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
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	schema "github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"orchestrator/daemon/analysis"
)

var update = flag.Bool("update", false, "rewrite the tables of docs/metrics.md")

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
	promtool(t, "", "check", "rules", "--lint-fatal", files+"/orchestrator.rules.yml")
	promtool(t, "", "test", "rules", "rules.test.yml")
	promtool(t, "", "check", "config", files+"/prometheus.yml")
}

// A file that yamllint finds fault with fails in somebody's pipeline.
func TestYamllint(t *testing.T) {
	program, err := exec.LookPath("yamllint")
	if err != nil {
		t.Skip("no yamllint here")
	}
	out, err := exec.CommandContext(t.Context(), program, "-d", "{extends: default, rules: {line-length: disable, "+
		"document-start: disable, truthy: {check-keys: false}}}",
		files, "rules.test.yml").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// rule is an alert, or what is recorded, as it stands in the file.
type rule struct {
	record, alert, expr, text string
}

var foldedText = regexp.MustCompile(`(?m)>-\n((?: {12}.*\n)+)`)

// folded joins the lines of YAML's folded texts, as a YAML parser does.
func folded(text string) string {
	return foldedText.ReplaceAllStringFunc(text, func(t string) string {
		return strings.Join(strings.Fields(strings.TrimPrefix(t, ">-\n")), " ") + "\n"
	})
}

// rules reads our own file, which has one rule per block, and one expression per line.
func rules(t *testing.T) (out []rule) {
	t.Helper()
	for _, text := range regexp.MustCompile(`(?m)^      - `).Split(folded(read(t, files+"/orchestrator.rules.yml")),
		-1)[1:] {
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

// Every alert has a severity, a summary and a description that name whom it is about, and a runbook that is there and
// names it.
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
			if key == "summary" && m != nil && strings.Contains(m[1], "$labels.cluster }}") &&
				!strings.Contains(m[1], `$labels.cluster }}{{ with printf "last_over_time(orchestrator_cluster_info{`) {
				t.Errorf("%s: its summary does not name the cluster by its alias: %q", r.alert, m[1])
			}
		}
		m := regexp.MustCompile(
			`(?m)^ +runbook: /usr/share/doc/orchestrator/(docs/runbooks/[a-z-]+\.md)$`).FindStringSubmatch(r.text)
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

// The page of an alert is where the package has put it, or where the role says.
func TestTheRunbooksAreWhereTheRulesSay(t *testing.T) {
	const installed = "/usr/share/doc/orchestrator/docs"
	if text := read(t, "../../cmd/package/nfpm.yaml"); !strings.Contains(text, "{src: docs, dst: "+installed+
		", type: tree}") {
		t.Errorf("the package does not put docs into %s", installed)
	}
	for _, file := range []string{"defaults/main.yml", "meta/argument_specs.yml", "tasks/main.yml"} {
		if text := read(t, files+"/../"+file); !strings.Contains(text, installed+"/runbooks/") {
			t.Errorf("%s of the role does not know %s/runbooks/", file, installed)
		}
	}
}

type dashboard struct {
	file, text    string
	Title, UID    string
	SchemaVersion int              `json:"schemaVersion"`
	Inputs        *json.RawMessage `json:"__inputs"`
	Panels        []panel
	Annotations   struct {
		List []struct {
			Name       string
			Datasource source
			Target     struct{ Expr string }
		}
	}
	Templating struct {
		List []struct{ Name, Definition string }
	}
}

type source struct{ UID string }

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               *source
	GridPos                  struct{ X, Y, W, H int } `json:"gridPos"`
	Targets                  []struct {
		Expr, LegendFormat string
		Instant            bool
		Datasource         source
	}
	FieldConfig struct {
		Defaults struct {
			Unit, NoValue string
			Mappings      []json.RawMessage
		}
	}
}

func dashboards(t *testing.T) (out []dashboard) {
	t.Helper()
	all, err := filepath.Glob(files + "/dashboards/*.json")
	if err != nil || len(all) < 3 {
		t.Fatalf("dashboards: %q (%v)", all, err)
	}
	for _, file := range all {
		d := dashboard{file: filepath.Base(file), text: read(t, file)}
		if err := json.Unmarshal([]byte(d.text), &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, d)
	}
	return out
}

//lint:ignore SA1019 What Grafana 11 imports is of this kind; the newer one begins with 12, which reads both.
type imported = schema.Dashboard

// Grafana's own schema knows every field, misses none, and finds every value possible: those of panels, of their
// options, and of queries.
func TestGrafanaKnowsEveryField(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for _, d := range dashboards(t) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(d.text), &fields); err != nil {
			t.Fatal(err)
		}
		delete(fields, "__inputs") // what the import reads, and takes away
		delete(fields, "__requires")
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		var theirs imported
		// no errors are an empty list of them, which is not nil
		if err := theirs.UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
			t.Errorf("%s: %v", d.file, err)
		}
		if err := theirs.Validate(); err != nil {
			t.Errorf("%s: %v", d.file, err)
		}
		// What it does not refuse, and does not know either, is left out of what is written again. (The strict reading
		// itself loses rows.)
		var lenient imported
		if err := json.Unmarshal(text, &lenient); err != nil {
			t.Errorf("%s: %v", d.file, err)
		}
		var again any
		text, err = json.Marshal(lenient)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		for _, field := range lost(fields, again) {
			t.Errorf("%s: Grafana knows no%s", d.file, field)
		}
	}
}

// lost are the fields of one document that another lacks, by their paths. What is empty may be left out.
func lost(ours, theirs any) (out []string) {
	switch ours := ours.(type) {
	case map[string]any:
		theirs, _ := theirs.(map[string]any)
		for k, v := range ours {
			if _, ok := theirs[k]; !ok && (v == nil || reflect.ValueOf(v).Kind() == reflect.Slice &&
				reflect.ValueOf(v).Len() == 0) {
				continue
			} else if !ok {
				out = append(out, " "+k)
			}
			for _, field := range lost(v, theirs[k]) {
				out = append(out, " "+k+field)
			}
		}
	case []any:
		theirs, _ := theirs.([]any)
		for i, v := range ours {
			if i >= len(theirs) {
				return append(out, fmt.Sprintf(" %d", i))
			}
			for _, field := range lost(v, theirs[i]) {
				out = append(out, fmt.Sprintf(" %d%s", i, field))
			}
		}
	}
	slices.Sort(out)
	return out
}

// What Grafana wants of a dashboard that is imported.
func TestDashboardsCanBeImported(t *testing.T) {
	all := dashboards(t)
	uids := map[string]bool{}
	for _, d := range all {
		if d.SchemaVersion < 39 || d.UID == "" || d.Title == "" || uids[d.UID] || d.Inputs == nil {
			t.Errorf("%s: schema version %d, uid %q, title %q", d.file, d.SchemaVersion, d.UID, d.Title)
		}
		uids[d.UID] = true
	}
	for _, d := range all {
		for _, m := range regexp.MustCompile(`"/d/([a-z-]*)`).FindAllStringSubmatch(d.text, -1) {
			if !uids[m[1]] {
				t.Errorf("%s: a link leads to the dashboard %q, which is not ours", d.file, m[1])
			}
		}
		variables := []string{"__all", "__rate_interval", "__range", "__url_time_range", "__field", "__value"}
		for _, v := range d.Templating.List {
			variables = append(variables, v.Name)
		}
		for _, m := range regexp.MustCompile(`\$\{?([a-z_]+)`).FindAllStringSubmatch(d.text, -1) {
			if !slices.Contains(variables, m[1]) {
				t.Errorf("%s: no variable is named %s", d.file, m[1])
			}
		}
		ids, titles, covered := map[int]bool{}, map[string]bool{}, map[[2]int]string{}
		for _, p := range d.Panels {
			if ids[p.ID] || p.Title == "" || p.Type != "row" && titles[p.Title] {
				t.Errorf("%s: panel %d %q: no title, or a title or an id that is used twice", d.file, p.ID, p.Title)
			}
			ids[p.ID] = true
			titles[p.Title] = titles[p.Title] || p.Type != "row"
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := covered[[2]int{x, y}]; other != "" || x >= 24 {
						t.Fatalf("%s: %q lies over %q, or beyond the edge", d.file, p.Title, other)
					}
					covered[[2]int{x, y}] = p.Title
				}
			}
			if p.Type != "row" {
				p.check(t, d.file)
			}
		}
		for _, a := range d.Annotations.List {
			if a.Datasource.UID != "${datasource}" || a.Target.Expr == "" {
				t.Errorf("%s: annotation %s asks nobody for nothing", d.file, a.Name)
			}
		}
	}
}

// check is about what makes a panel one that can be read.
func (p panel) check(t *testing.T, file string) {
	t.Helper()
	if len(p.Targets) == 0 || p.Datasource == nil || p.Datasource.UID != "${datasource}" {
		t.Errorf("%s: %q asks nobody for nothing", file, p.Title)
	}
	if p.Description == "" {
		t.Errorf("%s: %q has no description", file, p.Title)
	}
	if p.FieldConfig.Defaults.Unit == "" && (p.Type == "timeseries" || p.Type == "stat") {
		t.Errorf("%s: %q has no unit", file, p.Title)
	}
	if len(p.FieldConfig.Defaults.Mappings) == 0 && p.Type == "state-timeline" {
		t.Errorf("%s: %q does not say what its states mean", file, p.Title)
	}
	for _, q := range p.Targets {
		if q.Datasource.UID != "${datasource}" {
			t.Errorf("%s: %q asks the data source %q", file, p.Title, q.Datasource.UID)
		}
		if graph := p.Type == "timeseries" || p.Type == "state-timeline"; graph &&
			(q.LegendFormat == "" || q.LegendFormat == "__auto") {
			t.Errorf("%s: %q does not name its series", file, p.Title)
		} else if graph == q.Instant { // over time, a stat would show what was true before all daemons died
			t.Errorf("%s: %q is a %s, and asks for now alone: %v", file, p.Title, p.Type, q.Instant)
		}
	}
}

// query is one expression, as Grafana would send it.
type query struct {
	expr     string
	mayEmpty bool // it says something only when something has happened
}

// queries are all of the dashboards.
func queries(t *testing.T, cluster string) map[string]query {
	t.Helper()
	fill := strings.NewReplacer("$__rate_interval", "16s", "$__range", "1h", "$job", "orchestrator", "$cluster",
		cluster, "$instance", ".*")
	out := map[string]query{}
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			for i, q := range p.Targets {
				out[fmt.Sprintf("%s: %s (%d)", d.file, p.Title, i+1)] = query{fill.Replace(q.Expr),
					p.FieldConfig.Defaults.NoValue != ""}
			}
		}
		for _, a := range d.Annotations.List {
			out[fmt.Sprintf("%s: annotation %s", d.file, a.Name)] = query{fill.Replace(a.Target.Expr), true}
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
			out[fmt.Sprintf("%s: variable %s", d.file, v.Name)] = query{expr: fmt.Sprintf("count by (%s) (%s)", m[2],
				fill.Replace(m[1]))}
		}
	}
	return out
}

var (
	quoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	selector = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)?\{([^}]*)\}`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	window   = regexp.MustCompile(`\[[^\]]*\]|\boffset\s+\S+`)
	grouping = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	word     = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
	called   = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(`)
	operator = []string{"and", "or", "unless", "bool"}
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
	got := metrics(
		`sum by (job, code) (rate(a_total{job=~"$job", code!="b"}[5m])) > 2 * on (job) group_left () job:c:max and d offset 5m unless on () up{x="y{z}"} == 1 or vector(0)`)
	if want := []string{"a_total", "d", "job:c:max", "up"}; !slices.Equal(slices.Sorted(maps.Keys(got)), want) ||
		!slices.Equal(got["a_total"], []string{"job", "code"}) {
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
				if !slices.ContainsFunc(analysis.Codes(), func(c analysis.Code) bool { return matches(code, c) }) {
					t.Errorf("%s: nobody finds %s", r.alert, code)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d codes seen", seen)
	}
}

// told are the codes that are no matter of one cluster, and the alert that is about them all the same; none is about
// what is no fault.
var told = map[analysis.Code]string{
	"DaemonsSplit": "OrchestratorSplit", "DaemonSilent": "OrchestratorPeersSilent",
	"BackendUnavailable": "OrchestratorBackendUnavailable",
	"BackendMemberUnfit": "OrchestratorBackendMemberNotFit", "BackendDiffers": "OrchestratorBackendDiverged",
	"StoreFailing": "OrchestratorStoreFailing",
	"MultiSource":  "",
}

// Only people who happen to look see a finding without an alert.
func TestEveryCodeIsSeenByAnAlert(t *testing.T) {
	seen := map[analysis.Code]string{}
	for _, r := range rules(t) {
		for _, m := range regexp.MustCompile(`job_cluster_code:orchestrator_cluster_findings:max\{code=~?"([^"]*)"\}`).FindAllStringSubmatch(r.expr, -1) {
			for _, c := range analysis.Codes() {
				if matches(m[1], c) {
					seen[c] = r.alert
				}
			}
		}
	}
	for _, c := range analysis.Codes() {
		alert, other := told[c]
		switch {
		case !other && seen[c] == "":
			t.Errorf("no alert is about %s", c)
		case other && seen[c] != "":
			t.Errorf("%s is about %s, which is said to be no matter of a cluster", seen[c], c)
		case alert != "" && !slices.ContainsFunc(rules(t), func(r rule) bool { return r.alert == alert }):
			t.Errorf("%s, which is to be about %s, is no alert", alert, c)
		}
	}
}

// matches reads a pattern as Prometheus does: it is about the whole word.
func matches(pattern string, c analysis.Code) bool {
	return regexp.MustCompile("^(?:" + pattern + ")$").MatchString(string(c))
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
