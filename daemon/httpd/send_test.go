package httpd

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func ask(handler http.HandlerFunc, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/", nil)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	handler(w, r)
	return w
}

func TestWhatIsLargeIsCompressed(t *testing.T) {
	large := strings.Repeat("db1:3306 and db2:3306; ", 500)
	for _, c := range []struct {
		body, accepts string
		zipped        bool
	}{
		{large, "gzip", true}, {large, "br, gzip;q=0.5", true}, {large, "GZIP", true}, {large, "*", true},
		{large, "", false}, {large, "br", false}, {large, "gzip;q=0", false}, {large, "*;q=0.1, gzip; q=0", false},
		{large, "x-gzip-not", false},
		{large[:smallest-1], "gzip", false}, {large[:smallest], "gzip", true}, {"", "gzip", false},
	} {
		w := ask(func(w http.ResponseWriter, r *http.Request) {
			Send(w, r, "text/plain", []byte(c.body))
		}, "Accept-Encoding: "+c.accepts)
		if zipped := w.Header().Get("Content-Encoding") == "gzip"; zipped != c.zipped ||
			w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%d bytes, %q: compressed %v", len(c.body), c.accepts, zipped)
		}
		if c.zipped && w.Body.Len() >= len(c.body) {
			t.Errorf("%d bytes became %d", len(c.body), w.Body.Len())
		}
		if got := plain(t, w); got != c.body {
			t.Errorf("%d bytes, %q: came as %q", len(c.body), c.accepts, got)
		}
	}
}

// plain is the body as the client reads it.
func plain(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	var body io.Reader = w.Body
	if w.Header().Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		body = z
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Parts are compressed one by one and joined: what comes out must be what went in, in one stream that has one checksum.
func TestPartsAreJoined(t *testing.T) {
	parts := []Part{Literal("["), NewPart(nil), Literal("")}
	want := "["
	for i := range 300 {
		text := strings.Repeat(fmt.Sprint(i), i*i) // the last ones are larger than what is gathered, and than a block
		parts = append(parts, NewPart([]byte(text)), Literal(","))
		want += text + ","
	}
	large := strings.Repeat("not compressed ", 10000)
	parts = append(parts, Literal(large))
	want += large
	send := func(w http.ResponseWriter, r *http.Request) { SendParts(w, r, "text/plain", parts...) }
	zipped, raw := ask(send, "Accept-Encoding: gzip"), ask(send)
	if zipped.Header().Get("Content-Encoding") != "gzip" || plain(t, zipped) != want {
		t.Error("compressed: another text")
	}
	if raw.Header().Get("Content-Length") != fmt.Sprint(len(want)) || plain(t, raw) != want {
		t.Error("not compressed: another text")
	}
}

func TestTheTagOfAnAnswer(t *testing.T) {
	hello := func(w http.ResponseWriter, r *http.Request) { Send(w, r, "text/plain", []byte("hello")) }
	other := func(w http.ResponseWriter, r *http.Request) { Send(w, r, "text/plain", []byte("hallo")) }
	tag := ask(hello).Header().Get("ETag")
	if !strings.HasPrefix(tag, `W/"`) || ask(hello, "Accept-Encoding: gzip").Header().Get("ETag") != tag {
		t.Errorf("tag %s", tag)
	}
	for _, c := range []struct {
		header  string
		handler http.HandlerFunc
		status  int
	}{
		{tag, hello, 304}, {strings.TrimPrefix(tag, "W/"), hello, 304}, {`"x",` + tag, hello, 304}, {"*", hello, 304},
		{tag, other, 200}, {`"x"`, hello, 200}, {"", hello, 200}, {tag[:len(tag)-2] + `"`, hello, 200},
	} {
		if w := ask(c.handler, "If-None-Match: "+c.header); w.Code != c.status ||
			(w.Body.Len() == 0) != (w.Code == 304) {
			t.Errorf("%s: %d, want %d: %s", c.header, w.Code, c.status, w.Body)
		}
	}
}
