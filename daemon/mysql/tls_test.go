package mysql_test

import (
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"testing"
	"time"

	"orchestrator/daemon/mysql"
	dialled "orchestrator/daemon/server"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

func TestTLS(t *testing.T) {
	l := lab.Test(t)
	dir := t.TempDir()
	pool, err := l.Certificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	server, err := l.Start(t.Context(), lab.Spec{Flavor: lab.MariaDB, ExtraArgs: []string{"--ssl-cert=" + cert,
		"--ssl-key=" + key, "--require-secure-transport=1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		tls  *tls.Config
		want topology.Failure
	}{
		{"the authority is trusted", &tls.Config{RootCAs: pool}, topology.OK},
		{"another authority is trusted", &tls.Config{RootCAs: x509.NewCertPool()}, topology.TLSError},
		{"the server insists on TLS", nil, topology.Denied}, // MariaDB says 1045, MySQL 3159,
	} {
		s := mysql.New(mysql.Options{User: lab.User, Password: lab.Password,
			Security: dialled.Security{TLS: c.tls}, ProbeTimeout: 5 * time.Second})
		if _, got, err := s.Probe(t.Context(), server.Key); got != c.want {
			t.Errorf("%s: %q: %v, want %q", c.name, got, err, c.want)
		}
		_ = s.Close()
	}
	plain, err := l.Start(t.Context(), lab.Spec{Flavor: lab.MariaDB, ExtraArgs: []string{"--skip-ssl"}})
	if err != nil {
		t.Fatal(err)
	}
	s := mysql.New(mysql.Options{User: lab.User, Password: lab.Password,
		Security: dialled.Security{TLS: &tls.Config{RootCAs: pool}}})
	defer func() { _ = s.Close() }()
	if _, got, err := s.Probe(t.Context(), plain.Key); got != topology.TLSError {
		t.Errorf("a server without TLS: %q: %v", got, err)
	}
}
