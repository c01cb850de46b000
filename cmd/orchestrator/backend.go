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
	"orchestrator/daemon/config"
	"orchestrator/daemon/plural"
	"orchestrator/daemon/topology"
	"orchestrator/haproxy"
)

// backendFlags are the flags that all backend commands share.
type backendFlags struct {
	config, user, passwordFile, output string
	noProxy                            bool
}

func newBackend() *cobra.Command {
	b := &backendFlags{}
	root := &cobra.Command{
		Use:   "backend",
		Short: "Look after the pair of servers that store a shared backend",
		Long: `Connects directly to the two members of the backend (backend.members in the configuration); no daemon needs
to run. It reports their state and which one serves, finds what could make them fail, compares their
records, and moves the service from one to the other. docs/runbook.md says when to use which command.

It logs in as --user, or as the account of the daemons, which may look, compare and merge. A command that
needs more privileges says which GRANT is missing.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			return coded(exitUsage, errors.New("backend needs a command: status, doctor, verify, promote or rejoin"))
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&b.config, "config", defaultConfig, "the configuration `FILE` of a daemon")
	f.StringVar(&b.user, "user", "", "log in as this administrator `NAME`; by default as backend.user")
	f.StringVar(&b.passwordFile, "password-file", "", "`FILE` with its password")
	f.StringVar(&b.output, "output", "text", "`FORMAT` of the answer: text or json")
	f.BoolVar(&b.noProxy, "no-proxy", false, "don't use HAProxy's runtime socket")
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
	security, err := c.Backend.Security()
	if err != nil {
		return nil, coded(exitConfig, fmt.Errorf("%s: %w", b.config, err))
	}
	account, daemons := pair.Account{}, pair.Account{User: c.Backend.User, Password: string(c.Backend.Password)}
	if account, err = b.account(daemons); err != nil {
		return nil, coded(exitUsage, err)
	}
	o := pair.Options{Members: members, Database: c.Backend.Database, Account: account, Backend: daemons,
		Security:    security,
		LookTimeout: max(c.Backend.Timeout, 2*time.Second), // a person can wait; a busy server is not dead
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
			return pair.Account{}, fmt.Errorf("--user %s needs --password-file", b.user)
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

// run opens the pair, does one thing with it, and prints the answer, even if it failed half-way.
func (b *backendFlags) run(cmd *cobra.Command,
	do func(ctx context.Context, p *pair.Pair) (answer any, text string, err error)) error {
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
		Short:   "Show the state of the two members, which one serves, and whether their records are the same",
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
		Short: "Find what could make the pair fail, and how to fix it",
		Long: `Examines both members and HAProxy. Each complaint shows the statement that fixes it on the running server,
and the line for my.cnf that makes the fix permanent. The exit code is 1 while there are complaints.`,
		Example: `  orchestrator backend doctor --user root --password-file /root/.backend
  orchestrator backend doctor --fix --user root --password-file /root/.backend`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, func(ctx context.Context, p *pair.Pair) (any, string, error) {
				found, failed := p.Doctor(ctx, fix)
				if n := len(found.Complaints); n > 0 {
					failed = errors.Join(failed, fmt.Errorf("%s about the backend", plural.Count(n, "complaint")))
				}
				return found, found.String(), failed
			})
		},
	}
	doctor.Flags().BoolVar(&fix, "fix", false, "run the statements that are always safe; you still have to edit my.cnf")
	return doctor
}

func (b *backendFlags) verify() *cobra.Command {
	var repair bool
	verify := &cobra.Command{
		Use:   "verify",
		Short: "Compare the records of the two members, and merge them",
		Long: `Compares checksums by kind and bucket, and shows the records that differ. It waits for records that are
still being replicated. With --repair it writes the newer version of each record to both members. The exit
code is 1 while they differ.`,
		Example: `  orchestrator backend verify --repair`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, func(ctx context.Context, p *pair.Pair) (any, string, error) {
				v, err := p.Verify(ctx, repair)
				if err != nil {
					return v, "", coded(exitBackend, err)
				}
				if !v.Equal {
					err = fmt.Errorf("%s %s; to merge: orchestrator backend verify --repair",
						plural.Count(len(v.Differences), "record"), plural.Of(len(v.Differences), "differs", "differ"))
				}
				return v, v.String(), err
			})
		},
	}
	verify.Flags().BoolVar(&repair, "repair", false, "merge: write the newer version of each differing record to "+
		"both members")
	return verify
}

func (b *backendFlags) promote() *cobra.Command {
	var o pair.PromoteOptions
	var to string
	promote := &cobra.Command{
		Use:   "promote --to MEMBER",
		Short: "Make a member of the backend the one that serves",
		Long: `In a running pair, it makes the other member read-only for a moment, waits until this one has everything,
makes HAProxy serve it, and makes the other one writable again when no daemon uses it any more. For a
replica whose primary is dead, it applies what was received, stops replication, and makes the replica
writable. It verifies the result. You can run it again at any time.`,
		Example: `  orchestrator backend promote --to backend2:3306 --dry-run --user root --password-file /root/.backend`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := topology.ParseKey(to)
			if err != nil {
				return coded(exitUsage, fmt.Errorf("--to: %w", err))
			}
			return b.run(cmd, func(ctx context.Context, p *pair.Pair) (any, string, error) {
				r, err := p.Promote(ctx, k, o)
				return r, r.String(), err
			})
		},
	}
	f := promote.Flags()
	f.StringVar(&to, "to", "", "the `MEMBER` that must serve, as host:port")
	f.BoolVar(&o.DryRun, "dry-run", false, "show what would be done, and do nothing")
	f.DurationVar(&o.DrainTimeout, "drain-timeout", time.Minute, "how long to wait until received transactions are "+
		"applied")
	f.BoolVar(&o.Force, "force", false, "treat the other member as dead although it may be alive; or the data of "+
		"both are lost")
	f.BoolVar(&o.AllowLoss, "allow-loss", false, "discard received transactions that can't be applied")
	return promote
}

func (b *backendFlags) rejoin() *cobra.Command {
	var o pair.RejoinOptions
	var passwordFile string
	rejoin := &cobra.Command{
		Use:   "rejoin MEMBER",
		Short: "Make a returning or new member follow the active one",
		Long: `Makes the member replicate from the active one, from the point where the two diverged. It waits until the
member has caught up, merges what only that member had, and verifies that both hold the same records. It
keeps the replication account that the server has; a server without one gets --replication-user. You can run
it again at any time.

Use --seed only for a server that holds nothing but this backend.`,
		Example: `  orchestrator backend rejoin backend1:3306 --user root --password-file /root/.backend
  orchestrator backend rejoin backend3:3306 --seed --mutual --user root --password-file /root/.backend \
    --replication-user repl --replication-password-file /root/.repl`,
		Args: oneArg("the member that returns, as host:port"),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := topology.ParseKey(args[0])
			if err == nil && o.Replication.User != "" {
				if passwordFile == "" {
					err = errors.New("--replication-user needs --replication-password-file")
				} else {
					o.Replication.Password, err = readPassword(passwordFile)
				}
			}
			if err != nil {
				return coded(exitUsage, err)
			}
			return b.run(cmd, func(ctx context.Context, p *pair.Pair) (any, string, error) {
				r, err := p.Rejoin(ctx, k, o)
				return r, r.String(), err
			})
		},
	}
	f := rejoin.Flags()
	f.BoolVar(&o.DryRun, "dry-run", false, "show what would be done, and do nothing")
	f.DurationVar(&o.DrainTimeout, "drain-timeout", 10*time.Minute, "how long to wait until it has caught up")
	f.BoolVar(&o.Mutual, "mutual", false, "the active one also replicates from it, so that either can serve; by "+
		"default only if it already does")
	f.BoolVar(&o.Seed, "seed", false, "copy the records instead of replaying binary logs of the active one: for a "+
		"new server, or one that was away for too long")
	f.StringVar(&o.Replication.User, "replication-user", "", "replicate as this account `NAME`")
	f.StringVar(&passwordFile, "replication-password-file", "", "`FILE` with its password")
	f.BoolVar(&o.GetPublicKey, "get-source-public-key", false, "let the member ask its source for the public key that "+
		"the password is encrypted with (MySQL without TLS); anyone who answers at that address gets the password")
	return rejoin
}

// proxyOf returns HAProxy at its runtime socket, or nil if this machine has none and the configuration doesn't mention
// it.
func proxyOf(c config.Config, members []topology.Key) pair.Proxy {
	if _, err := os.Stat(c.HAProxy.Socket); err != nil && c.HAProxy.Agent == "" {
		return nil
	}
	return pair.HAProxy(haproxy.Runtime{Socket: c.HAProxy.Socket}, members)
}
