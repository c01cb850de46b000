package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"orchestrator/backend/pair"
	"orchestrator/daemon"
	"orchestrator/daemon/config"
	"orchestrator/daemon/topology"
	"orchestrator/haproxy"
)

// backendFlags are those that all commands about the backend share.
type backendFlags struct {
	config, user, passwordFile, output string
	noProxy                            bool
}

func newBackend() *cobra.Command {
	b := &backendFlags{}
	root := &cobra.Command{
		Use:   "backend",
		Short: "Look after the pair of servers that a shared backend is kept in",
		Long: `Looks at the two members of the backend (backend.members of the configuration) directly, whether a daemon runs or not: says how they are and
which serves, finds what would make them fail, compares what they hold, and moves the service from one to the other. docs/runbook.md says what to
do when.

It logs in as --user, or else as the account of the daemons, which may look, compare and merge. What needs more says which GRANT is missing.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			return coded(exitUsage, errors.New("backend wants a command: status, doctor, verify, promote or rejoin"))
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&b.config, "config", defaultConfig, "the configuration `FILE` of a daemon")
	f.StringVar(&b.user, "user", "", "log in as this administrator `NAME`; by default as backend.user")
	f.StringVar(&b.passwordFile, "password-file", "", "a `FILE` with its password")
	f.StringVar(&b.output, "output", "text", "`FORMAT` of the answer: text or json")
	f.BoolVar(&b.noProxy, "no-proxy", false, "don't ask HAProxy, nor tell it anything")
	root.AddCommand(b.status(), b.doctor(), b.verify(), b.promote(), b.rejoin())
	return root
}

// open reads the configuration and opens the pair.
func (b *backendFlags) open(cmd *cobra.Command) (*pair.Pair, error) {
	if err := oneOf("output", b.output, "text", "json"); err != nil {
		return nil, err
	}
	c, err := load(b.config, cmd.Flags().Changed("config"))
	if err != nil {
		return nil, err
	}
	if c.Backend.Kind != "mysql" {
		return nil, coded(exitConfig, fmt.Errorf("%s: backend.kind is %q: there is no pair to look after", b.config,
			c.Backend.Kind))
	}
	members := c.Backend.Members
	if len(members) == 0 {
		only, err := topology.ParseKey(c.Backend.Address)
		if err != nil {
			return nil, coded(exitConfig, fmt.Errorf("%s: backend.address: %w", b.config, err))
		}
		members = []topology.Key{only}
	}
	security, err := c.Backend.TLSConfig()
	if err != nil {
		return nil, coded(exitConfig, fmt.Errorf("%s: %w", b.config, err))
	}
	account, daemons := pair.Account{}, pair.Account{User: c.Backend.User, Password: string(c.Backend.Password)}
	if account, err = b.account(daemons); err != nil {
		return nil, coded(exitUsage, err)
	}
	o := pair.Options{Members: members, Database: c.Backend.Database, Account: account, Backend: daemons, TLS: security,
		LookTimeout: max(c.Backend.Timeout, 2*time.Second), // a person can wait; a busy server is no dead one
		Progress:    func(says string) { fmt.Fprintln(cmd.ErrOrStderr(), says) }}
	if !b.noProxy {
		o.Proxy = proxyOf(c, members)
	}
	p, err := pair.Open(o)
	return p, coded(exitConfig, err)
}

func (b *backendFlags) account(daemons pair.Account) (pair.Account, error) {
	if b.passwordFile == "" {
		if b.user != "" && b.user != daemons.User {
			return pair.Account{}, fmt.Errorf("--user %s wants --password-file with its password", b.user)
		}
		return daemons, nil
	}
	password, err := readPassword(b.passwordFile)
	return pair.Account{User: cmp.Or(b.user, daemons.User), Password: password}, err
}

func readPassword(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	password := strings.TrimRight(string(data), "\r\n")
	if password == "" {
		return "", fmt.Errorf("read password: %s is empty", file)
	}
	return password, nil
}

// run opens the pair, does one thing with it, and prints the answer, also that of what failed half-way.
func (b *backendFlags) run(cmd *cobra.Command, do func(ctx context.Context, p *pair.Pair) (answer any, text string,
	err error)) error {
	p, err := b.open(cmd)
	if err != nil {
		return err
	}
	defer p.Close()
	answer, text, err := do(cmd.Context(), p)
	if b.output == "json" {
		return errors.Join(writeJSON(cmd.OutOrStdout(), answer), err)
	}
	fmt.Fprint(cmd.OutOrStdout(), text)
	return err
}

func (b *backendFlags) status() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Say how the two members are, which of them serves, and whether they hold the same",
		Example: `  orchestrator backend status`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, func(ctx context.Context, p *pair.Pair) (any, string, error) {
				s := p.Status(ctx)
				var err error
				if s.Choice.Serve.IsZero() {
					err = coded(exitBackend, errors.New("no member of the backend is fit to serve"))
				}
				return s, statusText(s), err
			})
		},
	}
}

func (b *backendFlags) doctor() *cobra.Command {
	var fix bool
	doctor := &cobra.Command{
		Use:   "doctor",
		Short: "Find what makes the pair fail, and say how to mend it",
		Long: `Looks closely at both members and at HAProxy. Each complaint comes with the statement that mends it while the server runs, and with the line that
its my.cnf must have so that it stays so. The exit code is 1 while there are complaints.`,
		Example: `  orchestrator backend doctor --user root --password-file /root/.backend
  orchestrator backend doctor --fix --user root --password-file /root/.backend`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, func(ctx context.Context, p *pair.Pair) (any, string, error) {
				found := pair.Doctor(p.Examine(ctx))
				var mended []pair.Complaint
				var failed error
				if fix {
					mended, failed = p.Fix(ctx, found)
					found = pair.Doctor(p.Examine(ctx))
				}
				if len(found) > 0 {
					failed = errors.Join(failed, fmt.Errorf("%d complaints about the backend", len(found)))
				}
				told := daemon.Examined(mended, found)
				return told, told.String(), failed
			})
		},
	}
	doctor.Flags().BoolVar(&fix, "fix", false, "run the statements that are safe whatever goes on; what my.cnf must "+
		"say is left to you")
	return doctor
}

func (b *backendFlags) verify() *cobra.Command {
	var repair bool
	verify := &cobra.Command{
		Use:   "verify",
		Short: "Compare what the two members hold, and merge it",
		Long: `Compares checksums per kind and bucket, and shows the records that differ. What is only on its way from one member to the other is waited for. With
--repair the newer of each record is written to both. The exit code is 1 while they differ.`,
		Example: `  orchestrator backend verify --repair`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, func(ctx context.Context, p *pair.Pair) (any, string, error) {
				v, err := p.Verify(ctx, repair)
				if err != nil {
					return v, "", coded(exitBackend, err)
				}
				if !v.Equal {
					err = fmt.Errorf("%d records differ; to merge them: orchestrator backend verify --repair",
						len(v.Differences))
				}
				return v, daemon.Compared(v).String(), err
			})
		},
	}
	verify.Flags().BoolVar(&repair, "repair", false, "merge what differs: the newer of each record is written to "+
		"both members")
	return verify
}

func (b *backendFlags) promote() *cobra.Command {
	var o pair.PromoteOptions
	var to string
	promote := &cobra.Command{
		Use:   "promote --to MEMBER",
		Short: "Make a member of the backend the one that serves",
		Long: `Of a running pair: refuses writes at the other member for a moment, waits until this one has everything, lets HAProxy serve it, and lets the other
take writes again as soon as no daemon uses it. Of a replica whose primary is dead: applies what was received, ends its replication, and opens it for
writing. It proves the result, and can be run again at any time.`,
		Example: `  orchestrator backend promote --to backend2:3306 --dry-run --user root --password-file /root/.backend`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := topology.ParseKey(to)
			if err != nil {
				return coded(exitUsage, fmt.Errorf("--to: %w", err))
			}
			return b.run(cmd, func(ctx context.Context, p *pair.Pair) (any, string, error) {
				r, err := p.Promote(ctx, k, o)
				return r, daemon.Reported(r).String(), err
			})
		},
	}
	f := promote.Flags()
	f.StringVar(&to, "to", "", "the `MEMBER` that is to serve, as host:port")
	f.BoolVar(&o.DryRun, "dry-run", false, "say what would be done, and do nothing")
	f.DurationVar(&o.DrainTimeout, "drain-timeout", time.Minute, "how long what was received may take to be applied")
	f.BoolVar(&o.Force, "force", false, "the other member is dead, although something says that it may live; or the "+
		"data of both are lost")
	f.BoolVar(&o.AllowLoss, "allow-loss", false, "give up what was received and can't be applied")
	return promote
}

func (b *backendFlags) rejoin() *cobra.Command {
	var o pair.RejoinOptions
	var passwordFile string
	rejoin := &cobra.Command{
		Use:   "rejoin MEMBER",
		Short: "Make a member that comes back, or is new, follow the active one",
		Long: `Lets the member replicate from the active one, from the place on where the two have parted, waits until it has caught up, merges what only it had, and
proves that both hold the same. It keeps the replication account that the server has; one that has none gets it from --replication-user. It can be run
again at any time.

--seed is for a server that holds nothing but this backend.`,
		Example: `  orchestrator backend rejoin backend1:3306 --user root --password-file /root/.backend
  orchestrator backend rejoin backend3:3306 --seed --mutual --replication-user repl --replication-password-file /root/.repl --user root --password-file /root/.backend`,
		Args: oneArg("the member that comes back, as host:port"),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := topology.ParseKey(args[0])
			if err == nil && o.Replication.User != "" {
				if passwordFile == "" {
					err = errors.New("--replication-user wants --replication-password-file")
				} else {
					o.Replication.Password, err = readPassword(passwordFile)
				}
			}
			if err != nil {
				return coded(exitUsage, err)
			}
			return b.run(cmd, func(ctx context.Context, p *pair.Pair) (any, string, error) {
				r, err := p.Rejoin(ctx, k, o)
				return r, daemon.Reported(r).String(), err
			})
		},
	}
	f := rejoin.Flags()
	f.BoolVar(&o.DryRun, "dry-run", false, "say what would be done, and do nothing")
	f.DurationVar(&o.DrainTimeout, "drain-timeout", 10*time.Minute, "how long it may take to catch up")
	f.BoolVar(&o.Mutual, "mutual", false, "the active replicates from it, too, so that either can serve; by default "+
		"only where it does already")
	f.BoolVar(&o.Seed, "seed", false, "copy the records instead of replaying the active's binary logs: for a new "+
		"server, or one that was away for too long")
	f.StringVar(&o.Replication.User, "replication-user", "", "replicate as this account `NAME`")
	f.StringVar(&passwordFile, "replication-password-file", "", "a `FILE` with its password")
	return rejoin
}

// proxyOf is HAProxy by its runtime socket; nil where this machine has none and the configuration doesn't speak of one.
func proxyOf(c config.Config, members []topology.Key) pair.Proxy {
	if _, err := os.Stat(c.HAProxy.Socket); err != nil && c.HAProxy.Agent == "" {
		return nil
	}
	return pair.HAProxy(haproxy.Runtime{Socket: c.HAProxy.Socket}, members)
}
