package hard

import (
	"fmt"
	"os"
	"regexp"
	"syscall"
	"testing"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// A running daemon takes over discovery.only. A replica that it does not admit any more is not asked, and is not
// promoted; when it is admitted again, it is moved under the new primary.
func TestWhoIsAdmittedIsReplacedByAReload(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 2)
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy, Seeds: keysOf(f.Primary)})
		_, err := f.API.AwaitServers(f.Ctx, 3)
		f.Must(err)
		in, out := f.Replicas[0], f.Replicas[1]
		admit(f, fmt.Sprintf("only = [%q, %q]", f.Primary.Key.Host, in.Key.Host))
		f.Await("a replica is not admitted", func() bool {
			s, err := f.API.Snapshot(f.Ctx, "")
			f.Must(err)
			v := s.Server(out.Key)
			return v != nil && v.Stranger != nil && v.Stranger.Kind == topology.NotAdmitted
		})
		f.Must(f.Primary.Kill())
		if _, promoted := f.Promoted(); promoted != in {
			t.Errorf("%v is promoted", promoted.Key)
		}
		admit(f, "only = []")
		f.Settled(in, f.Primary)
	})
}

// admit has the daemon reload its configuration with this discovery.only.
func admit(f *watched.Fleet, only string) {
	f.Helper()
	text, err := os.ReadFile(f.API.ConfigFile)
	f.Must(err)
	text = regexp.MustCompile(`(?m)^only = .*\n`).ReplaceAll(text, nil)
	text = regexp.MustCompile(`(?m)^seeds = .*$`).ReplaceAll(text, []byte("$0\n"+only))
	f.Must(os.WriteFile(f.API.ConfigFile, text, 0o644))
	f.Must(f.API.Signal(syscall.SIGHUP))
}
