package peer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

const (
	headerNonce  = "Orchestrator-Nonce"
	headerMAC    = "Orchestrator-Mac"
	headerTo     = "Orchestrator-To"   // see question.to
	headerFrom   = "Orchestrator-From" // who answers, and the time there, as headerTo
	headerDigest = "Orchestrator-Digest"
)

// sign is the HMAC-SHA256 of the parts. Each part has its length before it, so that different lists of parts are
// different bytes.
func sign(secret string, parts ...string) string {
	h := hmac.New(sha256.New, []byte(secret))
	for _, part := range parts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// whose is the secret by which that was signed, if it is one of these.
func whose(secrets []string, mac string, parts ...string) (secret string, found bool) {
	for _, s := range secrets {
		if signed(mac, s, parts...) {
			return s, true
		}
	}
	return "", false
}

// signed compares in constant time.
func signed(mac, secret string, parts ...string) bool {
	return hmac.Equal([]byte(mac), []byte(sign(secret, parts...)))
}
