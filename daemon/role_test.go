package daemon

import (
	"slices"
	"strings"
	"testing"

	"orchestrator/daemon/api"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/peer"
	"orchestrator/tests/paper"
)

// What is mounted may be changed by nobody who may only read, whether or not it is of the API. What asks for nothing is
// listed here: health checks, and the calls of other daemons, which are signed.
func TestWhoMayOnlyReadChangesNothingThatIsMounted(t *testing.T) {
	v1, err := api.New(paper.New(paper.Drawn).Nouns(), api.Options{})
	if err != nil {
		t.Fatal(err)
	}
	mounts := slices.Concat(v1.Mounts(), (&aloneMode{}).mounts(), (&sharedMode{}).mounts())
	for _, m := range mounts {
		switch {
		case m.Access == httpd.Open:
			if m.Path != peer.Path && !strings.HasPrefix(m.Path, "/health/") {
				t.Errorf("%s %s needs nothing", m.Method, m.Path)
			}
		case m.Method != "GET" && httpd.ReadOnly.May(m.Access):
			t.Errorf("%s %s: who may only read may send it", m.Method, m.Path)
		}
	}
	if len(mounts) < 30 {
		t.Errorf("there are only %d mounts", len(mounts))
	}
}
