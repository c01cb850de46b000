package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/config"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/plural"
	"orchestrator/daemon/topology"
)

// maxSnapshot bounds the input, in bytes: thousands of servers need some ten megabytes.
const maxSnapshot = 256 << 20

func newAnalyze() *cobra.Command {
	var planned bool
	var dies, configFile, output string
	analyze := &cobra.Command{
		Use:   "analyze FILE",
		Short: "Show what is wrong in a saved snapshot, and what the daemon would do about it",
		Long: `Reads a snapshot (JSON, or the text drawing; "-" means standard input) and shows what the daemon would find
wrong in it. With --plan it also shows what the daemon would do, step by step, and why not, candidate by
candidate. It runs the same code as the daemon, and changes nothing. A snapshot that a daemon saved in the
middle of a recovery gives the decision that the daemon made.

It takes policies and thresholds from --config, or else from the snapshot. Where neither has a policy, it plans
as if a policy allowed recovery of primaries and intermediate primaries.`,
		Example: `  orchestrator snapshot -o now.json && orchestrator analyze now.json
  orchestrator analyze --if-dies db1:3306 now.json
  printf 'db1 down\n  db2 io=connecting\n  db3 io=connecting\n' | orchestrator analyze --plan -`,
		Args: oneArg(`the file of a snapshot, or "-"`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("output", output, "text", "json"); err != nil {
				return err
			}
			situations, err := situate(args[0], cmd.InOrStdin(), configFile)
			if err != nil {
				return err
			}
			var doubts []string
			if dies != "" {
				if situations, doubts, err = kill(situations, dies); err != nil {
					return err
				}
			}
			results := study(situations, planned || dies != "")
			if len(doubts) > 0 {
				results[0].Preview.Doubts = doubts
			}
			if output == "json" {
				return writeJSON(cmd.OutOrStdout(), results)
			}
			_, err = io.WriteString(cmd.OutOrStdout(), tellAll(results))
			return err
		},
	}
	f := analyze.Flags()
	f.BoolVar(&planned, "plan", false, "show what would be done, and why not")
	f.StringVar(&dies, "if-dies", "", "plan as if the server `HOST:PORT` had just died")
	f.StringVar(&configFile, "config", "", "take policies and thresholds from this configuration `FILE`")
	f.StringVar(&output, "output", "text", "`FORMAT` of the answer: text or json")
	return analyze
}

// situate reads a snapshot and returns the situation of each cluster in it.
func situate(file string, in io.Reader, configFile string) ([]plan.Situation, error) {
	var c config.Config
	if configFile != "" {
		var err error
		if c, err = config.Load(configFile); err != nil {
			return nil, coded(exitConfig, err)
		}
	}
	data, err := readSnapshot(file, in)
	if err != nil {
		return nil, coded(exitSnapshot, fmt.Errorf("read snapshot: %w", err))
	}
	saved, err := drawing.Decode(data)
	if err != nil {
		if file == "-" {
			file = "standard input"
		}
		return nil, coded(exitSnapshot, fmt.Errorf("%s: %w", file, err))
	}
	var out []plan.Situation
	for _, f := range saved.Facts(config.Permissive(), analysis.Defaults) {
		if configFile != "" {
			f.Policy, f.Thresholds = c.Policy(f.Cluster, ""), c.Thresholds()
		}
		out = append(out, plan.Situate(f))
	}
	return out, nil
}

func readSnapshot(file string, in io.Reader) ([]byte, error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxSnapshot+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSnapshot {
		return nil, fmt.Errorf("%s is longer than %d bytes", file, maxSnapshot)
	}
	return data, nil
}

// kill assumes that one server died, and returns only the situation of its cluster, and what makes the end of its
// failover doubtful.
func kill(situations []plan.Situation, server string) (out []plan.Situation, doubts []string, err error) {
	key, err := topology.ParseKey(server)
	if err != nil {
		return nil, nil, coded(exitUsage, fmt.Errorf("--if-dies: %w", err))
	}
	var known []string
	for _, s := range situations {
		if s.Snapshot.Server(key) != nil {
			return []plan.Situation{s.With(plan.Died(s.Snapshot, key))}, plan.Doubts(s, key), nil
		}
		for _, v := range s.Snapshot.Servers {
			known = append(known, v.Key.String())
		}
	}
	if len(known) > 10 {
		known = append(known[:10], "…")
	}
	return nil, nil, coded(exitUsage, fmt.Errorf("--if-dies %v: no such server in the snapshot, which has %s", key,
		strings.Join(known, ", ")))
}

// studied is the output of analyze for one cluster.
type studied struct {
	Cluster  string             `json:"cluster"`
	Servers  int                `json:"servers"`
	Drawing  string             `json:"drawing"`
	Findings []analysis.Finding `json:"findings"`
	Off      string             `json:"off,omitempty"`
	Requests []plan.Request     `json:"requests,omitempty"`
	Episodes []plan.Episode     `json:"episodes,omitempty"`
	Plan     *plan.Decision     `json:"plan,omitempty"`    // what would be done at once
	Permits  []permit           `json:"permits,omitempty"` // for steps of it that can't be taken back
	Preview  *previewed         `json:"preview,omitempty"` // and then, were every step to succeed
}

// previewed is a preview with what its works say of their ends, so that a reader need not walk them.
type previewed struct {
	plan.Previewed
	Refused []string `json:"refused,omitempty"` // why nothing is done
	Wait    string   `json:"wait,omitempty"`    // what is waited for
	Outcome string   `json:"outcome,omitempty"` // how it ends
}

func summed(p plan.Previewed) *previewed {
	all := plan.Decision{Works: p.Works}
	out := &previewed{Previewed: p, Refused: all.Refused(), Wait: all.Wait()}
	var ends []string
	for _, w := range p.Works {
		if w.Outcome() != "" {
			ends = append(ends, w.Outcome())
		}
	}
	out.Outcome = strings.Join(ends, "; ")
	return out
}

// permit is what plan.Permit says of a claim.
type permit struct {
	Work      string `json:"work"`
	Permitted bool   `json:"permitted"`
	Why       string `json:"why"`
}

func study(situations []plan.Situation, planned bool) []studied {
	out := []studied{}
	for _, s := range situations {
		one := studied{Cluster: s.Cluster, Servers: len(s.Snapshot.Servers), Drawing: drawing.Sketch(s.Snapshot),
			Findings: s.Findings, Off: s.Off, Requests: s.Requests, Episodes: s.Episodes}
		if one.Findings == nil {
			one.Findings = []analysis.Finding{}
		}
		if planned {
			decision := plan.Decide(s)
			one.Plan, one.Preview = &decision, summed(plan.Preview(s))
			for _, c := range s.Claims {
				ok, why := plan.Permit(c)
				one.Permits = append(one.Permits, permit{c.Work, ok, why})
			}
		}
		out = append(out, one)
	}
	return out
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func tellAll(results []studied) string {
	var b strings.Builder
	for i, r := range results {
		if i > 0 {
			b.WriteByte('\n')
		}
		tell(&b, r)
	}
	if len(results) == 0 {
		b.WriteString("The snapshot is empty.\n")
	}
	return b.String()
}

func tell(b *strings.Builder, r studied) {
	fmt.Fprintf(b, "Cluster %s, %s\n", r.Cluster, plural.Count(r.Servers, "server"))
	indent(b, r.Drawing)
	b.WriteString("Findings\n")
	if len(r.Findings) == 0 {
		b.WriteString("  Nothing is wrong.\n")
	}
	for _, f := range r.Findings {
		muted := ""
		if f.Downtimed {
			muted = " (downtimed)"
		}
		fmt.Fprintf(b, "  %s at %v%s: %s\n", f.Code, f.At, muted, f.Says)
		for _, e := range f.Evidence {
			fmt.Fprintf(b, "    - %s\n", e)
		}
	}
	tellKnown(b, r)
	if r.Plan == nil {
		return
	}
	b.WriteString("Plan\n")
	p := r.Preview
	if len(p.Works) == 0 {
		b.WriteString("  Nothing to do.\n")
	}
	for i, w := range p.Works {
		if len(p.Works) > 1 {
			fmt.Fprintf(b, "  %d. %s of %v\n", i+1, strings.ReplaceAll(string(w.Kind), "_", " "), w.Failed)
		}
		tellWork(b, w, now(r.Plan, w), r.Permits)
	}
	for _, why := range p.Doubts {
		fmt.Fprintf(b, "  Not ready all the same: %s\n", why)
	}
	if len(p.Steps) > 0 {
		b.WriteString("Afterwards\n")
		indent(b, drawing.Sketch(p.After))
	}
}

// now is what the decision does at once about a work of the preview.
func now(d *plan.Decision, w plan.Work) plan.Work {
	for _, o := range d.Works {
		if o.Kind == w.Kind && o.Failed == w.Failed {
			return o
		}
	}
	return plan.Work{}
}

// tellKnown tells what is known besides the servers.
func tellKnown(b *strings.Builder, r studied) {
	if r.Off != "" {
		fmt.Fprintf(b, "Recoveries are switched off: %s\n", r.Off)
	}
	if len(r.Requests) > 0 {
		b.WriteString("Requests\n")
	}
	for _, q := range r.Requests {
		fmt.Fprintf(b, "  %s: %s %v, by %s at %s", q.ID, q.Kind, q.Server, q.By, q.At.UTC().Format(time.RFC3339))
		if q.Reason != "" {
			fmt.Fprintf(b, ": %s", q.Reason)
		}
		b.WriteByte('\n')
	}
	if len(r.Episodes) > 0 {
		b.WriteString("Episodes\n")
	}
	for _, e := range r.Episodes {
		fmt.Fprintf(b, "  %s: %s %v, since %s: %s",
			e.ID, e.Kind.Says(), e.Failed, e.Opened.UTC().Format(time.RFC3339), e.Stage)
		if !e.Candidate.IsZero() {
			fmt.Fprintf(b, ", candidate %v", e.Candidate)
		}
		if !e.Closed.IsZero() {
			fmt.Fprintf(b, "; closed: %s", e.Outcome)
		}
		if e.Blocked != "" {
			fmt.Fprintf(b, "; blocked: %s", e.Blocked)
		}
		b.WriteByte('\n')
	}
}

func tellWork(b *strings.Builder, w, now plan.Work, permits []permit) {
	for _, why := range now.Refused {
		fmt.Fprintf(b, "  Refused: %s\n", why)
	}
	for _, p := range permits {
		if p.Permitted && p.Work == now.ID() {
			fmt.Fprintf(b, "  Permitted: %s\n", p.Why)
		}
	}
	if w.Bound != "" {
		fmt.Fprintf(b, "  May be lost: %s\n", w.Bound)
	}
	if len(w.Candidates) > 0 {
		b.WriteString("  Candidates\n")
	}
	for i, c := range w.Candidates {
		fmt.Fprintf(b, "    %d. %v", i+1, c.Key)
		if !c.Eligible {
			b.WriteString(" is vetoed")
		}
		b.WriteByte('\n')
		for _, why := range c.Vetoes {
			fmt.Fprintf(b, "       no: %s\n", why)
		}
		for _, why := range c.Reasons {
			fmt.Fprintf(b, "       %s\n", why)
		}
	}
	if len(w.Steps) > 0 {
		b.WriteString("  Steps (* at once, the others when those before have succeeded)\n")
	}
	atOnce := slices.Clone(now.Steps)
	for _, s := range w.Steps {
		target := ""
		if !s.Source.IsZero() {
			target = fmt.Sprintf(" from %v", s.Source)
		}
		when := "  "
		if i := slices.IndexFunc(atOnce, func(o plan.Step) bool { return o.Kind == s.Kind && o.At == s.At }); i >= 0 {
			when, atOnce = "* ", slices.Delete(atOnce, i, i+1)
		}
		fmt.Fprintf(b, "    %s%s at %v%s: %s\n", when, s.Kind, s.At, target, s.Why)
	}
	for _, l := range w.Lost() {
		fmt.Fprintf(b, "  Left behind: %v: %s\n", l.Key, l.Why)
	}
	switch {
	case w.Wait != "":
		fmt.Fprintf(b, "  Then waits: %s\n", w.Wait)
	case w.Outcome() != "":
		fmt.Fprintf(b, "  In the end: %s\n", w.Outcome())
	}
}

func indent(b *strings.Builder, text string) {
	for line := range strings.Lines(text) {
		b.WriteString("  " + line)
	}
}
