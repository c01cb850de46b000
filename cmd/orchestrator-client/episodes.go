package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"orchestrator/daemon/api"
)

func (p *program) episodeCommands() []*cobra.Command {
	return []*cobra.Command{p.episodes(), p.episode(), p.acknowledge()}
}

func (p *program) episodes() *cobra.Command {
	var open bool
	cmd := &cobra.Command{Use: "episodes [CLUSTER]", Short: "List the episodes, newest first",
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: p.completeCluster,
		RunE: func(cmd *cobra.Command, args []string) error {
			only := ""
			if open {
				only = "true"
			}
			all, err := p.client.Episodes(cmd.Context(), first(args), only)
			if err != nil {
				return err
			}
			return p.print(all, func(w io.Writer) {
				var rows [][]string
				for _, e := range all {
					says := e.Outcome
					if e.Blocked != "" {
						says = "blocked: " + e.Blocked
					}
					rows = append(rows, []string{e.ID, stamp(e.Opened), stamp(e.Closed), string(e.Stage),
						string(e.Code), text(e.Failed), text(e.Candidate), says})
				}
				table(w, []string{"EPISODE", "OPENED", "CLOSED", "STAGE", "FINDING", "FAILED", "CANDIDATE", "SAYS"},
					rows)
			})
		}}
	cmd.Flags().BoolVar(&open, "open", false, "only those that are open")
	return cmd
}

func (p *program) episode() *cobra.Command {
	return &cobra.Command{Use: "episode ID", Short: "Show an episode, with every step that was tried",
		Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeEpisode,
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := p.client.Episode(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.print(e, func(w io.Writer) { printEpisode(w, e) })
		}}
}

func printEpisode(w io.Writer, e api.Episode) {
	acknowledged := ""
	if a := e.Acknowledged; a != nil {
		acknowledged = fmt.Sprintf("%s, %s: %s", stamp(a.At), a.By, a.Comment)
	}
	requested := ""
	if q := e.Request; q != nil {
		requested = fmt.Sprintf("%s, %s: %s", stamp(q.At), q.By, q.Reason)
		if !q.Candidate.IsZero() {
			requested += fmt.Sprintf(" (only %v may be promoted)", q.Candidate)
		}
	}
	facts(w, "episode", e.ID, "cluster", e.Cluster, "kind", string(e.Kind), "failed", text(e.Failed), "finding",
		string(e.Code), "requested", requested, "stage", string(e.Stage),
		"opened", stamp(e.Opened), "promoted", stamp(e.Promoted), "closed", stamp(e.Closed), "candidate",
		text(e.Candidate), "why", e.Why,
		"blocked", e.Blocked, "outcome", e.Outcome, "writes", e.Writes(),
		"fenced", stamp(e.Fenced), "acknowledged", acknowledged)
	list(w, "evidence:", e.Evidence)
	for _, l := range e.Lost {
		line(w, "lost: %v: %s", l.Key, l.Why)
	}
	var rows [][]string
	for _, s := range e.Steps {
		outcome := "done"
		if s.Error != "" {
			outcome = s.Error
		}
		rows = append(rows, []string{s.Started.UTC().Format("15:04:05.000"), fmt.Sprintf("%.1f ms", 1000*s.Took),
			describe(s.Step), s.Why, outcome})
	}
	below(w, []string{"STARTED", "TOOK", "STEP", "WHY", "OUTCOME"}, rows)
	rows = nil
	for _, run := range e.Hooks {
		rows = append(rows, []string{run.Started.UTC().Format("15:04:05.000"), run.Hook, string(run.Moment),
			fmt.Sprint(run.Attempt), wentHow(run)})
	}
	below(w, []string{"STARTED", "HOOK", "MOMENT", "ATTEMPT", "OUTCOME"}, rows)
}

// below prints a table after an empty line, or nothing when there is nothing in it.
func below(w io.Writer, head []string, rows [][]string) {
	if len(rows) > 0 {
		line(w, "")
		table(w, head, rows)
	}
}

func (p *program) acknowledge() *cobra.Command {
	var by, comment string
	cmd := &cobra.Command{Use: "acknowledge ID", Short: "Acknowledge an episode: it no longer delays the next " +
		"promotion, and its old primary is no longer fenced", Args: cobra.ExactArgs(1),
		ValidArgsFunction: p.completeEpisode,
		Long: `Acknowledges an episode. It then no longer delays the next promotion (anti-flapping), and nothing more is
done for it: an old primary that comes back writable is not made read-only, and replicas that could not be
reached are not moved under the new one. So first make sure that the old primary is off for good, or is
read-only and stays read-only after a restart ("episode ID" says "fenced" when it was found read-only).`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if by == "" {
				by = p.who()
			}
			e, err := p.client.Acknowledge(cmd.Context(), args[0], by, comment)
			if err != nil {
				return err
			}
			return p.print(e, func(w io.Writer) { line(w, "%s is acknowledged", e.ID) })
		}}
	cmd.Flags().StringVar(&by, "by", "", "`WHO` acknowledges (default: you)")
	cmd.Flags().StringVar(&comment, "comment", "", "what was found, or done")
	noError(cmd.MarkFlagRequired("comment"))
	return cmd
}
