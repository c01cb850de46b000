package swarm

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"hash"
	"time"

	"orchestrator/daemon/topology"
)

// What clients and servers say that they can.
const (
	protocol41       = 1 << 9
	secureConnection = 1 << 15
	pluginAuth       = 1 << 19
	connectWithDB    = 1 << 3
	longPassword     = 1
	multiStatements  = 1 << 16
	multiResults     = 1 << 17
	capabilities     = longPassword | protocol41 | secureConnection | pluginAuth | multiStatements | multiResults
)

// login greets, and lets in who has the password.
func (s *session) login() error {
	_ = s.conn.SetDeadline(time.Now().Add(10 * time.Second))
	defer func() { _ = s.conn.SetDeadline(time.Time{}) }()
	nonce := make([]byte, 20)
	rand.Read(nonce) // never fails
	for i := range nonce {
		nonce[i] = nonce[i]&0x3f + 33 // no byte of it may be 0
	}
	plugin := "mysql_native_password"
	if s.server.Flavor == topology.MySQL {
		plugin = "caching_sha2_password"
	}
	g := append([]byte{10}, versions[s.server.Flavor]...)
	g = append(g, 0)
	g = binary.LittleEndian.AppendUint32(g, uint32(s.id))
	g = append(append(g, nonce[:8]...), 0)
	g = binary.LittleEndian.AppendUint16(g, capabilities&0xffff)
	g = append(g, 45, 2, 0)
	g = binary.LittleEndian.AppendUint16(g, capabilities>>16)
	g = append(g, 21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	g = append(append(g, nonce[8:]...), 0)
	g = append(append(g, plugin...), 0)
	if err := s.send(g); err != nil {
		return err
	}
	p, err := s.receive()
	if err != nil {
		return err
	}
	user, answer, ok := parseLogin(p)
	s.several = len(p) > 4 && binary.LittleEndian.Uint32(p)&multiStatements != 0
	if !ok {
		_ = s.fail(refusal{1043, "Bad handshake"})
		return errors.New("bad handshake")
	}
	fast := s.server.Flavor == topology.MySQL
	if user != User || !proves(answer, nonce, fast) {
		_ = s.fail(refusal{1045, "Access denied for user '" + user + "'"})
		return errors.New("access denied")
	}
	if fast {
		if err := s.send([]byte{1, 3}); err != nil { // the password is cached: no more is asked
			return err
		}
	}
	return s.send(okPacket)
}

// parseLogin reads the user and the proof of the password from a handshake response.
func parseLogin(p []byte) (user string, proof []byte, ok bool) {
	if len(p) < 33 {
		return "", nil, false
	}
	rest := p[32:]
	end := bytes.IndexByte(rest, 0)
	if end < 0 || len(rest) < end+2 {
		return "", nil, false
	}
	user, rest = string(rest[:end]), rest[end+1:]
	n := int(rest[0])
	if len(rest) < 1+n {
		return "", nil, false
	}
	return user, rest[1 : 1+n], true
}

// proves says whether an answer shows that the client has the password.
func proves(answer, nonce []byte, sha2 bool) bool {
	hashed := func(parts ...[]byte) []byte {
		var h hash.Hash
		if h = sha1.New(); sha2 {
			h = sha256.New()
		}
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	once := hashed([]byte(Password))
	twice := hashed(once)
	mask := hashed(nonce, twice)
	if sha2 {
		mask = hashed(twice, nonce)
	}
	if len(answer) != len(once) {
		return false
	}
	subtle.XORBytes(mask, mask, once)
	return bytes.Equal(mask, answer)
}
