package httpd

import "hash/crc32"

// follow is the checksum of a text whose own is sum, with the text of d after it. A checksum is the remainder of a
// polynomial over two elements: n more bytes multiply it by x to the power of 8n, and the rest is added.
func follow(sum uint32, d deflated) uint32 { return times(sum, d.shift) ^ d.sum }

// Polynomials are written as in checksums: the highest bit is the coefficient of 1.
const (
	one = uint32(1) << 31
	x8  = one >> 8
)

// shiftOf is x to the power of 8n.
func shiftOf(n int) uint32 {
	out := one
	for power := x8; n > 0; n >>= 1 {
		if n&1 != 0 {
			out = times(out, power)
		}
		power = times(power, power)
	}
	return out
}

// times is the product of two polynomials, less multiples of that of the checksum.
func times(a, b uint32) (out uint32) {
	for ; a != 0; a <<= 1 {
		if a&one != 0 {
			out ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crc32.IEEE
		} else {
			b >>= 1
		}
	}
	return out
}
