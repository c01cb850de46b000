package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"orchestrator/daemon/config"
	"orchestrator/daemon/plural"
	"orchestrator/haproxy"
)

func newHAProxy() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "haproxy",
		Short: "Write a configuration for HAProxy, or check an existing one",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			return coded(exitUsage, errors.New("haproxy needs a command: config or check"))
		},
	}
	cmd.AddCommand(newHAProxyConfig(), newHAProxyCheck())
	return cmd
}

func newHAProxyConfig() *cobra.Command {
	var configFile, version string
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Write a configuration for the HAProxy in front of the backend pair and the daemons",
		Long: `Writes to standard output a configuration for HAProxy. HAProxy then serves the fit member of the backend
pair at haproxy.database, and the API of the daemon that leads at haproxy.http. The values come from the
daemon's configuration: backend.members, haproxy.*, http.listen, http.identity_header and peers.daemons.`,
		Example: `  orchestrator haproxy config --config /etc/orchestrator/orchestrator.toml > haproxy.cfg.new &&
    haproxy -c -f haproxy.cfg.new`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("version", version, haproxy.Versions[:]...); err != nil {
				return err
			}
			c, err := load(configFile, cmd.Flags().Changed("config"))
			if err != nil {
				return err
			}
			v, err := haproxyValues(c)
			if err != nil {
				return coded(exitConfig, fmt.Errorf("%s: %w", configFile, err))
			}
			v.Version = version
			text, err := haproxy.Render(v)
			if err != nil {
				return coded(exitConfig, fmt.Errorf("%s: %w", configFile, err))
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVar(&configFile, "config", defaultConfig, "configuration `FILE` of the daemon")
	cmd.Flags().StringVar(&version, "version", haproxy.Versions[0], "oldest `VERSION` of HAProxy that must read it: "+
		"2.6 or 3.1")
	return cmd
}

func newHAProxyCheck() *cobra.Command {
	var configFile string
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "List what is wrong with a configuration of HAProxy, what happens because of it, and what to write",
		Long: `Reads a configuration of HAProxy and reports what could make it serve a stale member of the pair, or fail to
serve a fit one. With --config it also compares it with the daemon's configuration, and checks only backends
that contain a member. It does not check the syntax: "haproxy -c -f FILE" does.`,
		Example: `  orchestrator haproxy check /etc/haproxy/haproxy.cfg`,
		Args:    oneArg("the configuration of HAProxy"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var want *haproxy.Values
			if configFile != "" {
				c, err := load(configFile, true)
				if err != nil {
					return err
				}
				v, err := haproxyValues(c)
				if err != nil {
					return coded(exitConfig, fmt.Errorf("%s: %w", configFile, err))
				}
				want = &v
			}
			text, err := readHAProxy(args[0])
			if err != nil {
				return coded(exitConfig, fmt.Errorf("read HAProxy's configuration: %w", err))
			}
			complaints := haproxy.Check(args[0], text, want)
			for _, name := range haproxy.Loads(text) {
				if lua, err := readHAProxy(name); err == nil { // HAProxy itself reports a missing one
					complaints = append(complaints, haproxy.CheckAgent(name, lua)...)
				}
			}
			for _, c := range complaints {
				fmt.Fprintln(cmd.OutOrStdout(), c)
			}
			if len(complaints) == 0 {
				return nil
			}
			return coded(exitConfig, fmt.Errorf("check %s: %s", args[0], plural.Count(len(complaints), "complaint")))
		},
	}
	cmd.Flags().StringVar(&configFile, "config", "", "configuration `FILE` of the daemon, to compare with")
	return cmd
}

// readHAProxy reads one byte more than a configuration may have, so that the check sees when it is too long.
func readHAProxy(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() { // a pipe would wait for a writer for ever
		return "", fmt.Errorf("%s is not a regular file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, haproxy.MaxConfiguration+1))
	return string(data), err
}

// haproxyValues takes the values for HAProxy's configuration from the daemon's.
func haproxyValues(c config.Config) (haproxy.Values, error) {
	var problems []error
	if c.Backend.Kind != "mysql" {
		problems = append(problems,
			errors.New(`backend.kind: HAProxy can't serve a backend in a file; set "mysql"`))
	}
	if len(c.Backend.Members) == 0 {
		problems = append(problems, errors.New("backend.members: is empty; list the servers of the pair"))
	}
	if c.HAProxy.Agent == "" {
		problems = append(problems,
			errors.New(`haproxy.agent: is empty; set where the daemon answers agent checks, such as "127.0.0.1:3001"`))
	}
	v := haproxy.Values{Socket: c.HAProxy.Socket, Database: c.HAProxy.Database, HTTP: c.HAProxy.HTTP,
		Agent: c.HAProxy.Agent, CA: c.Peers.CA, Cert: c.HAProxy.HTTPCert, Identity: c.HTTP.IdentityHeader}
	self := haproxy.Daemon{Address: c.HTTP.Listen, TLS: c.HTTP.TLSCert != ""}
	if self.TLS {
		name, err := certificateName(c.HTTP.TLSCert)
		if err != nil {
			problems = append(problems, fmt.Errorf("http.tls_cert: %w", err))
		}
		self.Name = name
	}
	v.Daemons = append(v.Daemons, self)
	if abs, err := filepath.Abs(v.Socket); err == nil {
		v.Socket = abs
	}
	for _, m := range c.Backend.Members {
		v.Members = append(v.Members, m.String())
	}
	for _, d := range c.Peers.Daemons {
		u, err := url.Parse(d)
		if err != nil || u.Host == "" { // not after config.Load, which checks it
			problems = append(problems, fmt.Errorf("peers.daemons: %q is not the address of a daemon", d))
			continue
		}
		address, tls := u.Host, u.Scheme == "https"
		if u.Port() == "" {
			address += map[bool]string{false: ":80", true: ":443"}[tls]
		}
		v.Daemons = append(v.Daemons, haproxy.Daemon{Address: address, TLS: tls})
	}
	return v, errors.Join(problems...)
}

// certificateName returns a host name of a certificate. HAProxy reaches this daemon by an address, and verifies that
// name.
func certificateName(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return "", fmt.Errorf("%s contains no PEM block", file)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	if len(c.DNSNames) == 0 {
		return "", fmt.Errorf("%s has no host name, and HAProxy compares nothing else; use a certificate with a host "+
			"name in its subject alternative names", file)
	}
	return strings.Replace(c.DNSNames[0], "*", "any", 1), nil
}
