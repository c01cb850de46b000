package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"net"
	"testing"

	"orchestrator/daemon/topology"
)

const hidden = "the-password-of-the-fleet"

// key is the pair of a server, and the public one as a server sends it.
func key(t *testing.T) (*rsa.PrivateKey, []byte) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k, EncodeKey(&k.PublicKey)
}

const scramble = "abcdefghijklmnopqrst"

// curious is a server that wants the password with a plugin, and says what it got. It returns the address, and what
// came after the greeting.
func curious(t *testing.T, plugin string, k *rsa.PrivateKey, sends ...[]byte) (string, <-chan [][]byte) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.43.2:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	came := make(chan [][]byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		p := &peer{Conn: c}
		p.greet(plugin)
		got := [][]byte{p.receive()}
		for _, s := range sends {
			p.send(s)
			next := p.receive()
			if got = append(got, next); next == nil {
				break
			}
		}
		if k != nil && len(got) > 1 && isPassword(k, got[len(got)-1]) {
			p.send(ok)
		} else {
			p.send(append([]byte{0xff, 0x15, 0x04}, "#28000Access denied"...)) // 1045
		}
		came <- got
	}()
	return l.Addr().String(), came
}

func (p *peer) greet(plugin string) {
	const capabilities = 0x200 | 0x8000 | 0x80000 | 1
	g := append([]byte{10}, "8.4.0\x00\x01\x00\x00\x00"+scramble[:8]+"\x00"...)
	g = binary.LittleEndian.AppendUint16(g, capabilities&0xffff)
	g = append(g, 45, 2, 0)
	g = binary.LittleEndian.AppendUint16(g, capabilities>>16)
	p.send(append(g, "\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"+scramble[8:]+"\x00"+plugin+"\x00"...))
}

// isPassword says whether somebody with the private key learns the password from a packet.
func isPassword(k *rsa.PrivateKey, packet []byte) bool {
	plain, err := rsa.DecryptOAEP(sha1.New(), nil, k, packet, nil)
	if err != nil {
		return false
	}
	for i := range plain {
		plain[i] ^= scramble[i%len(scramble)]
	}
	return string(plain) == hidden+"\x00"
}

func TestThePasswordGoesToNoKeyThatAServerSends(t *testing.T) {
	k, sent := key(t)
	another, _ := key(t)
	wants, itsOwn := []byte{moreData, fullAuth}, append([]byte{moreData}, sent...)
	turn := func(plugin string) []byte { return append([]byte{0xfe}, plugin+"\x00"+scramble+"\x00"...) }
	for name, c := range map[string]struct {
		plugin string
		sends  [][]byte
	}{
		"it wants it":                  {"caching_sha2_password", [][]byte{wants}},
		"it wants it and sends a key":  {"caching_sha2_password", [][]byte{wants, itsOwn}},
		"it sends a key at once":       {"caching_sha2_password", [][]byte{itsOwn}},
		"the older way":                {"sha256_password", [][]byte{itsOwn}},
		"the older way, after another": {"mysql_native_password", [][]byte{turn("sha256_password"), itsOwn}},
		"another way": {"mysql_native_password",
			[][]byte{turn("caching_sha2_password"), wants, itsOwn}},
		"in clear":                {"mysql_clear_password", nil},
		"in clear, after another": {"mysql_native_password", [][]byte{turn("mysql_clear_password")}},
	} {
		for _, keys := range []Keys{nil, {&another.PublicKey}} {
			address, came := curious(t, c.plugin, k, c.sends...)
			conn, err := Dial(t.Context(), address, Options{Account: Account{User: "u", Password: hidden},
				Security: Security{Keys: keys}})
			if err == nil {
				conn.Close()
				t.Errorf("%s: logged in", name)
			}
			if f := Failure(err); f != topology.Denied && f != topology.Alien { // it may say what no server says there
				t.Errorf("%s: %v is %v", name, err, f)
			}
			for _, packet := range <-came {
				if isPassword(k, packet) || bytes.Contains(packet, []byte(hidden)) {
					t.Errorf("%s: the server has got the password", name)
				}
			}
		}
	}
}

func TestAServerWhoseKeyIsPinnedGetsThePassword(t *testing.T) {
	k, sent := key(t)
	_, other := key(t)
	keys, err := ParseKeys(append(other, sent...))
	if err != nil {
		t.Fatal(err)
	}
	itsOwn := append([]byte{moreData}, sent...)
	for plugin, sends := range map[string][][]byte{"caching_sha2_password": {{moreData, fullAuth}, itsOwn},
		"sha256_password": {itsOwn}} {
		address, _ := curious(t, plugin, k, sends...)
		c, err := Dial(t.Context(), address, Options{Account: Account{User: "u", Password: hidden},
			Security: Security{Keys: keys}})
		if err != nil {
			t.Fatalf("%s: %v", plugin, err)
		}
		c.Close()
	}
	address, _ := curious(t, "caching_sha2_password", k, []byte{moreData, fullAuth})
	_, err = Dial(context.Background(), address, Options{Account: Account{User: "u", Password: hidden}})
	if !errors.Is(err, ErrKeyNeeded) {
		t.Errorf("without it: %v", err)
	}
}

// Anyone can ask a server for its public key. If a stranger sends its own key and, in the same piece, one that is
// pinned, what is known of the second says nothing about the first, for which the driver encrypts the password.
func TestAPinnedKeyVouchesForNoOther(t *testing.T) {
	k, sent := key(t)
	pinned, known := key(t)
	for plugin, asks := range map[string][][]byte{"caching_sha2_password": {{moreData, fullAuth}},
		"sha256_password": nil} {
		for name, keys := range map[string][2][]byte{"its own first": {sent, known}, "its own last": {known, sent}} {
			hasty := func(p *peer) (packet []byte) {
				p.greet(plugin)
				p.receive()
				for _, a := range asks {
					p.send(a)
					p.receive()
				}
				both := &bytes.Buffer{}
				for _, one := range keys {
					(&peer{Conn: writes{p, both}, seq: p.seq}).send(append([]byte{moreData}, one...))
				}
				_, _ = p.Write(both.Bytes())
				return p.receive()
			}
			address, came := serveOnce(t, hasty)
			conn, err := Dial(t.Context(), address, Options{Account: Account{User: "u", Password: hidden},
				Security: Security{Keys: Keys{&pinned.PublicKey}}})
			if err == nil {
				conn.Close()
			}
			if Failure(err) != topology.Alien {
				t.Errorf("%s, %s: %v", plugin, name, err)
			}
			if isPassword(k, <-came) {
				t.Errorf("%s, %s: the server has got the password", plugin, name)
			}
		}
	}
}

// serveOnce returns the address of a server for one client, and what it returns.
func serveOnce(t *testing.T, serve func(p *peer) []byte) (string, <-chan []byte) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.43.2:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	came := make(chan []byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		came <- serve(&peer{Conn: c})
	}()
	return l.Addr().String(), came
}

// writes is a connection whose writes are kept.
type writes struct {
	net.Conn
	to *bytes.Buffer
}

func (w writes) Write(b []byte) (int, error) { return w.to.Write(b) }

// A person who reads it knows what to do, and with which key. The server has seen a wrong password, not a client that
// hung up: it would block the host in the end.
func TestTheRefusalSaysWhatToDo(t *testing.T) {
	k, sent := key(t)
	another, _ := key(t)
	address, came := curious(t, "caching_sha2_password", k, []byte{moreData, fullAuth},
		append([]byte{moreData}, sent...))
	_, err := Dial(t.Context(), address, Options{Account: Account{User: "u", Password: hidden},
		Security: Security{Keys: Keys{&another.PublicKey}, Section: "backend"}})
	want := "connect: " + ErrKeyNeeded.Error() + " (it sent the key " + Fingerprint(&k.PublicKey) + "): pin it " +
		"(orchestrator config key " + address + " >> FILE, and name FILE in backend.public_key_file), or use TLS " +
		"(backend.tls): Error 1045 (28000): Access denied"
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	if got := <-came; len(got) != 3 || len(got[2]) != 256 {
		t.Errorf("the server got %d packets, the last one of %d bytes", len(got), len(got[len(got)-1]))
	}
}

func TestTheKeyOfAServer(t *testing.T) {
	k, sent := key(t)
	itsOwn := append([]byte{moreData}, sent...)
	fetch := func(plugin string, sends ...[]byte) (*rsa.PublicKey, error) {
		address, _ := curious(t, plugin, nil, sends...)
		return FetchKey(t.Context(), address, Options{Account: Account{User: "u", Password: hidden}})
	}
	for plugin, sends := range map[string][][]byte{"caching_sha2_password": {{moreData, fullAuth}, itsOwn},
		"sha256_password": {itsOwn}} {
		if got, err := fetch(plugin, sends...); err != nil || !got.Equal(&k.PublicKey) {
			t.Errorf("%s: %v, %v", plugin, got, err)
		}
	}
	if _, err := fetch("mysql_native_password"); !errors.Is(err, ErrNoKey) {
		t.Errorf("it needs none: %v", err)
	}
	if _, err := fetch("caching_sha2_password", []byte{moreData, '-', '-'}); !errors.Is(err, ErrAlien) {
		t.Errorf("what it sends is no key: %v", err)
	}
	if _, err := FetchKey(t.Context(), "127.0.43.2:1", Options{}); Failure(err) != topology.Refused {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestALoginIsHeardInWhateverPieces(t *testing.T) {
	packets := func(all ...[]byte) (out []byte) {
		for i, p := range all {
			out = append(append(out, byte(len(p)), byte(len(p)>>8), byte(len(p)>>16), byte(i)), p...)
		}
		return out
	}
	k, _ := key(t)
	for _, c := range []struct {
		sent    []byte
		asked   bool
		refused bool
	}{
		{packets([]byte("\x0agreeting"), ok), false, false},
		{packets([]byte("\x0agreeting"), []byte{moreData, 3}, ok), false, false},
		{packets([]byte("\x0agreeting"), []byte{moreData, fullAuth}), true, false},
		{packets([]byte("\x0agreeting"), nil, []byte{moreData, fullAuth}), true, false},
		{packets([]byte("\x0agreeting"), []byte{moreData, '-', '-'}), false, true},
		{packets([]byte("\x0agreeting"), append([]byte{moreData}, EncodeKey(&k.PublicKey)...)), true, false},
		{packets([]byte{0xfe, moreData, fullAuth}), false, false},
		{packets([]byte("\x0agreeting sha256_password\x00")), true, false},
		{packets([]byte("\xfesha256_password\x00scramble")), true, false},
		{packets(bytes.Repeat([]byte{'a'}, longestLogin), []byte{moreData, fullAuth}), true, false},
		{append([]byte{0xff, 0xff, 0xff, 0}, moreData), false, true},
	} {
		for _, read := range []func([]byte) [][]byte{inOne, bytewise} {
			var l handshake
			var err error
			for _, piece := range read(c.sent) {
				err = errors.Join(err, l.hear(piece))
			}
			if l.asked != c.asked || (err != nil) != c.refused {
				t.Errorf("%q: asked %v, %v", c.sent, l.asked, err)
			}
		}
	}
}

func inOne(b []byte) [][]byte { return [][]byte{b} }

func bytewise(b []byte) (out [][]byte) {
	for i := range b {
		out = append(out, b[i:i+1])
	}
	return out
}

func TestKeysThatAreNone(t *testing.T) {
	for _, text := range []string{"", "key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"} {
		if _, err := ParseKeys([]byte(text)); err == nil {
			t.Errorf("%q is a key", text)
		}
	}
}
