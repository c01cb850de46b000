package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"orchestrator/daemon/config"
	managed "orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

func newKey() *cobra.Command {
	var user string
	key := &cobra.Command{
		Use:   "key SERVER",
		Short: "Print the public key of a MySQL server, for public_key_file",
		Long: `Asks a MySQL server for its public key, and prints it in PEM format. No password is sent. A server whose key is in
servers.public_key_file (or backend.public_key_file) gets the password without TLS; the file may contain many keys.

Anyone on the network between can send another key. Compare the fingerprint with that of the file public_key.pem in
the data directory of the server:

  openssl pkey -pubin -in public_key.pem -outform DER | sha256sum`,
		Example: `  orchestrator config key db1:3306 >> /etc/orchestrator/servers.pem`,
		Args:    oneArg("the server, as host:port"),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := topology.ParseKey(args[0])
			if err != nil {
				return coded(exitUsage, err)
			}
			public, err := managed.FetchKey(cmd.Context(), managed.Address(k), managed.Options{
				Account: managed.Account{User: user}, Timeout: 10 * time.Second})
			if errors.Is(err, managed.ErrNoKey) {
				return fmt.Errorf("ask %v for its public key as %q: %w; --user names another account", k, user, err)
			}
			if err != nil {
				return coded(exitUnreachable, fmt.Errorf("ask %v for its public key: %w", k, err))
			}
			fmt.Fprintf(cmd.ErrOrStderr(),
				"SHA-256 of the key: %s; compare it with that of public_key.pem on the server\n",
				managed.Fingerprint(public))
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "# %v, SHA-256 %s\n%s", k, managed.Fingerprint(public),
				managed.EncodeKey(public))
			return err
		},
	}
	key.Flags().StringVar(&user, "user", config.Default().Servers.User, "ask as the account with this `NAME`; it "+
		"must log in with caching_sha2_password or sha256_password")
	return key
}
