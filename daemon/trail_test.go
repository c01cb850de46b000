package daemon

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"orchestrator/daemon/audit"
	"orchestrator/daemon/config"
	"orchestrator/daemon/httpd"
)

// A daemon with a file: its audit chain goes on in the next life, and the export of the API can be verified.
func TestTheAuditTrailGoesOnInTheNextLife(t *testing.T) {
	const token = "a token that nobody guesses"
	conf := config.Default()
	conf.HTTP.Listen, conf.HTTP.Token = "127.0.79.5:0", token
	conf.Backend.Path = filepath.Join(t.TempDir(), "orchestrator.db")
	for life := range 2 {
		d, err := New(conf, Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(method, path, body string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, "http://localhost"+path, io.NopCloser(strings.NewReader(body)))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			d.root.ServeHTTP(w, r)
			return w
		}
		if w := ask("PUT", "/api/v1/recoveries", `{"on":false,"by":"ann","reason":"works"}`); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		kept, unreadable := audit.Import(ask("GET", "/api/v1/audit?format=lines", "").Body.Bytes())
		chains := audit.Verify(kept)
		if len(unreadable) > 0 || len(chains) != 1 || chains[0].Records != life+1 || len(chains[0].Broken) > 0 {
			t.Errorf("life %d: %q, %+v", life, unreadable, chains)
		}
		last, err := audit.Parse(kept.Documents[len(kept.Documents)-1])
		if err != nil || last.Who.Name != httpd.SharedToken || last.By != "ann" || last.Process != d.id {
			t.Errorf("life %d: %+v, %v", life, last, err)
		}
		d.trail.Wait()
		if err := d.opened.close(); err != nil {
			t.Error(err)
		}
	}
}
