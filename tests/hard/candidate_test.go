package hard

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// buildClient builds orchestrator-client, and returns its path.
func buildClient(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", dir+"/", "orchestrator/cmd/orchestrator-client")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build orchestrator-client: %v: %s", err, out)
	}
	return filepath.Join(dir, "orchestrator-client")
}

// recoverBy asks for a failover as a person does, and returns what the client says.
func recoverBy(f *watched.Fleet, client string, args ...string) (said string, err error) {
	cmd := exec.CommandContext(f.Ctx, client, append([]string{"recover", f.Primary.Key.String(), "--by", "ann",
		"--reason", "the right room"}, args...)...)
	cmd.Env = append(cmd.Environ(), "ORCHESTRATOR_API="+f.API.URL)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// The policy lets a dead primary be dead, and says how an operator asks for its failover. What stands against the
// server that is named still does; the one that is named is promoted although another comes before it.
func TestAnOperatorNamesTheCandidate(t *testing.T) {
	all(t)
	client := buildClient(t)
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.StartAs(t, l, lab.Spec{Flavor: flavor}, 3, lab.DaemonSpec{Binary: binary,
			Config: "\n[[policy]]\nclusters = [\"*\"]\n"})
		first, named := firstByKey(f)
		barred := f.Replicas[2]
		f.Must(f.API.SetRule(f.Ctx, barred.Key.String(), topology.MustNot))
		refused := func(want string, args ...string) {
			t.Helper()
			if said, err := recoverBy(f, client, args...); err == nil || !strings.Contains(said, want) {
				t.Errorf("%v: %v: %s\nwant %q", args, err, said, want)
			}
		}
		refused("it answers", "--candidate", named.Key.String())
		f.Must(f.Primary.Kill())
		f.Await("the refusal offers it", func() bool {
			said := strings.Join(f.Refused(), "; ")
			return strings.Contains(said, "orchestrator-client recover "+f.Primary.Key.String()) &&
				strings.Contains(said, "--candidate")
		})
		f.Await("it is found dead", func() bool { return f.Found(analysis.DeadPrimary, "") })
		refused("its promotion rule is must_not", "--candidate", barred.Key.String())
		refused("there is no server", "--candidate", "127.0.0.9:3306")
		refused("which is no replica", "--candidate", f.Primary.Key.String())
		f.During(time.Second, "nobody is opened", func() bool {
			return f.ReadOnly(first) && f.ReadOnly(named) && f.ReadOnly(barred)
		})
		said, err := recoverBy(f, client, "--candidate", named.Key.String(), "--wait")
		if err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		t.Log(said)
		e, primary := f.Promoted()
		f.Settled(primary)
		if primary != named || e.Request == nil || e.Request.Candidate != named.Key {
			t.Errorf("%v was promoted for %+v", primary.Key, e.Request)
		}
	})
}

// Of two replicas that have the same, the one in the primary's data center replaces it.
func TestTheReplicaInTheSameDataCenterIsPromoted(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Start(t, l, lab.Spec{Flavor: flavor}, 2, lab.DaemonSpec{Binary: binary})
		near := f.Replicas[1] // by its name it would come second
		for s, center := range map[*lab.Server]string{f.Primary: "east", f.Replicas[0]: "west", near: "east"} {
			f.Must(f.API.SetTag(f.Ctx, s.Key.String(), "dc", center))
		}
		f.Within(20*time.Second, "the plan names it", func() bool {
			p, err := f.API.Plan(f.Ctx, f.Primary.Key.String(), f.Primary.Key.String())
			return err == nil && p.IfDead != nil && len(p.IfDead.Main().Candidates) > 0 &&
				p.IfDead.Main().Candidates[0].Key == near.Key
		})
		f.Must(f.Primary.Kill())
		_, primary := f.Promoted()
		if primary != near {
			t.Errorf("%v was promoted, want %v", primary.Key, near.Key)
		}
		f.Settled(primary)
	})
}
