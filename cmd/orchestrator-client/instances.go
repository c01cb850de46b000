package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"orchestrator/daemon/api"
	"orchestrator/daemon/topology"
)

func (p *program) instanceCommands() []*cobra.Command {
	return []*cobra.Command{p.instances(), p.instance(), p.discover(), p.forget(), p.downtime(), p.tag(), p.untag(),
		p.rule()}
}

func text(k topology.Key) string {
	if k.IsZero() {
		return ""
	}
	return k.String()
}

func (p *program) instances() *cobra.Command {
	return &cobra.Command{Use: "instances [CLUSTER]", Short: "List the servers", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeCluster,
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := p.client.Instances(cmd.Context(), first(args))
			if err != nil {
				return err
			}
			return p.print(all, func(w io.Writer) {
				var rows [][]string
				for _, v := range all {
					rows = append(rows, []string{v.Key.String(), state(v), version(v), writes(v), sources(v),
						threads(v), lag(v), v.Cluster, string(v.Rule)})
				}
				table(w, []string{"SERVER", "STATE", "VERSION", "WRITES", "SOURCE", "IO/SQL", "LAG", "CLUSTER", "RULE"},
					rows)
			})
		}}
}

func state(v topology.Server) string {
	s := "up"
	if !v.Up() {
		s = "down"
		if v.Probe.Failure != "" {
			s = string(v.Probe.Failure)
		}
	}
	if v.Downtime != nil {
		s += ",downtime"
	}
	return s
}

func version(v topology.Server) string {
	if v.Instance == nil {
		return ""
	}
	return fmt.Sprintf("%s %v", v.Instance.Flavor, v.Instance.Version)
}

func writes(v topology.Server) string {
	if v.Instance == nil {
		return ""
	}
	return yes(!v.Instance.ReadOnly)
}

func sources(v topology.Server) string {
	return each(v, func(c topology.Channel) string { return c.Source.String() })
}

func threads(v topology.Server) string {
	return each(v, func(c topology.Channel) string { return string(c.IO) + "/" + string(c.SQL) })
}

func lag(v topology.Server) string {
	return each(v, func(c topology.Channel) string {
		if c.Lag == nil {
			return "?"
		}
		return fmt.Sprintf("%ds", *c.Lag)
	})
}

func each(v topology.Server, f func(topology.Channel) string) string {
	if v.Instance == nil {
		return ""
	}
	var out []string
	for _, c := range v.Instance.Channels {
		out = append(out, f(c))
	}
	return strings.Join(out, ",")
}

func (p *program) instance() *cobra.Command {
	return &cobra.Command{Use: "instance SERVER", Short: "Show everything that is known about a server",
		Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := p.client.Instance(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.print(v, func(w io.Writer) { printServer(w, v) })
		}}
}

func printServer(w io.Writer, v topology.Server) {
	var names, tags []string
	for _, k := range v.Names {
		names = append(names, k.String())
	}
	for _, name := range slices.Sorted(maps.Keys(v.Tags)) {
		tags = append(tags, name+"="+v.Tags[name])
	}
	downtime := ""
	if d := v.Downtime; d != nil {
		downtime = fmt.Sprintf("until %s, %s: %s", stamp(d.Until), d.Owner, d.Reason)
	}
	facts(w, "server", v.Key.String(), "also known as", strings.Join(names, ", "), "cluster", v.Cluster, "state",
		state(v), "error", v.Probe.Error,
		"failing since", stamp(v.Probe.FailingSince), "answered", stamp(v.Probe.Answered), "promotion rule",
		string(v.Rule), "downtime", downtime,
		"tags", strings.Join(tags, ", "))
	i := v.Instance
	if i == nil {
		return
	}
	facts(w, "version", version(v), "uuid", i.UUID, "takes writes", writes(v), "gtid", yes(i.GTID), "executed",
		i.Executed.String(), "binary log", i.BinlogFile)
	for _, c := range i.Channels {
		line(w, "")
		facts(w, "channel", c.Name, "source", c.Source.String(), "io, sql", fmt.Sprintf("%s, %s", c.IO, c.SQL),
			"io error", c.IOError, "sql error", c.SQLError, "received", c.Received.String())
		if c.Lag != nil {
			facts(w, "lag", fmt.Sprintf("%d s", *c.Lag))
		}
	}
}

func (p *program) discover() *cobra.Command {
	return &cobra.Command{Use: "discover SERVER", Short: "Poll a server now, and watch it and all servers that it " +
		"replicates with", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := p.client.Discover(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.print(v, func(w io.Writer) { printServer(w, v) })
		}}
}

func (p *program) forget() *cobra.Command {
	return &cobra.Command{Use: "forget SERVER", Short: "Stop watching a server, until somebody discovers it again",
		Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.client.Forget(cmd.Context(), args[0]); err != nil {
				return err
			}
			return p.done("%s is forgotten", args[0])
		}}
}

func (p *program) downtime() *cobra.Command {
	var d api.DowntimeRequest
	var until string
	begin := &cobra.Command{Use: "begin SERVER", Short: "Watch a server, but do not repair it, until a time",
		Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeServer,
		Example: `  orchestrator-client downtime begin db2 --reason "new disk" --for 2h`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if until != "" {
				var err error
				if d.Until, err = time.Parse(time.RFC3339, until); err != nil {
					return misuse("--until %q: want a time such as 2006-01-02T15:04:05Z", until)
				}
			}
			if (until == "") == (d.Duration == "") {
				return misuse("give either --for or --until")
			}
			if d.Owner == "" {
				d.Owner = p.who()
			}
			out, err := p.client.BeginDowntime(cmd.Context(), args[0], d)
			if err != nil {
				return err
			}
			return p.print(out, func(w io.Writer) { line(w, "%s is in downtime until %s", args[0], stamp(out.Until)) })
		}}
	f := begin.Flags()
	f.StringVar(&d.Owner, "owner", "", "`WHO` asks for it (default: you)")
	f.StringVar(&d.Reason, "reason", "", "why")
	f.StringVar(&d.Duration, "for", "", "for how `LONG`, as 30m or 2h")
	f.StringVar(&until, "until", "", "until this `TIME`, as 2006-01-02T15:04:05Z")
	noError(begin.MarkFlagRequired("reason"))
	end := &cobra.Command{Use: "end SERVER", Short: "Repair a server again", Args: cobra.ExactArgs(1),
		ValidArgsFunction: p.completeServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.client.EndDowntime(cmd.Context(), args[0]); err != nil {
				return err
			}
			return p.done("%s is not in downtime any more", args[0])
		}}
	return group("downtime", "Have a server watched, and not repaired", begin, end)
}

func (p *program) tag() *cobra.Command {
	return &cobra.Command{Use: "tag SERVER NAME[=VALUE]", Short: "Give a server a tag", Args: cobra.ExactArgs(2),
		ValidArgsFunction: p.completeServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, value, _ := strings.Cut(args[1], "=")
			if name == "" {
				return misuse("tag %q: want NAME=VALUE", args[1])
			}
			if err := p.client.SetTag(cmd.Context(), args[0], name, value); err != nil {
				return err
			}
			return p.done("%s is tagged %s=%s", args[0], name, value)
		}}
}

func (p *program) untag() *cobra.Command {
	return &cobra.Command{Use: "untag SERVER NAME", Short: "Remove a tag", Args: cobra.ExactArgs(2),
		ValidArgsFunction: p.completeServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.client.RemoveTag(cmd.Context(), args[0], args[1]); err != nil {
				return err
			}
			return p.done("%s has no tag %s", args[0], args[1])
		}}
}

func (p *program) rule() *cobra.Command {
	set := &cobra.Command{Use: "set SERVER prefer|neutral|prefer_not|must_not",
		Short: "Set whether a server should become the primary", Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{string(topology.Prefer), string(topology.Neutral), string(topology.PreferNot),
					string(topology.MustNot)}, cobra.ShellCompDirectiveNoFileComp
			}
			return p.completeServer(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.client.SetRule(cmd.Context(), args[0], topology.Rule(args[1])); err != nil {
				return err
			}
			return p.done("the promotion rule of %s is %s", args[0], args[1])
		}}
	return group("rule", "Say which servers are wanted as primaries", set)
}

// group is a command that only holds others. Alone, or with a word that is none of them, it is misused; cobra would
// print help and be content.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name())
	}
	g := &cobra.Command{Use: name, Short: short, RunE: func(_ *cobra.Command, args []string) error {
		return misuse("%s: want %s, got %q", name, strings.Join(names, " or "), first(args))
	}}
	g.AddCommand(commands...)
	return g
}
