package mysql_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/mysql"
	dialled "orchestrator/daemon/server"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// Who gets the password of the daemon: MySQL asks for it at the first login, MariaDB never does.
func TestThePasswordWithoutTLS(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		v, err := l.Start(t.Context(), lab.Spec{Flavor: f})
		if err != nil {
			t.Fatal(err)
		}
		other, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		login := func(s dialled.Security) error {
			servers := mysql.New(mysql.Options{User: lab.User, Password: lab.Password, Security: s,
				ProbeTimeout: 5 * time.Second, ConnectTimeout: 5 * time.Second})
			defer servers.Close()
			_, failure, err := servers.Probe(t.Context(), v.Key)
			if errors.Is(err, dialled.ErrKeyNeeded) && failure != topology.Denied {
				t.Errorf("%v counts as %q", err, failure)
			}
			return err
		}
		forget := func() {
			if err := v.Exec(t.Context(), "FLUSH PRIVILEGES"); err != nil {
				t.Fatal(err)
			}
		}
		none, wrong := dialled.Security{}, dialled.Security{Keys: dialled.Keys{&other.PublicKey}}
		if f == topology.MariaDB {
			if err := errors.Join(login(none), login(wrong)); err != nil {
				t.Error(err)
			}
			return
		}
		encrypted := dialled.Security{TLS: &tls.Config{RootCAs: certified(t, l, v)}}
		for range 2 { // neither try makes it better, and none of them blocks the host
			if err := login(none); !errors.Is(err, dialled.ErrKeyNeeded) ||
				!strings.Contains(err.Error(), "orchestrator config key "+v.Key.String()) {
				t.Errorf("without a key: %v", err)
			}
			if err := login(wrong); !errors.Is(err, dialled.ErrKeyNeeded) ||
				!strings.Contains(err.Error(), "it sent the key "+dialled.Fingerprint(lab.Security().Keys[0])) {
				t.Errorf("with the key of another server: %v", err)
			}
			var errs int
			if err := v.DB().QueryRowContext(t.Context(), "SELECT COALESCE(SUM(SUM_CONNECT_ERRORS), 0) FROM "+
				"performance_schema.host_cache").Scan(&errs); err != nil || errs > 0 {
				t.Errorf("the server counts %d errors that lead to blocking: %v", errs, err)
			}
		}
		for _, known := range []dialled.Security{lab.Security(), encrypted} {
			if err := login(known); err != nil {
				t.Error(err)
			}
			for _, s := range []dialled.Security{none, wrong} { // the server remembers: no password is needed
				if err := login(s); err != nil {
					t.Errorf("where the server knows the login: %v", err)
				}
			}
			forget()
			if err := login(none); !errors.Is(err, dialled.ErrKeyNeeded) {
				t.Errorf("where the server has forgotten the login: %v", err)
			}
		}
	})
}

// certified gives a MySQL server a certificate for its address; the one that it makes for itself names no address.
func certified(t *testing.T, l *lab.Lab, s *lab.Server) *x509.CertPool {
	t.Helper()
	dir := t.TempDir()
	pool, err := l.Certificate(dir)
	for from, to := range map[string]string{"cert.pem": "server-cert.pem", "key.pem": "server-key.pem"} {
		text, e := os.ReadFile(filepath.Join(dir, from))
		err = errors.Join(err, e, os.WriteFile(s.File(to), text, 0o600))
	}
	if err := errors.Join(err, s.Exec(t.Context(), "ALTER INSTANCE RELOAD TLS")); err != nil {
		t.Fatal(err)
	}
	return pool
}
