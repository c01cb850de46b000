package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"orchestrator/daemon/api"
	"orchestrator/daemon/hook"
)

func (p *program) hookCommands() []*cobra.Command {
	list := &cobra.Command{Use: "hooks", Short: "List the hooks of the daemon that answers, and the last " +
		"notification of each", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := p.client.Hooks(cmd.Context())
			if err != nil {
				return err
			}
			return p.print(all, func(w io.Writer) { printHooks(w, all) })
		}}
	return []*cobra.Command{list, group("hook", "Try a hook", p.tryHook())}
}

func printHooks(w io.Writer, all []api.Hook) {
	if len(all) == 0 {
		line(w, "no hook is configured")
		return
	}
	var rows [][]string
	for _, h := range all {
		var on []string
		for _, m := range h.On {
			on = append(on, string(m))
		}
		row := []string{h.Name, strings.Join(h.Clusters, " "), strings.Join(on, " "), cmp.Or(h.Program, h.Host), "", "",
			"nothing yet"}
		if l := h.Last; l != nil {
			row[4], row[5], row[6] = stamp(l.Started), l.Episode+" "+string(l.Moment), wentHow(*l)
		}
		rows = append(rows, row)
	}
	table(w, []string{"HOOK", "CLUSTERS", "ON", "TELLS", "LAST", "ABOUT", "OUTCOME"}, rows)
}

// wentHow is the outcome of a run in words.
func wentHow(r hook.Run) string {
	switch {
	case r.Ended.IsZero():
		return "under way, or its daemon died"
	case r.Says != "":
		return fmt.Sprintf("%s: %s", r.Outcome, r.Says)
	}
	return string(r.Outcome)
}

func (p *program) tryHook() *cobra.Command {
	var by string
	var yes bool
	cmd := &cobra.Command{Use: "try HOOK [MOMENT]", Short: "Make the leader run a hook now, as a trial",
		Args: cobra.RangeArgs(1, 2),
		Long: `Makes the leader, or the only daemon in --api, run a hook now, in the sandbox of the service, and shows
the result.

The hook really runs. It receives an invented episode, in which db2.example replaced its primary
db1.example, with "test": true in the message and ORC_TEST=true in the environment of a command. A script
that does not check for that does what it does in an emergency, so you must give --yes. The hook is killed
after 25 s, or after its own timeout if that is shorter, and when you stop this command (Ctrl-C).

MOMENT is the first at which the hook is told something, unless you name one:` + strings.Join(moments(), ", ") + ".",
		ValidArgsFunction: p.completeHook}
	cmd.Flags().BoolVar(&yes, "yes", false, "really run it")
	p.signed(cmd, &by)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		all, err := p.client.Hooks(cmd.Context())
		if err != nil {
			return err
		}
		m, runs := hook.Opened, "hook "+args[0] // the daemon that leads may have one that the one that answers has not
		for _, h := range all {
			if h.Name == args[0] && len(h.On) > 0 {
				m, runs = h.On[0], cmp.Or(h.Program, h.Host)
			}
		}
		if !yes {
			return misuse("this really runs %s, which is told that it is a trial (ORC_TEST=true, \"test\": true); "+
				"say --yes when it heeds that, or does no harm", runs)
		}
		if len(args) > 1 {
			m = hook.Moment(args[1])
		}
		t, err := p.client.TryHook(cmd.Context(), args[0], api.HookTrialRequest{Moment: m, By: by})
		if err != nil {
			return err
		}
		err = p.print(t, func(w io.Writer) {
			facts(w, "hook", t.Hook, "moment", string(t.Moment), "daemon", t.Daemon, "took",
				fmt.Sprintf("%.1f ms", 1000*t.Took), "outcome", string(t.Outcome), "why", t.Says)
			if t.Output != "" {
				line(w, "\n%s", t.Output)
			}
		})
		if err == nil && t.Outcome != hook.OK {
			err = errNo
		}
		return err
	}
	return cmd
}

func moments() []string {
	var out []string
	for _, m := range hook.Moments() {
		out = append(out, string(m))
	}
	return out
}

func (p *program) completeHook(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return moments(), cobra.ShellCompDirectiveNoFileComp
	}
	if len(args) > 1 || p.connect() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := p.client.Hooks(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, h := range all {
		out = append(out, h.Name)
	}
	return slices.Sorted(slices.Values(out)), cobra.ShellCompDirectiveNoFileComp
}
