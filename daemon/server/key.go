package server

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"

	mysqldriver "github.com/go-sql-driver/mysql"
)

// Keys are the public keys of servers that may have the password without TLS.
type Keys []*rsa.PublicKey

// ParseKeys reads keys in PEM format, as MySQL keeps one in public_key.pem.
func ParseKeys(text []byte) (out Keys, err error) {
	for len(text) > 0 {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", len(out)+1, err)
		}
		public, ok := key.(*rsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("key %d is a %T; MySQL uses RSA", len(out)+1, key)
		}
		out = append(out, public)
	}
	if len(out) == 0 {
		return nil, errors.New("it has no public key in PEM format")
	}
	return out, nil
}

func (k Keys) has(one *rsa.PublicKey) bool {
	return slices.ContainsFunc(k, func(other *rsa.PublicKey) bool { return other.Equal(one) })
}

// EncodeKey is a key in PEM format.
func EncodeKey(k *rsa.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: encoded(k)})
}

// Fingerprint is the SHA-256 of a key, as "openssl pkey -pubin -in public_key.pem -outform DER | sha256sum" prints it.
func Fingerprint(k *rsa.PublicKey) string { return fmt.Sprintf("%x", sha256.Sum256(encoded(k))) }

func encoded(k *rsa.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		panic(err) // an RSA key has no value that can't be encoded
	}
	return der
}

// ErrNoKey is a server that sends no public key to a client with that account.
var ErrNoKey = errors.New("it sends no public key to this account, which logs in without one (as on MariaDB, and " +
	"with mysql_native_password), or which does not exist")

// FetchKey asks a server for its public key, as a client without TLS does. It sends no password: only the name of an
// account that uses caching_sha2_password or sha256_password. Anyone between us and the server can send another key.
func FetchKey(ctx context.Context, address string, o Options) (*rsa.PublicKey, error) {
	o.Password = rand.Text()                                    // the server asks for the real one, as this is not it
	o.Security = Security{Keys: Keys{{N: big.NewInt(1), E: 3}}} // which no server has
	c, err := attempt(ctx, address, o)
	defer func() { c.Close() }() // there is one after an error, too: it tells what was sent
	switch {
	case c.wire != nil && c.wire.login != nil && c.wire.login.sent != nil:
		return c.wire.login.sent, nil
	case err == nil || Means(err, LoginDenied):
		return nil, ErrNoKey
	}
	return nil, err
}

// nobodys is the name, with the driver, of a public key whose private one nobody has: its modulus is a random number,
// which nobody knows either. With it the driver never asks a server for a key.
var nobodys = sync.OnceValue(func() string {
	const name = "nobody's"
	n := make([]byte, 256)
	rand.Read(n) // never fails
	n[0] |= 0x80
	n[255] |= 1
	mysqldriver.RegisterServerPubKey(name, &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537})
	return name
})
