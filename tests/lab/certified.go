package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"orchestrator/daemon/api/client"
)

// StartCertified starts n daemons that share one backend server, serve TLS, and know each other by certificates of the
// authority, without a secret. If stranger is given, it signs the certificate that the last one shows the others, and
// they don't trust it. It returns when all are ready.
func (l *Lab) StartCertified(ctx context.Context, n int, spec DaemonSpec, backend *Server, by, stranger *Authority) (
	daemons []*Daemon, err error) {
	if err := os.WriteFile(filepath.Join(l.dir, "backend"), []byte(BackendPassword), 0o600); err != nil {
		return nil, err
	}
	for range n {
		d, err := l.newDaemon(spec)
		if err != nil {
			return nil, err
		}
		d.URL = strings.Replace(d.URL, "http:", "https:", 1)
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(by.PEM))
		d.Client, err = client.New(client.Options{Endpoints: []string{d.URL}, HTTP: &http.Client{
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}})
		if err != nil {
			return nil, err
		}
		daemons = append(daemons, d)
	}
	for i, d := range daemons {
		signer, trusted := by, by.PEM
		if i == n-1 && stranger != nil {
			signer, trusted = stranger, by.PEM+stranger.PEM
		}
		if err := errors.Join(d.Certify("api", by), d.Certify("peer", signer), d.Trust(trusted)); err != nil {
			return nil, err
		}
		var others []string
		for _, o := range daemons {
			if o != d {
				others = append(others, fmt.Sprintf("%q", o.URL))
			}
		}
		spec.HTTP = "tls_cert = \"api.pem\"\ntls_key = \"api.key\"\n"
		spec.Backend = fmt.Sprintf(`[backend]
kind = "mysql"
path = "journal.db"
address = %q
user = %q
password_file = %q
public_key_file = %q
[peers]
daemons = [%s]
cert = "peer.pem"
key = "peer.key"
ca = "ca.pem"`, backend.Key, BackendUser, filepath.Join(l.dir, "backend"), PublicKey(), strings.Join(others, ", "))
		if err := d.configure(spec); err != nil {
			return nil, err
		}
	}
	failed := make(chan error, n)
	for _, d := range daemons {
		go func() { failed <- d.Restart(ctx) }()
	}
	for range daemons {
		err = errors.Join(err, <-failed)
	}
	return daemons, err
}

// Certify gives the daemon a new certificate for its address, as NAME.pem and NAME.key.
func (d *Daemon) Certify(name string, by *Authority) error {
	cert, key, err := by.Issue(nil, d.host)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(d.dir, name+".pem"), []byte(cert), 0o600),
		os.WriteFile(filepath.Join(d.dir, name+".key"), []byte(key), 0o600))
}

// Trust replaces the authorities of the other daemons.
func (d *Daemon) Trust(authorities string) error {
	return os.WriteFile(filepath.Join(d.dir, "ca.pem"), []byte(authorities), 0o600)
}
