package server

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
)

// Without TLS, a server may ask for the password itself, encrypted with a public key that it sends. MySQL's own clients
// take the key from anyone who sends one, so anyone who gets us to connect would learn the password. Here only keys
// from the configuration count.

// ErrKeyNeeded is a server that asks for the password itself, and is not known to be one that may have it.
var ErrKeyNeeded = errors.New("it asks for the password itself, and does not get it: the connection has no TLS, and " +
	"its public key is not pinned")

// Security is what protects the connections to servers, and the password of our account.
type Security struct {
	TLS     *tls.Config // nil: without TLS. A missing ServerName is the host
	Keys    Keys        // without TLS: of the servers that get the password when they ask for it
	Section string      // of the configuration: what errors tell people to change; may be ""
}

// setting is the full name of a key of the configuration.
func (s Security) setting(key string) string {
	if s.Section == "" {
		return key
	}
	return s.Section + "." + key
}

// handshake watches what a server says before it lets us in, packet by packet, on a connection without TLS.
type handshake struct {
	keys   Keys
	asked  bool           // the server wants the password itself
	served bool           // it has sent a key that is pinned, so it gets it
	sent   *rsa.PublicKey // the key that it has sent and that is not pinned
	head   [4]byte
	read   int    // bytes of head
	length int    // of the packet
	packet []byte // what has come of it
}

// What matters here of the packets of a login.
const (
	moreData = 0x01 // first byte: the login goes on
	fullAuth = 0x04 // second and last byte: the password itself is wanted
)

// olderPlugin asks for the password itself without further words.
var olderPlugin = []byte("sha256_password\x00")

// hear takes in what a server sent, and says what of it makes no sense.
func (l *handshake) hear(sent []byte) error {
	for len(sent) > 0 {
		if l.read < len(l.head) { // the length of the packet and its number
			l.head[l.read] = sent[0]
			l.read++
			sent = sent[1:]
			l.length, l.packet = int(l.head[0])|int(l.head[1])<<8|int(l.head[2])<<16, nil
			if l.read < len(l.head) || l.length > 0 {
				continue
			}
		}
		if l.length > longestLogin { // it could go on in the next one: the driver would see something else
			return fmt.Errorf("%w: a packet of %d bytes before the login is over", ErrTooMuch, l.length)
		}
		part := sent[:min(l.length-len(l.packet), len(sent))]
		l.packet = append(l.packet, part...)
		sent = sent[len(part):]
		if len(l.packet) == l.length {
			l.read = 0
			if err := l.understand(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *handshake) understand() error {
	switch {
	case len(l.packet) == 0:
	case l.packet[0] != moreData: // a greeting, or a change of the plugin
		l.asked = l.asked || bytes.Contains(l.packet, olderPlugin)
	case len(l.packet) == 2:
		l.asked = l.asked || l.packet[1] == fullAuth
	case len(l.packet) > 2:
		if l.sent != nil { // the driver takes one: it must be the one that is known here
			return fmt.Errorf("%w: it sent another public key", ErrAlien)
		}
		keys, err := ParseKeys(l.packet[1:])
		if err != nil || len(keys) > 1 {
			return fmt.Errorf("%w: in place of its public key it sent %d bytes of something else", ErrAlien,
				len(l.packet)-1)
		}
		l.asked, l.served, l.sent = true, l.keys.has(keys[0]), keys[0]
	}
	return nil
}

// speak returns what goes to the server in place of what the driver writes. A password encrypted with a key that
// is not pinned is replaced by random bytes, so that the server refuses us as it refuses any wrong password. If we hung
// up instead, it would count that, and in the end block our host.
func (l *handshake) speak(written []byte) []byte {
	if l.sent == nil || l.served {
		return written
	}
	out := bytes.Clone(written)
	rand.Read(out[min(len(l.head), len(out)):]) // never fails
	return out
}

// unserved says that the server wanted the password and has not got it.
func (l *handshake) unserved() bool { return l != nil && l.asked && !l.served }

// refusal says why the server has not got the password, and what to do.
func (l *handshake) refusal(address string, s Security, cause error) error {
	which := ""
	if l.sent != nil {
		which = fmt.Sprintf(" (it sent the key %s)", Fingerprint(l.sent))
	}
	return fmt.Errorf("%w%s: pin it (orchestrator config key %s >> FILE, and name FILE in %s), or use TLS (%s): %w",
		ErrKeyNeeded, which, address, s.setting("public_key_file"), s.setting("tls"), cause)
}
