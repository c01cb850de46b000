package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"orchestrator/daemon/api"
)

func (p *program) daemonCommands() []*cobra.Command {
	return []*cobra.Command{p.status(), p.leader(), p.recoveries(), p.snapshot()}
}

func (p *program) status() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show what the daemon that answers is doing", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := p.client.Status(cmd.Context())
			if err != nil {
				return err
			}
			return p.print(s, func(w io.Writer) {
				ready := "yes"
				if s.NotReady != "" {
					ready = "no: " + s.NotReady
				}
				recoveries := "on"
				if s.RecoveriesOff != "" {
					recoveries = "off: " + s.RecoveriesOff
				}
				facts(w, "daemon", s.Daemon, "version", s.Version, "started", stamp(s.Started), "ready", ready, "leads",
					yes(s.Leading), "leader", s.Leader, "term", fmt.Sprint(s.Term), "recoveries", recoveries)
			})
		}}
}

func (p *program) leader() *cobra.Command {
	return &cobra.Command{Use: "leader", Short: "Show which daemon leads; exit with 5 if none does", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			endpoint, h, err := p.client.Leader(cmd.Context())
			if err != nil {
				return err
			}
			out := struct {
				Daemon   string `json:"daemon"`
				Endpoint string `json:"endpoint"`
			}{h.Daemon, endpoint}
			return p.print(out, func(w io.Writer) { line(w, "%s  %s", out.Daemon, out.Endpoint) })
		}}
}

func (p *program) recoveries() *cobra.Command {
	show := func(r api.Recoveries) error {
		return p.print(r, func(w io.Writer) {
			if r.On {
				line(w, "recoveries are on")
			} else {
				line(w, "recoveries are off: %s", r.Reason)
			}
		})
	}
	turn := func(word, short string, on bool) *cobra.Command {
		var by, reason string
		cmd := &cobra.Command{Use: word, Short: short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				if by == "" {
					by = p.who()
				}
				r, err := p.client.SwitchRecoveries(cmd.Context(), on, by, reason)
				if err != nil {
					return err
				}
				return show(r)
			}}
		cmd.Flags().StringVar(&by, "by", "", "`WHO` asks for it (default: you)")
		cmd.Flags().StringVar(&reason, "reason", "", "why")
		if !on {
			noError(cmd.MarkFlagRequired("reason"))
		}
		return cmd
	}
	status := &cobra.Command{Use: "status", Short: "Show whether recoveries are on", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := p.client.Recoveries(cmd.Context())
			if err != nil {
				return err
			}
			return show(r)
		}}
	return group("recoveries", "Switch all recoveries off or on, for every daemon",
		turn("on", "Switch all recoveries on", true), turn("off", "Switch all recoveries off", false), status)
}

func (p *program) snapshot() *cobra.Command {
	var format string
	cmd := &cobra.Command{Use: "snapshot [CLUSTER]", Short: "Print the fleet at this moment, for orchestrator analyze",
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: p.completeCluster,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch format {
			case "json":
				s, err := p.client.Snapshot(cmd.Context(), first(args))
				if err != nil {
					return err
				}
				p.output = "json"
				return p.print(s, nil)
			case "drawing":
				s, err := p.client.SnapshotDrawing(cmd.Context(), first(args))
				if err != nil {
					return err
				}
				return p.print(map[string]string{"drawing": s}, func(w io.Writer) { fmt.Fprint(w, s) })
			}
			return misuse("--format %q: want json or drawing", format)
		}}
	cmd.Flags().StringVar(&format, "format", "json", "json or drawing")
	noError(cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"json", "drawing"},
		cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}
