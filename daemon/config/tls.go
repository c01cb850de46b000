package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"
)

func tlsConfig(how string) (*tls.Config, error) {
	switch how {
	case "off":
		return nil, nil
	case "verify":
		return &tls.Config{MinVersion: tls.VersionTLS12}, nil
	}
	pool, _, err := authorities(how)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// authorities reads those of a file, and returns its text, too.
func authorities(file string) (*x509.CertPool, string, error) {
	pem, err := readRegular(file, maxConfig)
	if err != nil {
		return nil, "", fmt.Errorf("read authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, "", fmt.Errorf("read authorities: %s holds no certificate in PEM form", file)
	}
	return pool, string(pem), nil
}

// security wants what TLS may be, and returns the authorities that it names a file of.
func (r *reader) security(key string, tls *string) (text string) {
	const want = `want "off", "verify", or the path of a PEM file with authorities`
	switch {
	case r.bad[key] || *tls == "off" || *tls == "verify":
	case *tls == "":
		r.add(key, "is empty; "+want)
	default:
		*tls = beside(r.file, *tls)
		var err error
		if _, text, err = authorities(*tls); err != nil {
			r.add(key, "%v; "+want, err)
		}
	}
	return text
}

// KeyPair reads a certificate with those above it, and its key. Either file may hold other things of both, as a combined one does.
func (h HTTPConfig) KeyPair() (*tls.Certificate, error) {
	for file, text := range map[string]Secret{h.TLSCert: h.Certificate, h.TLSKey: h.Key} {
		if !whole(string(text)) {
			return nil, fmt.Errorf("%s breaks off in the middle of a PEM block: it may be being written", file)
		}
	}
	pair, err := tls.X509KeyPair([]byte(h.Certificate), []byte(h.Key))
	return &pair, err
}

// whole says that every block that a PEM text begins has its end: decoders pass over one that has not, and a chain would lose its authorities in silence.
func whole(text string) bool {
	const begin = "-----BEGIN "
	begun := strings.Count(text, begin)
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		begun--
	}
	last := text[strings.LastIndexByte(text, '\n')+1:]
	return begun == 0 && (last == "" || !strings.HasPrefix(begin, last))
}

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
