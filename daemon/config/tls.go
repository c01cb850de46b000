package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
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

// authorities reads the certificates of authorities in a file, and returns its text too.
func authorities(file string) (*x509.CertPool, string, error) {
	pem, err := readRegular(file, maxConfig)
	if err != nil {
		return nil, "", fmt.Errorf("read authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !whole(string(pem)) {
		return nil, "", fmt.Errorf("read authorities: %s", halfWritten(file))
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, "", fmt.Errorf("read authorities: %s contains no certificate in PEM format", file)
	}
	return pool, string(pem), nil
}

// poolOf is the authorities in a text that was read by authorities; nil where there is none.
func poolOf(text string) *x509.CertPool {
	if text == "" {
		return nil
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(text))
	return pool
}

// security checks how TLS is used, and returns the text of the file with authorities where one is named.
func (r *reader) security(key string, tls *string) (text string) {
	const allowed = `it must be "off", "verify", or the path of a PEM file with authorities`
	switch {
	case r.bad[key] || *tls == "off" || *tls == "verify":
	case *tls == "":
		r.add(key, "is empty; "+allowed)
	default:
		*tls = beside(r.file, *tls)
		var err error
		if _, text, err = authorities(*tls); err != nil {
			r.add(key, "%v; "+allowed, err)
		}
	}
	return text
}

// KeyPair is the certificate, with the authorities that come with it, and its key. Either file may contain more, as a
// combined one does.
func (h HTTPConfig) KeyPair() (*tls.Certificate, error) {
	return keyPair(h.TLSCert, h.TLSKey, h.Certificate, h.Key)
}

func keyPair(certFile, keyFile string, cert, key Secret) (*tls.Certificate, error) {
	for file, text := range map[string]Secret{certFile: cert, keyFile: key} {
		if !whole(string(text)) {
			return nil, errors.New(halfWritten(file))
		}
	}
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	return &pair, err
}

// whole says that every PEM block that begins has an end. Decoders skip a block that has none, so that a chain would
// silently lose its authorities.
func whole(text string) bool {
	const begin = "-----BEGIN "
	begun := strings.Count(text, begin)
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		begun--
	}
	last := text[strings.LastIndexByte(text, '\n')+1:]
	return begun == 0 && (last == "" || !strings.HasPrefix(begin, last))
}

func halfWritten(file string) string {
	return file + " ends in the middle of a PEM block: it is perhaps being written now"
}

// Certificates are the files with certificates, by what they are used for.
func (c Config) Certificates() map[string]string {
	out := map[string]string{}
	for use, file := range map[string]string{
		"http": c.HTTP.TLSCert, "servers": c.Servers.TLS, "backend": c.Backend.TLS, "peers": c.Peers.CA,
		"peers_cert": c.Peers.Cert, "clients": c.HTTP.ClientCA,
	} {
		if file != "" && file != "off" && file != "verify" {
			out[use] = file
		}
	}
	return out
}

// FirstEndOf is when the first of the certificates in a file expires.
func FirstEndOf(file string) (time.Time, error) {
	data, err := readRegular(file, maxConfig)
	if err != nil {
		return time.Time{}, fmt.Errorf("read certificates: %w", err)
	}
	ends := FirstEnd(data)
	if ends.IsZero() {
		return time.Time{}, fmt.Errorf("read certificates: %s contains none in PEM format", file)
	}
	return ends, nil
}

// FirstEnd is when the first of the certificates in a PEM text expires; zero when there is none.
func FirstEnd(text []byte) (first time.Time) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil { // crypto/x509 skips these too
			continue
		}
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first
}
