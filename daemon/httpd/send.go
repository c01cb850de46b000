package httpd

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// smallest is how many bytes an answer must have to be compressed: below, the headers outweigh what is saved.
const smallest = 1 << 10

// Send answers with a body. The answer to a GET gets an ETag made of its content, unless it has one (see Unchanged),
// and is compressed where the client accepts that.
func Send(w http.ResponseWriter, r *http.Request, media string, body []byte) {
	if reads(r) && w.Header().Get("ETag") == "" {
		sum := fnv.New64a()
		sum.Write(body)
		if Unchanged(w, r, fmt.Sprintf("%x", sum.Sum64())) {
			return
		}
	}
	if len(body) < smallest || !takesGzip(r) {
		SendParts(w, r, media, Part{raw: body})
		return
	}
	SendParts(w, r, media, NewPart(body))
}

// Unchanged gives the answer to a GET an edition, and reports whether the client already has that one. If so, it has
// answered with 304.
//
// The ETag is a weak one: an edition stands for the same facts, however they are compressed.
func Unchanged(w http.ResponseWriter, r *http.Request, edition string) bool {
	tag := `W/"` + edition + `"`
	w.Header().Set("ETag", tag)
	w.Header().Set("Cache-Control", "private, no-cache") // keep it, and ask each time whether it is still true
	w.Header().Set("Vary", "Accept-Encoding")
	if !reads(r) || !matches(r.Header.Get("If-None-Match"), edition) {
		return false
	}
	w.WriteHeader(http.StatusNotModified)
	return true
}

func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// matches compares as RFC 9110 requires for If-None-Match: weakly.
func matches(header, edition string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == `"`+edition+`"` || tag == "*" {
			return true
		}
	}
	return false
}

// takesGzip says that the client accepts gzip, by name or as one of all.
func takesGzip(r *http.Request) bool {
	quality := map[string]bool{}
	for one := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, parameters, _ := strings.Cut(strings.TrimSpace(one), ";")
		q, given := strings.CutPrefix(strings.ReplaceAll(parameters, " ", ""), "q=")
		weight, err := strconv.ParseFloat(q, 64)
		quality[strings.ToLower(strings.TrimSpace(name))] = !given || err == nil && weight > 0
	}
	accepted, named := quality["gzip"]
	return accepted || !named && quality["*"]
}

// Part is a piece of an answer that can be kept and sent again. It is never changed.
type Part struct {
	raw []byte
	// deflated is nil when the part is too small to be compressed.
	deflated func() deflated
}

// NewPart is a piece that is compressed once, when a client first takes that.
func NewPart(raw []byte) Part {
	return Part{raw, sync.OnceValue(func() deflated { return deflate(raw) })}
}

// Literal is a piece that is too small to be compressed, like the commas between others.
func Literal(text string) Part { return Part{raw: []byte(text)} }

// Len is how many bytes the piece has before it is compressed.
func (p Part) Len() int { return len(p.raw) }

var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil { // the level is one of those that there are
		panic(err)
	}
	return w
}}

// deflated is text as blocks of a deflate stream that end on a byte and refer to nothing outside, so that those of
// several parts can be joined, and what joins their checksums: a long answer need not be read again to be sent.
type deflated struct {
	blocks []byte
	sum    uint32
	shift  uint32 // see follow
}

func deflate(raw []byte) deflated {
	var out bytes.Buffer
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&out)
	_, _ = w.Write(raw) // to memory, which takes everything
	_ = w.Flush()
	return deflated{slices.Clip(out.Bytes()), crc32.ChecksumIEEE(raw), shiftOf(len(raw))}
}

// stored is raw as blocks that are not compressed: their length, and its complement.
func stored(to []byte, raw []byte) []byte {
	for len(raw) > 0 {
		n := min(len(raw), 1<<16-1)
		to = append(to, 0)
		to = binary.LittleEndian.AppendUint16(to, uint16(n))
		to = binary.LittleEndian.AppendUint16(to, ^uint16(n))
		to = append(to, raw[:n]...)
		raw = raw[n:]
	}
	return to
}

// SendParts answers with pieces, one after the other; compressed, if some are and the client takes that.
func SendParts(w http.ResponseWriter, r *http.Request, media string, parts ...Part) {
	whole := 0
	zip := false
	for _, p := range parts {
		whole += len(p.raw)
		zip = zip || p.deflated != nil
	}
	head := w.Header()
	head.Set("Content-Type", media)
	head.Set("Vary", "Accept-Encoding")
	if zip && whole >= smallest && takesGzip(r) {
		head.Set("Content-Encoding", "gzip")
		sendGzip(w, parts, whole)
		return
	}
	head.Set("Content-Length", strconv.Itoa(whole))
	w.WriteHeader(http.StatusOK)
	to := gather{w: w}
	for _, p := range parts {
		to.write(p.raw)
	}
	to.flush()
}

// The ends of a gzip stream (RFC 1952): no name, no time; and an empty last block before the checksum.
var (
	gzipHead = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}
	gzipEnd  = []byte{1, 0, 0, 0xff, 0xff}
)

func sendGzip(w http.ResponseWriter, parts []Part, whole int) {
	sum := uint32(0)
	to := gather{w: w}
	to.write(gzipHead)
	for _, p := range parts {
		if p.deflated != nil {
			d := p.deflated()
			sum = follow(sum, d)
			to.write(d.blocks)
		} else {
			sum = crc32.Update(sum, crc32.IEEETable, p.raw)
			to.buffer = stored(to.buffer, p.raw)
		}
	}
	to.write(gzipEnd)
	to.write(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, sum), uint32(whole)))
	to.flush()
}

// gather joins small writes: net/http would make a system call of every few kilobytes.
type gather struct {
	w      io.Writer
	buffer []byte
}

const gathered = 256 << 10

func (g *gather) write(b []byte) {
	if len(g.buffer)+len(b) > gathered {
		g.flush()
	}
	if len(b) > gathered {
		_, _ = g.w.Write(b)
		return
	}
	g.buffer = append(g.buffer, b...)
}

// flush sends what was gathered. A client that went away is no concern of ours.
func (g *gather) flush() {
	if len(g.buffer) > 0 {
		_, _ = g.w.Write(g.buffer)
		g.buffer = g.buffer[:0]
	}
}
