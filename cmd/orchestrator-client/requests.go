package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"orchestrator/daemon/api"
	"orchestrator/daemon/api/client"
	"orchestrator/daemon/topology"
)

func (p *program) requestCommands() []*cobra.Command {
	return []*cobra.Command{p.recover(), p.requests(), p.withdraw()}
}

func (p *program) recover() *cobra.Command {
	var r api.RecoverRequest
	var server, candidate string
	var wait bool
	cmd := &cobra.Command{
		Use: "recover CLUSTER", Short: "Request a failover that the policy does not do by itself",
		Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeCluster,
		Long: `Requests the failover of a server that has failed, although the policy of its cluster does not recover it by
itself, the last promotion is recent, or the server is in downtime. Everything else stays as it is: candidates are
ranked and refused, and permits asked, as in an automatic failover. --candidate names the only server that may be
promoted; what stands against it still does. What would be refused is refused at once, with
the reasons, and nothing is stored.

The daemon that leads does it. A request stands for an hour; "requests" says what came of it.`,
		Example: `  orchestrator-client recover shop --reason "the disk died" --dry-run
  orchestrator-client recover shop --reason "the disk died" --wait
  orchestrator-client recover shop --reason "db2 is in the wrong room" --candidate db3:3306`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if server != "" {
				var err error
				if r.Server, err = topology.ParseKey(server); err != nil {
					return misuse("--server: %v", err)
				}
			}
			if candidate != "" {
				var err error
				if r.Candidate, err = topology.ParseKey(candidate); err != nil {
					return misuse("--candidate: %v", err)
				}
			}
			if r.By == "" {
				r.By = p.who()
			}
			return p.request(cmd, args[0], r, wait)
		}}
	f := cmd.Flags()
	f.StringVar(&server, "server", "", "the `SERVER` that has failed (default: the primary)")
	f.StringVar(&candidate, "candidate", "", "the only `SERVER` that may be promoted (default: the best one)")
	f.StringVar(&r.By, "by", "", "`WHO` asks for it (default: you)")
	f.StringVar(&r.Reason, "reason", "", "why")
	f.BoolVar(&r.DryRun, "dry-run", false, "say what would be done, and request nothing")
	f.BoolVar(&wait, "wait", false, "wait until it is done; exit with 5 if nothing comes of it")
	noError(cmd.MarkFlagRequired("reason"))
	for _, flag := range []string{"server", "candidate"} {
		noError(cmd.RegisterFlagCompletionFunc(flag,
			func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
				return p.completeServer(cmd, nil, word)
			}))
	}
	return cmd
}

// request sends a request, and waits for what comes of it if that is asked for.
func (p *program) request(cmd *cobra.Command, cluster string, r api.RecoverRequest, wait bool) error {
	out, err := p.client.Recover(cmd.Context(), cluster, r)
	if err != nil {
		return err
	}
	if !wait || r.DryRun {
		return p.print(out, func(w io.Writer) { printRequested(w, out) })
	}
	done, err := p.client.AwaitRequest(cmd.Context(), out.Request.ID)
	if client.NotFound(err) {
		fmt.Fprintln(p.env.err, "orchestrator-client:", err)
		return errNo
	}
	if err != nil {
		return fmt.Errorf("wait for request %s: %w", out.Request.ID, err)
	}
	return p.print(done, func(w io.Writer) { line(w, "%s: episode %s: %s", done.ID, done.Episode, done.Outcome) })
}

func printRequested(w io.Writer, out api.Requested) {
	if out.DryRun {
		line(w, "the failover of %v would be requested; then:", out.Request.Server)
	} else {
		line(w, "request %s: the failover of %v; the daemon that leads does this:", out.Request.ID, out.Request.Server)
	}
	for _, work := range out.Plan.Works {
		if work.Failed == out.Request.Server {
			printWork(indent{w}, work)
		}
	}
}

func (p *program) requests() *cobra.Command {
	return &cobra.Command{
		Use: "requests [CLUSTER]", Short: "List the requests of the last hour, and what came of them",
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: p.completeCluster,
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := p.client.Requests(cmd.Context(), first(args))
			if err != nil {
				return err
			}
			return p.print(all, func(w io.Writer) {
				var rows [][]string
				for _, r := range all {
					rows = append(rows, []string{r.ID, stamp(r.At), string(r.Kind), r.Cluster, text(r.Server),
						r.By, r.Reason, r.Episode, r.Outcome})
				}
				head := []string{"REQUEST", "AT", "KIND", "CLUSTER", "SERVER", "BY", "REASON", "EPISODE", "OUTCOME"}
				table(w, head, rows)
			})
		}}
}

func (p *program) withdraw() *cobra.Command {
	return &cobra.Command{
		Use: "withdraw REQUEST", Short: "Withdraw a request: what has not begun does not begin",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.client.Withdraw(cmd.Context(), args[0]); err != nil {
				return err
			}
			return p.done("request %s is withdrawn", args[0])
		}}
}
