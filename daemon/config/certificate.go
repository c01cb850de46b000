package config

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"
)

// Certificates are the files that hold some, by what they are for.
func (c Config) Certificates() map[string]string {
	out := map[string]string{}
	for use, file := range map[string]string{"http": c.HTTP.TLSCert, "servers": c.Servers.TLS, "backend": c.Backend.TLS, "peers": c.Peers.CA} {
		if file != "" && file != "off" && file != "verify" {
			out[use] = file
		}
	}
	return out
}

// FirstEndOf is when the first certificate in a file ends.
func FirstEndOf(file string) (time.Time, error) {
	data, err := readRegular(file, maxConfig)
	if err != nil {
		return time.Time{}, fmt.Errorf("read certificates: %w", err)
	}
	ends := FirstEnd(data)
	if ends.IsZero() {
		return time.Time{}, fmt.Errorf("read certificates: %s holds none in PEM form", file)
	}
	return ends, nil
}

// FirstEnd is when the first certificate in a PEM text ends; zero when it holds none.
func FirstEnd(text []byte) (first time.Time) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil { // crypto/x509 leaves such blocks out as well
			continue
		}
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first
}
