package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"orchestrator/daemon/audit"
	"orchestrator/daemon/plural"
)

func (p *program) auditCommands() *cobra.Command {
	var cluster, who, since string
	cmd := &cobra.Command{Use: "audit", Short: "List who has changed what, or was refused, oldest first",
		Long: `List the changes that were requested of any daemon through its API: who, from where, what, and the outcome.

WHO is the identity that the request has proved; "signed" is the name that it was signed with (--by), which
nobody has checked.`,
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := sinceTime(since, time.Now())
			if err != nil {
				return err
			}
			records := []audit.Record{}
			err = p.client.Audit(cmd.Context(), cluster, who, from, func(r audit.Record) error {
				records = append(records, r)
				return nil
			})
			if err != nil {
				return err
			}
			return p.print(records, func(w io.Writer) { printAudit(w, records) })
		}}
	f := cmd.Flags()
	f.StringVar(&cluster, "cluster", "", "only what concerns this `CLUSTER`")
	f.StringVar(&who, "who", "", "only what this `NAME` has done, proved or signed; of \"bob (sent by ann)\", "+
		"either name")
	f.StringVar(&since, "since", "168h", "how long ago, or the `TIME` as 2026-01-02T15:04:05Z; 0 is all that is kept")
	cmd.AddCommand(p.auditVerify(), p.auditExport())
	return cmd
}

// sinceTime reads a duration before now, or a time; zero for all.
func sinceTime(text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return at, nil
	}
	ago, err := time.ParseDuration(text)
	switch {
	case err != nil || ago < 0:
		return time.Time{}, misuse("--since %q: want a duration, such as 24h, or a time, such as 2026-01-02T15:04:05Z",
			text)
	case ago == 0:
		return time.Time{}, nil
	}
	return now.Add(-ago), nil
}

func printAudit(w io.Writer, records []audit.Record) {
	if len(records) == 0 {
		line(w, "nothing was changed")
		return
	}
	var rows [][]string
	for _, r := range records {
		rows = append(rows, []string{stamp(r.At), proved(r), r.From, r.Change, targets(r), r.Reason, outcome(r)})
	}
	table(w, []string{"TIME", "WHO", "FROM", "CHANGE", "OF", "REASON", "OUTCOME"}, rows)
}

// proved is the identity that the request has proved, and the name that it was signed with.
func proved(r audit.Record) string {
	name := r.Who.Name
	if name == "" {
		name = "nobody proved"
	}
	if signed := r.Signed(); signed != "" && signed != r.Who.Name {
		name += " (signed " + signed + ")"
	}
	return name
}

// targets are what stands for the names in the route, and the cluster.
func targets(r audit.Record) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(r.Target)) {
		out = append(out, r.Target[name])
	}
	if r.Cluster != "" && !slices.Contains(out, r.Cluster) {
		out = append(out, "in "+r.Cluster)
	}
	return strings.Join(out, " ")
}

func outcome(r audit.Record) string {
	says := "done"
	if r.Error != "" {
		says = fmt.Sprintf("%d: %s", r.Status, r.Error)
	}
	if r.Missed > 0 {
		says += fmt.Sprintf(" (before it, %s that failed or %s refused %s not recorded)",
			plural.Count(r.Missed, "request"), plural.Of(r.Missed, "was", "were"), plural.Of(r.Missed, "was", "were"))
	}
	return says
}

func (p *program) auditExport() *cobra.Command {
	return &cobra.Command{Use: "export", Short: "Print all audit records that are kept, one JSON object a line, to " +
		"keep and verify them elsewhere", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		text, err := p.client.AuditExport(cmd.Context())
		if err != nil {
			return err
		}
		if _, err := p.env.out.Write(text); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		return nil
	}}
}

func (p *program) auditVerify() *cobra.Command {
	var file, against string
	cmd := &cobra.Command{Use: "verify", Short: "Compute the hash chains of all daemons again; exit with 5 if one is " +
		"broken",
		Long: `Compute the hash chain of every daemon again, and say where one is broken: records that were changed,
replaced or removed.

Who can write to the backend can compute a whole chain again. To notice that too, keep the output of an
earlier "audit verify -o json" where they can't write, and give it with --against.`,
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := p.auditText(cmd, file)
			if err != nil {
				return err
			}
			trail, unreadable := audit.Import(text)
			noted, err := noted(against)
			if err != nil {
				return err
			}
			trail.Heads = append(trail.Heads, noted...)
			v := verified{Chains: audit.Verify(trail), Unreadable: unreadable}
			if err := p.print(v, v.print); err != nil {
				return err
			}
			return v.no()
		}}
	cmd.Flags().StringVar(&file, "file", "", "verify the export in this `FILE` (-: standard input), and ask no daemon")
	cmd.Flags().StringVar(&against, "against", "", "a `FILE` with the output of an earlier audit verify -o json: what "+
		"it names must still be there")
	return cmd
}

// auditText is an export: of a file, or of the daemon that answers.
func (p *program) auditText(cmd *cobra.Command, file string) (text []byte, err error) {
	switch file {
	case "":
		return p.client.AuditExport(cmd.Context())
	case "-":
		text, err = io.ReadAll(cmd.InOrStdin())
	default:
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, misuse("read the export: %v", err)
	}
	return text, nil
}

// noted are the last records as an earlier verification named them.
func noted(file string) ([]audit.Mark, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	var before verified
	if err == nil {
		err = json.Unmarshal(text, &before)
	}
	if err != nil {
		return nil, misuse("read the earlier verification: %s: %v", file, err)
	}
	var out []audit.Mark
	for _, c := range before.Chains {
		if c.Last > 0 {
			out = append(out, audit.Mark{Daemon: c.Daemon, Number: c.Last, Hash: c.Head, At: c.To})
		}
	}
	return out, nil
}

// verified is what came of a verification.
type verified struct {
	Chains     []audit.Chain `json:"chains"`
	Unreadable []string      `json:"unreadable,omitempty"`
}

func (v verified) no() error {
	if len(v.Unreadable) > 0 || slices.ContainsFunc(v.Chains, func(c audit.Chain) bool { return len(c.Broken) > 0 }) {
		return errNo
	}
	return nil
}

func (v verified) print(w io.Writer) {
	if len(v.Chains) == 0 && len(v.Unreadable) == 0 {
		line(w, "there are no audit records yet")
	}
	for _, c := range v.Chains {
		state := "whole"
		if len(c.Broken) > 0 {
			state = "BROKEN"
		}
		line(w, "%s: %s", c.Daemon, state)
		records := plural.Count(c.Records, "record")
		if c.Records > 0 {
			records += fmt.Sprintf(", %d to %d (%s to %s)", c.First, c.Last, stamp(c.From), stamp(c.To))
		}
		removed := ""
		if c.Removed > 0 {
			removed = fmt.Sprintf("up to record %d (%s), by age", c.Removed, stamp(c.Until))
		}
		var broken []string
		if broken = c.Broken; c.More > 0 {
			broken = append(slices.Clone(broken), fmt.Sprintf("and %d more", c.More))
		}
		facts(w, "  records", records, "  removed", removed, "  head", c.Head)
		for _, says := range broken {
			line(w, "  - %s", says)
		}
	}
	list(w, "what can't be read:", v.Unreadable)
}
