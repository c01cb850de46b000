// Package certificate verifies a certificate together with those that its owner shows with it.
//
// It reads no files, and says nothing of host names and users. The one idea: only the authorities are trusted; what is
// shown besides the certificate itself may only lead from it to one of them.
package certificate

import (
	"crypto/x509"
	"time"
)

// Verify says why the first of these certificates is not signed, for that use and at that time, by one of the
// authorities, be it through the others. nil authorities are those that the system trusts, and the zero time is now.
func Verify(shown []*x509.Certificate, authorities *x509.CertPool, use x509.ExtKeyUsage, at time.Time) error {
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	_, err := shown[0].Verify(x509.VerifyOptions{Roots: authorities, Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{use}})
	return err
}
