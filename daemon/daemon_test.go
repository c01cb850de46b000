package daemon

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"orchestrator/daemon/config"
)

func TestATokenForReads(t *testing.T) {
	for _, c := range []struct {
		required bool
		path     string
		token    string
		want     int
	}{
		{false, "/api/v1/clusters", "", http.StatusOK},
		{true, "/api/v1/clusters", "", http.StatusUnauthorized},
		{true, "/api/v1/clusters", "t0ken", http.StatusOK},
		{true, "/metrics", "", http.StatusUnauthorized},
		{true, "/health/live", "", http.StatusOK},
	} {
		conf := config.Default()
		conf.HTTP.Listen, conf.HTTP.Token, conf.HTTP.TokenForReads = "127.0.79.4:0", "t0ken", c.required
		conf.Backend.Path = filepath.Join(t.TempDir(), "orchestrator.db")
		d, err := New(conf, Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "http://localhost"+c.path, nil)
		if c.token != "" {
			r.Header.Set("Authorization", "Bearer "+c.token)
		}
		w := httptest.NewRecorder()
		d.root.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
		if err := d.opened.close(); err != nil {
			t.Error(err)
		}
	}
}
