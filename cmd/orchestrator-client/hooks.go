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
	list := &cobra.Command{Use: "hooks", Short: "List the hooks of the daemon that answers, and what each was told last", Args: cobra.NoArgs,
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
		row := []string{h.Name, strings.Join(h.Clusters, " "), strings.Join(on, " "), cmp.Or(h.Program, h.Host), "", "", "nothing yet"}
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
	cmd := &cobra.Command{Use: "try HOOK [MOMENT]", Short: "Have the daemon that leads run a hook now, as a trial", Args: cobra.RangeArgs(1, 2),
		Long: `Has the daemon that leads, or the only one that --api names, run a hook now, in the service's own sandbox, and shows what came of it.

It is really run. What it is told is about an episode that there never was, of db1.example, whose replica db2.example took its place, and
says so: "test": true in the message, ORC_TEST=true in the environment of a command. A script that does not look at that does what it does
in an emergency; so this asks for --yes. It is ended after 25 s, or after its own timeout when that is less, and when you end this (Ctrl-C).

MOMENT is the first at which the hook is told something, unless you name one: ` + strings.Join(moments(), ", ") + ".",
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
			return misuse("this really runs %s, which is told that it is a trial (ORC_TEST=true, \"test\": true); say --yes when it heeds that, or does no harm", runs)
		}
		if len(args) > 1 {
			m = hook.Moment(args[1])
		}
		t, err := p.client.TryHook(cmd.Context(), args[0], api.HookTrialRequest{Moment: m, By: by})
		if err != nil {
			return err
		}
		err = p.print(t, func(w io.Writer) {
			facts(w, "hook", t.Hook, "moment", string(t.Moment), "daemon", t.Daemon, "took", fmt.Sprintf("%.1f ms", 1000*t.Took), "outcome", string(t.Outcome), "why", t.Says)
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
