package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// selfSigned is a certificate and its key.
func selfSigned(t *testing.T) (cert, key Secret) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return Secret(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

func TestACertificateAndItsKey(t *testing.T) {
	cert, key := selfSigned(t)
	above, foreign := selfSigned(t)
	for _, c := range []struct {
		name      string
		cert, key Secret
		chain     int // 0: refused
	}{
		{"two files", cert, key, 1},
		{"a chain", cert + above, key, 2},
		{"one combined file", cert + key, cert + key, 1},
		{"the key first", key + cert, key + cert, 1},
		{"a foreign key in the file of the certificate", cert + foreign, key, 1},
		{"text between", "subject=a --- b\n" + cert + "-----\n" + above + "# the end", key, 2},
		{"no line end", cert[:len(cert)-1], key[:len(key)-1], 1},
		{"the key of another", cert, foreign, 0},
		{"no certificate", key, key, 0},
		{"half of a chain", cert + above[:len(above)/2], key, 0},
		{"a block that has no end before one that has", above[:len(above)/2] + "\n" + cert, key, 0},
		{"the beginning of the next line", cert + "-----BEG", key, 0},
		{"half of a key", cert, key[:len(key)/2], 0},
		{"half of something after the key", cert, key + above[:40], 0},
	} {
		pair, err := HTTPConfig{TLSCert: "cert.pem", TLSKey: "key.pem", Certificate: c.cert, Key: c.key}.pair()
		switch {
		case (err == nil) != (c.chain > 0):
			t.Errorf("%s: %v", c.name, err)
		case err == nil && len(pair.Certificate) != c.chain:
			t.Errorf("%s: %d certificates are shown, want %d", c.name, len(pair.Certificate), c.chain)
		}
	}
}
