package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"orchestrator/daemon/topology"
)

func (p *program) programCommands() []*cobra.Command {
	version := &cobra.Command{Use: "version", Short: "Print what this program was built of", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		v := built()
		return p.print(v, func(w io.Writer) { line(w, "orchestrator-client %s %s %s", v.Version, v.Commit, v.Go) })
	}}
	man := &cobra.Command{Use: "man DIR", Short: "Write the manual pages into a directory", Hidden: true, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		if err := os.MkdirAll(args[0], 0o755); err != nil {
			return fmt.Errorf("write the manual pages: %w", err)
		}
		v := built()
		header := &doc.GenManHeader{Title: "ORCHESTRATOR-CLIENT", Section: "1", Source: "orchestrator " + v.Version, Date: &v.At}
		cmd.Root().DisableAutoGenTag = true
		if err := doc.GenManTree(cmd.Root(), header, args[0]); err != nil {
			return fmt.Errorf("write the manual pages: %w", err)
		}
		return nil
	}}
	return []*cobra.Command{version, man}
}

// build is what the program was built of.
type build struct {
	Version string    `json:"version"`
	Commit  string    `json:"commit,omitempty"`
	Go      string    `json:"go"`
	At      time.Time `json:"at,omitzero"` // of the commit: the same source makes the same pages
}

func built() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build{Version: "unknown"}
	}
	b := build{Version: cmp.Or(info.Main.Version, "(devel)"), Go: info.GoVersion}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.At, _ = time.Parse(time.RFC3339, s.Value) // zero when the builder wrote no time
		}
	}
	return b
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
