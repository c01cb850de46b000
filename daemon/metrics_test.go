package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/backend"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/declared"
)

func certificate(t *testing.T, ends time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
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
	c := Default()
	c.HTTP.TLSCert = file(certificate(t, late))
	c.Peers.CA = file(certificate(t, late), "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n", certificate(t, soon))
	c.Servers.TLS = "verify"
	reg := prometheus.NewRegistry()
	store, err := sqlstore.OpenSQLite(filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	d := &Daemon{options: Options{Version: "test"}}
	if d.book, err = declared.Open(t.Context(), store, backend.NewClock(time.Now), "test"); err != nil {
		t.Fatal(err)
	}
	if err := d.measure(c, reg); err != nil {
		t.Fatal(err)
	}
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
	if want := map[string]float64{"http": float64(late.Unix()), "peers": float64(soon.Unix())}; !maps.Equal(got, want) {
		t.Errorf("shown are %v, want %v", got, want)
	}
	c.HTTP.TLSCert = file("nothing")
	if err := d.measure(c, prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), c.HTTP.TLSCert) {
		t.Errorf("a file without a certificate: %v", err)
	}
}
