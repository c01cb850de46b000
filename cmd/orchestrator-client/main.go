// Command orchestrator-client asks running daemons, and tells them what people declare.
//
// It knows nothing of replication and keeps nothing: it parses a command line, makes one call of daemon/api/client, and
// prints. The one idea: every command prints one value, either as JSON exactly as the API has it, or as text for
// people.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"os/user"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"orchestrator/daemon/api/client"
	"orchestrator/daemon/printable"
	"orchestrator/daemon/release"
	"orchestrator/daemon/secret"
)

// Exit codes; docs/client.md lists them too.
const (
	exitOK          = 0
	exitRefused     = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitNotFound    = 4
	exitNo          = 5
)

const exitCodes = `Exit codes:
  0  done
  1  a daemon refused, or tried and failed; or the answer could not be written
  2  the command line is wrong
  3  no daemon answers
  4  what was named does not exist
  5  the answer is no: no daemon leads (leader), something is wrong (findings --check),
     or a failover would be refused (plan --check); the backend's members differ
     (backend verify), or something makes them fail (backend doctor); a hook failed
     (hook try); an audit chain is broken (audit verify)`

// errNo ends a command that was answered, and whose answer is no.
var errNo = errors.New("no")

// environment is what the program is given besides its arguments.
type environment struct {
	get      func(string) string
	out, err io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], environment{os.Getenv, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// run is the whole program, for main and for tests.
func run(ctx context.Context, args []string, env environment) int {
	env.out, env.err = printable.Writer(env.out), printable.Writer(env.err)
	p := &program{env: env}
	root := p.root()
	root.SetArgs(args)
	root.SetOut(env.out)
	root.SetErr(env.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if !errors.Is(err, errNo) {
		fmt.Fprintln(env.err, "orchestrator-client:", err)
	}
	unreachable, usage := new(client.Unreachable), new(usageError)
	switch {
	case errors.Is(err, errNo), errors.Is(err, client.ErrNoLeader):
		return exitNo
	case !p.started, errors.As(err, &usage):
		fmt.Fprintf(env.err, "See '%s --help'.\n", cmd.CommandPath())
		return exitUsage
	case errors.As(err, &unreachable):
		return exitUnreachable
	case client.NotFound(err):
		return exitNotFound
	}
	return exitRefused
}

// usageError is a mistake on the command line that cobra does not see.
type usageError struct{ says string }

func (u *usageError) Error() string { return u.says }

func misuse(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// program is one run: its flags, and the client they make.
type program struct {
	env       environment
	endpoints string
	tokenFile string
	caFile    string
	timeout   time.Duration
	output    string
	started   bool // the command line was understood
	client    *client.Client
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "orchestrator-client",
		Short: "Ask orchestrator's daemons, and send them declarations",
		Long: `orchestrator-client asks running daemons through their HTTP API.

ORCHESTRATOR_API lists the daemons, separated by commas or spaces: http://host:port, or host:port for
short (default http://127.0.0.1:3000). The first daemon that can answer a read answers it. Changes go to
the leader, or to any daemon if no leader is found.

If the daemons need a token, ORCHESTRATOR_TOKEN_FILE or --token-file names a file whose first line is the
token, or ORCHESTRATOR_TOKEN has it. The client never takes a token from the command line, which everybody
can see.

If they serve HTTPS with a certificate that the system does not trust, ORCHESTRATOR_CA_FILE or --ca-file
names a PEM file with its authority.

Name a cluster by its name, its alias or the address of any member; name a server by host:port (default
port 3306).

` + exitCodes,
		SilenceErrors: true, SilenceUsage: true, Version: release.This().Of("orchestrator-client"),
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return p.begin(cmd) },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	f := root.PersistentFlags()
	f.StringVar(&p.endpoints, "api", "", "`URLs` of the daemons, instead of ORCHESTRATOR_API")
	f.StringVar(&p.tokenFile, "token-file", "", "`FILE` whose first line is the token, instead of "+
		"ORCHESTRATOR_TOKEN_FILE")
	f.StringVar(&p.caFile, "ca-file", "", "PEM `FILE` with the authorities of their certificates, instead of "+
		"ORCHESTRATOR_CA_FILE")
	f.DurationVar(&p.timeout, "timeout", 5*time.Second, "how long one daemon may take to answer")
	f.StringVarP(&p.output, "output", "o", "text", "text or json")
	noError(root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"},
		cobra.ShellCompDirectiveNoFileComp)))
	root.AddCommand(p.clusterCommands()...)
	root.AddCommand(p.instanceCommands()...)
	root.AddCommand(p.episodeCommands()...)
	root.AddCommand(p.requestCommands()...)
	root.AddCommand(p.hookCommands()...)
	root.AddCommand(p.daemonCommands()...)
	root.AddCommand(p.backendCommands()...)
	root.AddCommand(p.declaredCommands()...)
	root.AddCommand(p.auditCommands())
	root.AddCommand(p.programCommands()...)
	return root
}

// begin runs when the command line was understood, before any command.
func (p *program) begin(cmd *cobra.Command) error {
	// cobra would ask later, when it can't be told from a failure any more
	if err := cmd.ValidateRequiredFlags(); err != nil {
		return misuse("%v", err)
	}
	if p.output != "text" && p.output != "json" {
		return misuse("--output %q: want text or json", p.output)
	}
	if p.timeout <= 0 {
		return misuse("--timeout %v: want more than 0", p.timeout)
	}
	p.started = true
	return p.connect()
}

// connect makes the client. It asks nobody yet.
func (p *program) connect() error {
	token := p.env.get("ORCHESTRATOR_TOKEN")
	if file := cmp.Or(p.tokenFile, p.env.get("ORCHESTRATOR_TOKEN_FILE")); file != "" {
		var err error
		if token, err = secret.Own(file); err != nil {
			return misuse("read the token: %v", err)
		}
	}
	web, err := p.web()
	if err != nil {
		return misuse("%v", err)
	}
	endpoints := client.Split(cmp.Or(p.endpoints, p.env.get("ORCHESTRATOR_API"), "http://127.0.0.1:3000"))
	if p.client, err = client.New(client.Options{Endpoints: endpoints, Token: token, Timeout: p.timeout,
		HTTP: web}); err != nil {
		return misuse("%v", err)
	}
	return nil
}

// web is what speaks to daemons whose authority the system doesn't know; nil where none is named.
func (p *program) web() (*http.Client, error) {
	file := cmp.Or(p.caFile, p.env.get("ORCHESTRATOR_CA_FILE"))
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the authorities: %s contains no PEM certificate", file)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	return &http.Client{Transport: transport}, nil
}

// who is the name that a change is signed with where nobody gives one, and nothing proves one.
func (p *program) who() string {
	name := p.account()
	p.client.SignedAs(name)
	return name
}

func (p *program) account() string {
	if name := cmp.Or(p.env.get("SUDO_USER"), p.env.get("USER")); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

// noError is for calls that fail only where this program is written wrongly.
func noError(err error) {
	if err != nil {
		panic(err)
	}
}
