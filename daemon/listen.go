package daemon

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"

	"orchestrator/daemon/config"
	"orchestrator/daemon/crowd"
)

// listen opens the port of the API, with TLS where a certificate is configured: whichever is in force when a client
// comes.
func (d *Daemon) listen(c config.Config) error {
	l, err := net.Listen("tcp", c.HTTP.Listen)
	if err != nil {
		return err
	}
	d.listener = crowd.New(l, room())
	d.opened.add("the port of the API", func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) { // who serves it closes it as well
			return err
		}
		return nil
	})
	if c.HTTP.Certificate == "" {
		return nil
	}
	if err := d.present(c); err != nil {
		return err
	}
	serving := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return d.certificate.Load(), nil }
	greet := func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return d.mode.greet(hello), nil }
	conf := &tls.Config{GetCertificate: serving, MinVersion: tls.VersionTLS12, GetConfigForClient: greet}
	if c.HTTP.Authorities != "" {
		conf.ClientAuth = tls.RequestClientCert // who has signed it is checked with each request: see httpd
	}
	d.listener = tls.NewListener(d.listener, conf)
	return nil
}

// room is how many connections of clients there may be: a quarter of the files that this process may have open. The
// others are for servers, the store, and what it takes to act.
func room() int {
	const most = 1000
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return most / 4
	}
	return int(min(files.Cur/4, most))
}

// present shows clients another certificate from now on.
func (d *Daemon) present(c config.Config) error {
	pair, err := c.HTTP.KeyPair()
	if err != nil {
		return fmt.Errorf("load the certificate %s: %w", c.HTTP.TLSCert, err)
	}
	d.certificate.Store(pair)
	d.date(httpUse, string(c.HTTP.Certificate))
	return nil
}
