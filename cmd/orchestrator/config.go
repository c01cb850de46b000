package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"orchestrator/daemon/config"
)

const defaultConfig = "/etc/orchestrator/orchestrator.toml"

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check a configuration file, print the defaults, or print the public key of a server",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return coded(exitUsage, errors.New("config needs a command: check, defaults or key"))
		},
	}
	cmd.AddCommand(
		newKey(),
		newConfigCheck(),
		&cobra.Command{
			Use:     "defaults",
			Short:   "Print every key with its default, and when to change it",
			Example: `  orchestrator config defaults > orchestrator.toml`,
			Args:    noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				_, err := fmt.Fprint(cmd.OutOrStdout(), config.DefaultFile())
				return err
			},
		},
	)
	return cmd
}

func newConfigCheck() *cobra.Command {
	var file string
	check := &cobra.Command{
		Use: "check [FILE]",
		Short: "List everything that is wrong with a configuration file; if nothing is wrong, print the " +
			"effective settings",
		Example: `  orchestrator config check
  orchestrator config check my.toml
  orchestrator config check --config my.toml`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch named := cmd.Flags().Changed("config"); {
			case len(args) > 1 || named && len(args) > 0:
				return coded(exitUsage, fmt.Errorf("%s needs one configuration file, as an argument or with --config",
					cmd.CommandPath()))
			case len(args) == 1:
				file = args[0]
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Vet(file)
			if err != nil {
				return coded(exitConfig, err)
			}
			for _, risk := range c.Risks() {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", risk)
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), c)
			return err
		},
	}
	check.Flags().StringVar(&file, "config", defaultConfig, "the configuration `FILE` of a daemon")
	return check
}

// load reads the configuration of the daemon. If no file was named and the default file does not exist, the error says
// how to begin.
func load(file string, named bool) (config.Config, error) {
	c, err := config.Load(file)
	if errors.Is(err, fs.ErrNotExist) && !named {
		err = fmt.Errorf("there is no configuration at %s: name one with --config FILE, or start from the defaults: "+
			"orchestrator config defaults > %s", file, file)
	}
	return c, coded(exitConfig, err)
}
