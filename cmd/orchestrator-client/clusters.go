package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/api"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/plural"
)

func (p *program) clusterCommands() []*cobra.Command {
	return []*cobra.Command{p.clusters(), p.topology(), p.findings(), p.plan(), p.alias()}
}

func (p *program) clusters() *cobra.Command {
	return &cobra.Command{Use: "clusters", Short: "List the clusters", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := p.client.Clusters(cmd.Context())
			if err != nil {
				return err
			}
			return p.print(all, func(w io.Writer) {
				var rows [][]string
				for _, c := range all {
					rows = append(rows, []string{c.Name, c.Alias, text(c.Primary),
						fmt.Sprintf("%d/%d", c.Up, c.Servers), strings.Join(c.Codes, ","), c.Episode})
				}
				table(w, []string{"CLUSTER", "ALIAS", "PRIMARY", "UP", "FINDINGS", "OPEN EPISODE"}, rows)
			})
		}}
}

func (p *program) topology() *cobra.Command {
	return &cobra.Command{Use: "topology CLUSTER", Short: "Draw a cluster", Args: cobra.ExactArgs(1),
		ValidArgsFunction: p.completeCluster,
		Long: "Draws a cluster: one server per line, replicas indented below their source. With --output json, " +
			"everything that is known about the cluster.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client.Cluster(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.print(c, func(w io.Writer) { fmt.Fprintln(w, strings.TrimRight(c.Drawing, "\n")) })
		}}
}

func (p *program) findings() *cobra.Command {
	var check bool
	cmd := &cobra.Command{Use: "findings [CLUSTER]", Short: "Show what is wrong, and on what evidence",
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: p.completeCluster,
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := p.client.Findings(cmd.Context(), first(args))
			if err != nil {
				return err
			}
			if err := p.print(all, func(w io.Writer) { printFindings(w, all) }); err != nil {
				return err
			}
			if check && len(all) > 0 {
				return errNo
			}
			return nil
		}}
	cmd.Flags().BoolVar(&check, "check", false, "exit with 5 if there are any")
	return cmd
}

func printFindings(w io.Writer, all []analysis.Finding) {
	if len(all) == 0 {
		line(w, "nothing is wrong")
	}
	for _, f := range all {
		muted := ""
		if f.Downtimed {
			muted = " (in downtime)"
		}
		at, cluster := "", ""
		if !f.At.IsZero() {
			at = f.At.String() + "  "
		}
		if f.Cluster != "" { // what is wrong with the deployment belongs to none
			cluster = "  cluster " + f.Cluster
		}
		line(w, "%s%s%s%s", at, f.Code, muted, cluster)
		line(w, "  %s", f.Says)
		for _, e := range f.Evidence {
			line(w, "  - %s", e)
		}
	}
}

func (p *program) plan() *cobra.Command {
	var check bool
	var dead string
	cmd := &cobra.Command{Use: "plan CLUSTER", Aliases: []string{"why"},
		Short: "Show what would be done, why, and why not", Args: cobra.ExactArgs(1),
		ValidArgsFunction: p.completeCluster,
		Long: `Shows what would be done about a cluster now, and what would be done if its primary died now: candidate by
candidate, with the reasons for its rank and everything against it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client.Plan(cmd.Context(), args[0], dead)
			if err != nil {
				return err
			}
			if err := p.print(c, func(w io.Writer) { printPlan(w, c) }); err != nil {
				return err
			}
			if check && !c.Ready {
				return errNo
			}
			return nil
		}}
	cmd.Flags().BoolVar(&check, "check", false, "exit with 5 if the cluster is not ready for a failover")
	cmd.Flags().StringVar(&dead, "dead", "", "plan as if this `SERVER` had died, instead of the primary")
	noError(cmd.RegisterFlagCompletionFunc("dead", func(cmd *cobra.Command, _ []string, word string) ([]string,
		cobra.ShellCompDirective) {
		return p.completeServer(cmd, nil, word)
	}))
	return cmd
}

func printPlan(w io.Writer, c api.ClusterPlan) {
	line(w, "cluster %s", c.Cluster)
	if c.RecoveriesOff != "" {
		line(w, "recoveries are off: %s", c.RecoveriesOff)
	}
	switch {
	case !c.Policy.Named:
		line(w, "policy: none names this cluster, so nothing is done automatically")
	default:
		line(w, "policy: primaries are replaced: %s; intermediate sources are replaced: %s",
			yes(c.Policy.RecoverPrimary), yes(c.Policy.RecoverIntermediate))
	}
	line(w, "")
	line(w, "NOW")
	if len(c.Findings)+len(c.Now.Works) == 0 {
		line(w, "  nothing is wrong, nothing would be done")
	} else {
		for _, f := range c.Findings {
			line(w, "  %v: %s: %s", f.At, f.Code, f.Says)
		}
		for _, work := range c.Now.Works {
			line(w, "  %s of %v", strings.ReplaceAll(string(work.Kind), "_", " "), work.Failed)
			printWork(indent{w}, work)
		}
	}
	if c.IfDead == nil {
		return
	}
	d := c.IfDead.Main()
	line(w, "")
	line(w, "IF %v DIED NOW", c.IfDead.Dead)
	switch {
	case c.IfDead.Done() && !d.Promoted().IsZero():
		line(w, "  %v would be promoted", d.Promoted())
	case c.IfDead.Done():
		line(w, "  it would be repaired")
	default:
		line(w, "  it would not be repaired automatically")
	}
	if d.Outcome() != "" {
		line(w, "  %s", d.Outcome())
	}
	list(indent{w}, "not ready all the same:", c.IfDead.Doubts)
	printWork(indent{w}, d)
	for _, l := range d.Lost() {
		line(w, "  lost: %v: %s", l.Key, l.Why)
	}
}

func printWork(w io.Writer, work plan.Work) {
	list(w, "why not:", work.Refused)
	if work.Wait != "" {
		line(w, "waiting: %s", work.Wait)
	}
	if work.Bound != "" {
		line(w, "what may be lost: %s", work.Bound)
	}
	if len(work.Candidates) > 0 {
		line(w, "candidates, the best first:")
	}
	for _, c := range work.Candidates {
		word := "eligible"
		if !c.Eligible {
			word = "vetoed"
		}
		line(w, "  %v  %s, lacks %s, %d received and not applied", c.Key, word, plural.Count(c.Behind, "transaction"),
			c.Unapplied)
		for _, v := range c.Vetoes {
			line(w, "    against it: %s", v)
		}
		for _, r := range c.Reasons {
			line(w, "    - %s", r)
		}
	}
	if len(work.Steps) > 0 {
		line(w, "steps:")
	}
	for _, s := range work.Steps {
		line(w, "  %s: %s", describe(s), s.Why)
	}
}

func describe(s plan.Step) string {
	if s.Source.IsZero() {
		return fmt.Sprintf("%s at %v", s.Kind, s.At)
	}
	return fmt.Sprintf("%s at %v to %v", s.Kind, s.At, s.Source)
}

func (p *program) alias() *cobra.Command {
	return &cobra.Command{Use: "alias CLUSTER [ALIAS]", Short: "Give a cluster a second name; without one, remove it",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: p.completeCluster,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := first(args[1:])
			if err := p.client.SetAlias(cmd.Context(), args[0], name); err != nil {
				return err
			}
			if name == "" {
				return p.done("cluster %s has no alias", args[0])
			}
			return p.done("cluster %s is also called %s", args[0], name)
		}}
}

// indent moves what is written to it two columns to the right. It is given whole lines.
type indent struct{ w io.Writer }

func (i indent) Write(b []byte) (int, error) {
	if _, err := i.w.Write(append([]byte("  "), b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
