package main

import (
	"cmp"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"orchestrator/daemon/release"
	"orchestrator/daemon/topology"
)

func (p *program) programCommands() []*cobra.Command {
	version := &cobra.Command{Use: "version", Short: "Print version, commit, Go version and platform of this program",
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			v := release.This()
			return p.print(v, func(w io.Writer) { line(w, "%s", v.Of("orchestrator-client")) })
		}}
	man := &cobra.Command{Use: "man DIR", Short: "Write the manual pages into a directory", Hidden: true,
		Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("write the manual pages: %w", err)
			}
			built := release.This()
			header := &doc.GenManHeader{Title: "ORCHESTRATOR-CLIENT", Section: "1", Source: "orchestrator " +
				built.Version}
			if !built.At.IsZero() { // the same source makes the same pages
				header.Date = &built.At
			}
			cmd.Root().DisableAutoGenTag = true
			if err := doc.GenManTree(cmd.Root(), header, args[0]); err != nil {
				return fmt.Errorf("write the manual pages: %w", err)
			}
			return nil
		}}
	return []*cobra.Command{version, man}
}

// The words that a shell offers come from the daemons; where none answers, none are offered.

func (p *program) completeCluster(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || p.connect() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := p.client.Clusters(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, c := range all {
		out = append(out, cmp.Or(c.Alias, c.Name))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (p *program) completeServer(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || p.connect() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := p.client.Instances(cmd.Context(), "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return keys(all), cobra.ShellCompDirectiveNoFileComp
}

func keys(all []topology.Server) []string {
	var out []string
	for _, v := range all {
		out = append(out, v.Key.String())
	}
	return out
}

func (p *program) completeEpisode(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || p.connect() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := p.client.Episodes(cmd.Context(), "", "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, e := range all {
		out = append(out, e.ID)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
