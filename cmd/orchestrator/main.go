// Command orchestrator is the daemon, and the tools for the people who run it: check a configuration, save a snapshot
// of a fleet, and ask what the daemon would do with one.
//
// It contains flags, signals and exit codes. It knows nothing about replication: the packages under daemon do. The one
// idea: every command is a function of its arguments, its input and a context, and returns an error that carries the
// exit code.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"orchestrator/daemon/config"
	"orchestrator/daemon/printable"
)

// Exit codes; docs/configuration.md lists them too.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitConfig      = 3
	exitBackend     = 4
	exitListen      = 5
	exitSnapshot    = 6
	exitUnreachable = 7
)

const exitCodes = `Exit codes:
    0  success; the daemon received a signal and stopped cleanly
  1  it ran and failed; or the daemon received a second signal and stopped at once
  2  the command line is wrong
  3  the configuration is wrong, or can't be read
  4  the backend can't be opened
  5  the listen address is in use, or can't be used
  6  the input is not a snapshot
  7  the daemon can't be reached, or it refused`

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program, for main and for tests.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	out, errs = printable.Writer(out), printable.Writer(errs)
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var problems config.Problems
	switch {
	case errors.As(err, &problems): // each already names its file
		fmt.Fprintln(errs, err)
	default:
		fmt.Fprintf(errs, "orchestrator: %v\n", err)
	}
	code := exitFailure
	var coded codedError
	if errors.As(err, &coded) {
		code = coded.code
	}
	if code == exitUsage {
		fmt.Fprintf(errs, "See: %s --help\n", cmd.CommandPath())
	}
	return code
}

// codedError is an error with the exit code of the program.
type codedError struct {
	code int
	err  error
}

func (e codedError) Error() string { return e.err.Error() }
func (e codedError) Unwrap() error { return e.err }

func coded(code int, err error) error {
	if err == nil {
		return nil
	}
	return codedError{code, err}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "orchestrator",
		Short: "Watches MySQL and MariaDB replication, and repairs it",
		Long: `orchestrator finds out how a fleet of MySQL and MariaDB servers replicates, watches it, reports what is
wrong, and repairs it. Above all, when a primary dies, it promotes the right replica and moves the others
under it.

Without a command, it is the daemon. SIGHUP makes it read its configuration again. SIGTERM and SIGINT stop
it cleanly; a second one stops it at once.

` + exitCodes,
		Args:          noArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return coded(exitUsage, err) })
	serve := newServe()
	root.RunE = serve.RunE
	root.Flags().AddFlagSet(serve.Flags())
	root.AddCommand(serve, newConfig(), newAnalyze(), newSnapshot(), newHAProxy(), newBackend(), newVersion(), newMan())
	return root
}

// noArgs refuses arguments. For a word that resembles a command, it suggests that command.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !cmd.HasAvailableSubCommands() {
		return coded(exitUsage, fmt.Errorf("%s takes no arguments; got %q", cmd.CommandPath(), args[0]))
	}
	err := fmt.Errorf("no command %q", args[0])
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w; did you mean %q?", err, near[0])
	}
	return coded(exitUsage, err)
}

// oneArg requires exactly one argument. What names it in the error.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return coded(exitUsage, fmt.Errorf("%s needs one argument, %s; got %d", cmd.CommandPath(), what, len(args)))
		}
		return nil
	}
}

// oneOf refuses a flag whose value is not one of the words.
func oneOf(flag, value string, words ...string) error {
	for _, w := range words {
		if value == w {
			return nil
		}
	}
	return coded(exitUsage, fmt.Errorf("--%s %q is not valid; use one of %q", flag, value, words))
}
