package daemon

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/backend"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/config"
	"orchestrator/daemon/declared"
	"orchestrator/tests/lab"
)

func certificate(t *testing.T, ends time.Time) string {
	t.Helper()
	cert, _ := lab.SelfSigned(t, ends)
	return cert
}

func TestTheFirstEndOfACertificateIsShown(t *testing.T) {
	soon, late := time.Unix(2000000000, 0), time.Unix(2100000000, 0)
	file := func(texts ...string) string {
		name := filepath.Join(t.TempDir(), "certificates.pem")
		if err := os.WriteFile(name, []byte(strings.Join(texts, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	c := config.Default()
	c.HTTP.TLSCert = file(certificate(t, late))
	c.Peers.CA = file(certificate(t, late), "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n",
		certificate(t, soon))
	c.Peers.Cert, c.HTTP.ClientCA = file(certificate(t, late)), file(certificate(t, soon), certificate(t, late))
	c.Servers.TLS, c.Backend.TLS = "verify", file(certificate(t, soon))
	reg := prometheus.NewRegistry()
	store, err := sqlstore.OpenSQLite(filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	d := &Daemon{options: Options{Version: "test"}}
	if d.declarations, err = declared.Open(t.Context(), store, backend.NewClock(time.Now), "test"); err != nil {
		t.Fatal(err)
	}
	if err := d.measure(c, reg); err != nil {
		t.Fatal(err)
	}
	got := expiry(t, reg)
	first, second := float64(soon.Unix()), float64(late.Unix())
	want := map[string]float64{"http": second, "peers": first, "peers_cert": second, "clients": first, "backend": first}
	if !maps.Equal(got, want) {
		t.Errorf("shown are %v, want %v", got, want)
	}
	d.date(clientsUse, certificate(t, late)) // as a reload does
	d.date(peersUse, "")
	want["clients"] = second
	delete(want, "peers_cert")
	if got := expiry(t, reg); !maps.Equal(got, want) {
		t.Errorf("after a reload, shown are %v, want %v", got, want)
	}
	c.HTTP.TLSCert = file("nothing")
	if err := d.measure(c, prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), c.HTTP.TLSCert) {
		t.Errorf("a file without a certificate: %v", err)
	}
}

// HAProxy's certificate is renewed without the daemon, which may not be let read it, as it is in one file with the key.
func TestTheEndOfHAProxysCertificateIsShownWhileItCanBeRead(t *testing.T) {
	soon, late := time.Unix(2000000000, 0), time.Unix(2100000000, 0)
	c := config.Default()
	c.HAProxy.HTTPCert = filepath.Join(t.TempDir(), "both.pem")
	reg := prometheus.NewRegistry()
	store, err := sqlstore.OpenSQLite(filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var log strings.Builder
	d := &Daemon{options: Options{Version: "test", Logger: slog.New(slog.NewTextHandler(&log, nil))}}
	if d.declarations, err = declared.Open(t.Context(), store, backend.NewClock(time.Now), "test"); err != nil {
		t.Fatal(err)
	}
	if err := d.measure(c, reg); err != nil || !strings.Contains(log.String(), c.HAProxy.HTTPCert) {
		t.Errorf("a file that can't be read: %v, and is logged: %s", err, log.String())
	}
	for _, step := range []struct {
		what, text string
		want       map[string]float64
	}{
		{"before it can be read", "", map[string]float64{}},
		{"with its key", "-----BEGIN PRIVATE KEY-----\nbm9uZQ==\n-----END PRIVATE KEY-----\n" + certificate(t, soon),
			map[string]float64{"haproxy": float64(soon.Unix())}},
		{"renewed", certificate(t, late), map[string]float64{"haproxy": float64(late.Unix())}},
		{"out of sight", "", map[string]float64{}},
	} {
		if step.text == "" {
			_ = os.Remove(c.HAProxy.HTTPCert) // it need not be there
		} else if err := os.WriteFile(c.HAProxy.HTTPCert, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := expiry(t, reg); !maps.Equal(got, step.want) {
			t.Errorf("%s: shown are %v, want %v", step.what, got, step.want)
		}
	}
}

// expiry is what a registry shows of the ends of certificates, by use.
func expiry(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "orchestrator_certificate_expiry_timestamp_seconds" {
			for _, m := range f.Metric {
				got[m.Label[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	return got
}
