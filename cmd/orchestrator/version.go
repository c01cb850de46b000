package main

import (
	"cmp"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// version says what was built, of what, by what: the module's version, the commit and the compiler.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "orchestrator (built without build information)"
	}
	out := "orchestrator " + cmp.Or(info.Main.Version, "(devel)")
	if revision := setting(info, "vcs.revision"); revision != "" {
		out += " commit " + revision
		if setting(info, "vcs.modified") == "true" {
			out += " with changes"
		}
	}
	return out + " " + info.GoVersion
}

func setting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print what this program was built of",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version())
			return err
		},
	}
}

// newMan is for those who package the program.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages into a directory",
		Hidden: true,
		Args:   oneArg("a directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			header := &doc.GenManHeader{Title: "ORCHESTRATOR", Section: "1", Source: version()}
			if info, ok := debug.ReadBuildInfo(); ok { // the same source makes the same pages
				if at, err := time.Parse(time.RFC3339, setting(info, "vcs.time")); err == nil {
					header.Date = &at
				}
			}
			cmd.Root().DisableAutoGenTag = true
			if err := doc.GenManTree(cmd.Root(), header, args[0]); err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			return nil
		},
	}
}
