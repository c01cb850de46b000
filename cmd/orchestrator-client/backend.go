package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"orchestrator/daemon/api"
	"orchestrator/daemon/plural"
	"orchestrator/daemon/topology"
)

func (p *program) backendCommands() []*cobra.Command {
	return []*cobra.Command{p.stepDown(), group("backend", "See how the daemons' own database is, and move it",
		p.backendStatus(), p.comparisons(), p.backendWork(), p.promote(), p.rejoin(), p.verify(), p.doctor())}
}

// signed adds the flag by which a change is signed.
func (p *program) signed(cmd *cobra.Command, by *string) *cobra.Command {
	cmd.Flags().StringVar(by, "by", "", "`WHO` asks for it (default: you)")
	cmd.PreRun = func(*cobra.Command, []string) {
		if *by == "" {
			*by = p.who()
		}
	}
	return cmd
}

func (p *program) stepDown() *cobra.Command {
	var by, reason string
	cmd := &cobra.Command{Use: "step-down", Short: "Make the leader transfer the leadership to another daemon",
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			before, _, err := p.client.Leader(cmd.Context())
			if err == nil {
				err = p.client.StepDown(cmd.Context(), by, reason)
			}
			if err != nil {
				return err
			}
			return p.done("%s has stepped down", before)
		}}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	noError(cmd.MarkFlagRequired("reason"))
	return p.signed(cmd, &by)
}

func (p *program) backendStatus() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show the state of the members, which one serves, and the last " +
		"comparison", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		b, err := p.client.Backend(cmd.Context())
		if err != nil {
			return err
		}
		return p.print(b, func(w io.Writer) { printBackend(w, b) })
	}}
}

func printBackend(w io.Writer, b api.Backend) {
	facts(w, "kind", b.Kind, "in use", b.Identity, "unavailable", b.Unavailable, "serves", text(b.Serves), "because",
		b.Why)
	var rows [][]string
	for _, m := range b.Members {
		proxy := ""
		for _, s := range b.Proxy {
			if s.Key == m.Key {
				proxy = fmt.Sprintf("%s, %s", s.State, plural.Count(s.Sessions, "session"))
			}
		}
		says := m.Unfit
		if m.Error != "" {
			says = m.Error
		}
		rows = append(rows, []string{text(m.Key), yes(m.Up), yes(!m.ReadOnly), m.Format, fmt.Sprint(m.Term),
			stamp(m.Newest), strings.Join(m.Replicate, "; "), proxy, says})
	}
	if len(rows) > 0 {
		table(w, []string{"MEMBER", "UP", "WRITABLE", "FORMAT", "TERM", "NEWEST", "REPLICATES", "HAPROXY", "SAYS"},
			rows)
	}
	if b.ProxyError != "" {
		line(w, "HAProxy was not asked: %s", b.ProxyError)
	}
	if b.Compared != nil {
		printComparison(w, *b.Compared)
	}
}

func printComparison(w io.Writer, c api.BackendComparison) {
	line(w, "Compared %s by %s (%s):", stamp(c.At), c.By, c.Why)
	fmt.Fprint(w, c.Comparison.String())
	if c.More > 0 {
		line(w, "… and %d more differences", c.More)
	}
}

func (p *program) comparisons() *cobra.Command {
	return &cobra.Command{Use: "comparisons", Args: cobra.NoArgs,
		Short: "List the comparisons of the last month that found differences, and what was merged",
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := p.client.Comparisons(cmd.Context())
			if err != nil {
				return err
			}
			return p.print(all, func(w io.Writer) {
				if len(all) == 0 {
					line(w, "the members have not differed in the last month")
				}
				for _, c := range all {
					printComparison(w, c)
				}
			})
		}}
}

func (p *program) backendWork() *cobra.Command {
	return &cobra.Command{Use: "work", Short: "Show the current or last operation on the backend", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := p.client.Work(cmd.Context())
			if err != nil {
				return err
			}
			return p.worked(cmd.Context(), w)
		}}
}

// worked follows a work to its end, and prints what came of it.
func (p *program) worked(ctx context.Context, w api.BackendWork) error {
	said := ""
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for w.Ended.IsZero() {
		if w.Says != said {
			said = w.Says
			line(p.env.err, "%s", said)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s continues without this client; to see it: orchestrator-client backend work", w.What)
		case <-tick.C:
		}
		var err error
		if w, err = p.client.Work(ctx); err != nil {
			return err
		}
	}
	err := p.print(w, func(out io.Writer) {
		switch {
		case w.Report != nil:
			fmt.Fprint(out, w.Report.String())
		case w.Comparison != nil:
			fmt.Fprint(out, w.Comparison.String())
		case w.Doctor != nil:
			fmt.Fprint(out, w.Doctor.String())
		}
	})
	switch {
	case err != nil:
		return err
	case w.Error != "":
		return fmt.Errorf("%s: %s", w.What, w.Error)
	case w.Comparison != nil && !w.Comparison.Equal, w.Doctor != nil && len(w.Doctor.Complaints) > 0:
		return errNo
	}
	return nil
}

// member reads a member of the backend from the command line.
func member(text string) (topology.Key, error) {
	k, err := topology.ParseKey(text)
	if err != nil {
		return k, misuse("%v", err)
	}
	return k, nil
}

func (p *program) promote() *cobra.Command {
	var r api.BackendPromoteRequest
	var to string
	cmd := &cobra.Command{Use: "promote --to MEMBER", Short: "Make a member of the backend the one that serves",
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if r.To, err = member(to); err != nil {
				return err
			}
			w, err := p.client.Promote(cmd.Context(), r)
			if err != nil {
				return err
			}
			return p.worked(cmd.Context(), w)
		}}
	f := cmd.Flags()
	f.StringVar(&to, "to", "", "the `MEMBER` that must serve, as host:port")
	f.BoolVar(&r.DryRun, "dry-run", false, "show what would be done, and do nothing")
	f.StringVar(&r.DrainTimeout, "drain-timeout", "", "how long to wait until received transactions are applied "+
		"(default 1m)")
	f.BoolVar(&r.Force, "force", false, "treat the other member as dead although it may be alive; or the data of "+
		"both are lost")
	f.BoolVar(&r.AllowLoss, "allow-loss", false, "discard received transactions that can't be applied")
	noError(cmd.MarkFlagRequired("to"))
	return p.signed(cmd, &r.By)
}

func (p *program) rejoin() *cobra.Command {
	var r api.BackendRejoinRequest
	cmd := &cobra.Command{Use: "rejoin MEMBER", Short: "Make a returning member follow the active one",
		Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.Member, err = member(args[0]); err != nil {
				return err
			}
			w, err := p.client.Rejoin(cmd.Context(), r)
			if err != nil {
				return err
			}
			return p.worked(cmd.Context(), w)
		}}
	f := cmd.Flags()
	f.BoolVar(&r.DryRun, "dry-run", false, "show what would be done, and do nothing")
	f.StringVar(&r.DrainTimeout, "drain-timeout", "", "how long to wait until it has caught up (default 10m)")
	f.BoolVar(&r.Mutual, "mutual", false, "the active one also replicates from it, so that either can serve; by "+
		"default only if it already does")
	f.BoolVar(&r.Seed, "seed", false, "copy the records instead of replaying binary logs of the active one")
	return p.signed(cmd, &r.By)
}

func (p *program) verify() *cobra.Command {
	var r api.BackendVerifyRequest
	cmd := &cobra.Command{Use: "verify", Short: "Compare the records of the members; exit with 5 if they differ",
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := p.client.Verify(cmd.Context(), r)
			if err != nil {
				return err
			}
			return p.worked(cmd.Context(), w)
		}}
	cmd.Flags().BoolVar(&r.Repair, "repair", false, "merge: write the newer version of each differing record to both "+
		"members")
	return p.signed(cmd, &r.By)
}

func (p *program) doctor() *cobra.Command {
	var r api.BackendDoctorRequest
	cmd := &cobra.Command{Use: "doctor", Short: "Find what could make the pair fail; exit with 5 if anything could",
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := p.client.Doctor(cmd.Context(), r)
			if err != nil {
				return err
			}
			return p.worked(cmd.Context(), w)
		}}
	cmd.Flags().BoolVar(&r.Fix, "fix", false, "run the statements that are always safe")
	return p.signed(cmd, &r.By)
}
