package httpd

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzHeaders sends anything in the headers that are looked at. Nobody changes anything without the token, and no
// answer is a defect.
func FuzzHeaders(f *testing.F) {
	const right = "a token that nobody guesses"
	for _, s := range []string{"", "Bearer x", "Basic !!!", "Basic OmE=", "bearer  a token", "\x00", "Bearer\t",
		"[::1]:3000", "localhost:99999", "null", "https://evil.example.com"} {
		f.Add(s, s, s, s, "127.0.0.1:1")
	}
	h, err := New(Options{Credentials: Credentials{Token: right}, TokenForReads: true, Hosts: []string{"localhost"}},
		Mount{Method: "POST", Path: "/change", Access: Administer, Handler: nothing})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, authorization, host, origin, site, from string) {
		if strings.Contains(authorization, right) {
			t.Skip()
		}
		r := httptest.NewRequest("POST", "/change", nil)
		r.RemoteAddr, r.Host = from, host
		r.Header.Set("Authorization", authorization)
		r.Header.Set("Origin", origin)
		r.Header.Set("Sec-Fetch-Site", site)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code < 400 || w.Code >= 500 || w.Body.Len() > 4096 {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	})
}
