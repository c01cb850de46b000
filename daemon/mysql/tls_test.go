package mysql_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"orchestrator/daemon/mysql"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// certificate writes a certificate for all addresses of a lab, its own authority, and returns the pool that trusts it.
func certificate(t *testing.T, subnet int) (pool *x509.CertPool, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for n := range 20 {
		c.IPAddresses = append(c.IPAddresses, net.ParseIP(fmt.Sprintf("127.0.%d.%d", subnet, n)))
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(certFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool, certFile, keyFile
}

func TestTLS(t *testing.T) {
	l := lab.Test(t)
	pool, cert, key := certificate(t, l.Subnet)
	server, err := l.Start(t.Context(), lab.Spec{Flavor: lab.MariaDB, ExtraArgs: []string{"--ssl-cert=" + cert, "--ssl-key=" + key, "--require-secure-transport=1"}})
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
		s := mysql.New(mysql.Options{User: lab.User, Password: lab.Password, TLS: c.tls, ProbeTimeout: 5 * time.Second})
		if _, got, err := s.Probe(t.Context(), server.Key); got != c.want {
			t.Errorf("%s: %q: %v, want %q", c.name, got, err, c.want)
		}
		_ = s.Close()
	}
	plain, err := l.Start(t.Context(), lab.Spec{Flavor: lab.MariaDB, ExtraArgs: []string{"--skip-ssl"}})
	if err != nil {
		t.Fatal(err)
	}
	s := mysql.New(mysql.Options{User: lab.User, Password: lab.Password, TLS: &tls.Config{RootCAs: pool}})
	defer func() { _ = s.Close() }()
	if _, got, err := s.Probe(t.Context(), plain.Key); got != topology.TLSError {
		t.Errorf("a server without TLS: %q: %v", got, err)
	}
}
