package certificate_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"orchestrator/daemon/certificate"
)

var now = time.Now()

// signed is a certificate with a key; by nobody: it is its own authority.
type signed struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

func sign(t *testing.T, name string, authority bool, by *signed) *signed {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &signed{&x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: authority, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}, key}
	if !authority {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	if by == nil {
		by = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c.Certificate, by.Certificate, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	if c.Certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWhatIsShownLeadsToAnAuthority(t *testing.T) {
	root := sign(t, "root", true, nil)
	other := sign(t, "other", true, nil)
	between := sign(t, "between", true, root)
	leaf := sign(t, "leaf", false, between)
	trusted := x509.NewCertPool()
	trusted.AddCert(root.Certificate)
	for _, c := range []struct {
		name  string
		shown []*signed
		use   x509.ExtKeyUsage
		at    time.Time
		good  bool
	}{
		{"with the one between", []*signed{leaf, between}, x509.ExtKeyUsageClientAuth, time.Time{}, true},
		{"with more than is needed", []*signed{leaf, other, between}, x509.ExtKeyUsageClientAuth, now, true},
		{"alone", []*signed{leaf}, x509.ExtKeyUsageClientAuth, now, false},
		{"with an authority of its own", []*signed{sign(t, "x", false, other), other}, x509.ExtKeyUsageClientAuth, now,
			false},
		{"for another use", []*signed{leaf, between}, x509.ExtKeyUsageServerAuth, now, false},
		{"too late", []*signed{leaf, between}, x509.ExtKeyUsageClientAuth, now.Add(2 * time.Hour), false},
	} {
		var shown []*x509.Certificate
		for _, one := range c.shown {
			shown = append(shown, one.Certificate)
		}
		if err := certificate.Verify(shown, trusted, c.use, c.at); (err == nil) != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
