package httpd

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func TestChecksumsAreJoined(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		text := make([]byte, random.IntN(3000))
		for i := range text {
			text[i] = byte(random.Uint32())
		}
		cut := random.IntN(len(text) + 1)
		after := deflated{sum: crc32.ChecksumIEEE(text[cut:]), shift: shiftOf(len(text) - cut)}
		if got := follow(crc32.ChecksumIEEE(text[:cut]), after); got != crc32.ChecksumIEEE(text) {
			t.Fatalf("%d bytes, cut at %d: %08x, want %08x", len(text), cut, got, crc32.ChecksumIEEE(text))
		}
	}
}
