package swarm_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"orchestrator/daemon"
	"orchestrator/daemon/api/client"
	"orchestrator/daemon/config"
	"orchestrator/daemon/topology"
	"orchestrator/tests/swarm"
)

// start makes a swarm that goes with the test. A statement that it does not know fails the test.
func start(t *testing.T, spec swarm.Spec) *swarm.Swarm {
	t.Helper()
	s, err := swarm.New(spec, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for statement, times := range s.Unknown() {
			t.Errorf("%d times: the swarm does not know %s", times, statement)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// watch runs a daemon that watches a swarm, and may repair all of it.
func watch(t *testing.T, s *swarm.Swarm) {
	t.Helper()
	dir := t.TempDir()
	var seeds []string
	for _, k := range s.Seeds() {
		seeds = append(seeds, strconv.Quote(k.String()))
	}
	text := fmt.Sprintf(`[http]
listen = "127.0.0.1:0"
[servers]
user = %q
password_file = "password"
[backend]
path = "orchestrator.db"
[discovery]
seeds = [%s]
[[policy]]
clusters = ["*"]
recover_primary = true
recover_intermediate = true
`, swarm.User, strings.Join(seeds, ", "))
	file := filepath.Join(dir, "orchestrator.toml")
	for name, content := range map[string]string{file: text, filepath.Join(dir, "password"): swarm.Password} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	d, err := daemon.New(c, daemon.Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	await(t, "all servers are asked", func() bool {
		p := s.Polls(false)
		return p.Asked == p.Servers
	})
	asker, err := client.New(client.Options{Endpoints: []string{"http://" + d.Address().String()}})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "all servers are confirmed: those that are not count as no server of a cluster", func() bool {
		all, err := asker.Clusters(t.Context())
		n := 0
		for _, c := range all {
			n += c.Servers
		}
		return err == nil && n == s.Polls(false).Servers
	})
	time.Sleep(1500 * time.Millisecond) // and asked again, now that all are known
}

// await waits until something holds.
func await(t *testing.T, claim string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never comes true: %s", claim)
		}
	}
}

func TestADeadPrimaryIsReplaced(t *testing.T) {
	for _, flavor := range []topology.Flavor{topology.MariaDB, topology.MySQL} {
		t.Run(string(flavor), func(t *testing.T) {
			s := start(t, swarm.Spec{Clusters: 1, Size: 3, Flavors: []topology.Flavor{flavor}, Writing: 1, Rate: 500})
			watch(t, s)
			c := s.Clusters()[0]
			failed := c.Primary()
			failed.Kill()
			await(t, "another is promoted, and the third follows it", func() bool { return c.Outcome(failed).Done })
			if behind := c.Behind(); len(behind) > 0 {
				t.Errorf("%v has less than %v, which was not promoted", c.Primary().Key, behind)
			}
			if err := failed.Return(); err != nil {
				t.Fatal(err)
			}
			await(t, "the former primary takes no writes", failed.ReadOnly)
		})
	}
}

func TestTheClustersOfDeadAndSilentPrimariesAreRepaired(t *testing.T) {
	s := start(t, swarm.Spec{Clusters: 40, Size: 5, Writing: 0.5, Rate: 100})
	watch(t, s)
	failed := map[*swarm.Cluster]*swarm.Server{}
	for i, c := range s.Clusters()[:12] {
		failed[c] = c.Primary()
		if i < 10 {
			failed[c].Kill()
		} else {
			failed[c].Silence()
		}
	}
	for c, f := range failed {
		await(t, fmt.Sprintf("%v is replaced, and all others follow", f.Key), func() bool { return c.Outcome(f).Done })
		if behind := c.Behind(); len(behind) > 0 {
			t.Errorf("%v has less than %v, which was not promoted", c.Primary().Key, behind)
		}
	}
	for _, c := range s.Clusters()[12:] {
		if c.Primary() != c.Servers[0] {
			t.Errorf("%v was replaced although it lives", c.Servers[0].Key)
		}
	}
}
