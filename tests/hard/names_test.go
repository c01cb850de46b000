package hard

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// followBy has the replicas follow their source by another name.
func followBy(f *watched.Fleet, name topology.Key, replicas ...*lab.Server) {
	f.Helper()
	for _, r := range replicas {
		statements := []string{"STOP REPLICA", fmt.Sprintf(
			"CHANGE REPLICATION SOURCE TO SOURCE_HOST='%s', SOURCE_PORT=%d", name.Host, name.Port), "START REPLICA"}
		if r.Flavor == lab.MariaDB {
			statements = []string{"STOP SLAVE", fmt.Sprintf(
				"CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%d, MASTER_USE_GTID=slave_pos", name.Host, name.Port),
				"START SLAVE"}
		}
		f.Must(r.Exec(f.Ctx, statements...))
	}
	f.Await("the replicas follow it by that name", func() bool {
		return !slices.ContainsFunc(replicas, func(r *lab.Server) bool {
			is, err := r.Replication(f.Ctx)
			return err != nil || is.Source != name || !is.Running()
		})
	})
}

// short is an address as only the resolver of the C library reads it: no name to this program, and one to servers.
func short(s *lab.Server) topology.Key {
	var a, b, c, d int
	_, _ = fmt.Sscanf(s.Key.Host, "%d.%d.%d.%d", &a, &b, &c, &d)
	return topology.Key{Host: fmt.Sprintf("%d.%d.%d", a, b, c<<8|d), Port: s.Key.Port}
}

// keysOf are the addresses of servers.
func keysOf(servers ...*lab.Server) (out []topology.Key) {
	for _, s := range servers {
		out = append(out, s.Key)
	}
	return out
}

// The primary is known by its address, and its replicas follow it through a proxy.
func TestReplicasFollowByAnotherName(t *testing.T) {
	quick(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 2)
		vip, err := l.Proxy()
		f.Must(err)
		defer vip.Close()
		vip.Point(f.Primary)
		followBy(f, vip.Key, f.Replicas...)
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy, Seeds: keysOf(f.Primary)})
		_, err = f.API.AwaitServers(f.Ctx, 3)
		f.Must(err)
		f.FailsOver()
	})
}

// Only the replicas can resolve the name by which they follow it. It is one cluster, and it is left in peace; and its
// primary is replaced when it dies at the address at which it is known.
func TestANameThatOnlyReplicasResolve(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 2)
		followBy(f, short(f.Primary), f.Replicas...)
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy,
			Seeds: keysOf(append(f.Replicas, f.Primary)...)})
		_, err := f.API.AwaitServers(f.Ctx, 3)
		f.Must(err)
		f.During(8*time.Second, "nothing is found, and there is one cluster", func() bool {
			found, err := f.API.Findings(f.Ctx, "")
			f.Must(err)
			all, err := f.API.Clusters(f.Ctx)
			f.Must(err)
			return len(found) == 0 && len(all) == 1
		})
		f.FailsOver()
	})
}

// A primary that nobody here can ask is not replaced on the word of replicas that lost it for a moment.
func TestNobodyIsReplacedForANameThatDoesNotResolve(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 2)
		followBy(f, short(f.Primary), f.Replicas...)
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy, Seeds: keysOf(f.Replicas...)})
		f.Await("both replicas are known", func() bool {
			s, err := f.API.Snapshot(f.Ctx, "")
			return err == nil && s.Server(f.Replicas[0].Key) != nil && s.Server(f.Replicas[1].Key) != nil
		})
		f.Must(l.Cut(f.Primary))
		f.During(12*time.Second, "nobody is opened", func() bool {
			return f.ReadOnly(f.Replicas[0]) && f.ReadOnly(f.Replicas[1])
		})
		f.Must(l.Heal())
	})
}

// The primary is polled at its address, and its replicas, which follow it by a name that only they resolve, lose it for
// seconds: it lives, so nobody is opened beside it, and they follow it again.
func TestTheLinkToANameThatOnlyReplicasResolveBreaks(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 2)
		followBy(f, short(f.Primary), f.Replicas...)
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy,
			Seeds: keysOf(append(f.Replicas, f.Primary)...)})
		_, err := f.API.AwaitServers(f.Ctx, 3)
		f.Must(err)
		f.Must(l.Sides(lab.Side{Servers: []*lab.Server{f.Primary}}, lab.Side{Servers: f.Replicas}))
		f.During(12*time.Second, "nobody is opened beside it", func() bool {
			return f.ReadOnly(f.Replicas[0]) && f.ReadOnly(f.Replicas[1]) && !f.ReadOnly(f.Primary)
		})
		all, err := f.API.Clusters(f.Ctx)
		f.Must(err)
		if len(all) != 1 || all[0].Up != 3 {
			t.Errorf("clusters: %+v", all)
		}
		for _, code := range []analysis.Code{analysis.DeadPrimary, analysis.UnreachablePrimary, analysis.TwoWritable} {
			if f.Found(code, "") {
				t.Errorf("%s is found", code)
			}
		}
		f.Must(l.Heal())
		commits(f, f.Primary, 1)
		for _, r := range f.Replicas {
			caughtUp(f, r)
		}
		f.FailsOver()
	})
}

// What a server reports as its host is no host.
func TestAReportHostThatIsNoName(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor, ExtraArgs: []string{"--report-host=db1:3306 (new)"}}, 2)
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy,
			Seeds: keysOf(append(f.Replicas, f.Primary)...)})
		_, err := f.API.AwaitServers(f.Ctx, 3)
		f.Must(err)
		f.Await("it is found", func() bool { return f.Found(analysis.UnusableName, "db1:3306 (new)") })
		f.Must(f.API.Kill())
		f.Must(f.API.Restart(f.Ctx))
		_, err = f.API.AwaitServers(f.Ctx, 3)
		f.Must(err)
		f.FailsOver()
	})
}

// Who registers as a replica and is not to be reached is neither a cluster nor a death, and is named before a failover.
func TestAReaderThatNeverAnswers(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 1)
		nowhere, err := l.Address()
		f.Must(err)
		reader, err := l.Start(f.Ctx, lab.Spec{Flavor: flavor, ExtraArgs: []string{"--report-host=" + nowhere}})
		f.Must(err)
		f.Must(l.ReplicateFrom(f.Ctx, reader, f.Primary))
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy, Seeds: keysOf(f.Primary)})
		f.Await("the reader is found at its source", func() bool { return f.Found(analysis.UnknownReader, nowhere) })
		all, err := f.API.Clusters(f.Ctx)
		f.Must(err)
		if len(all) != 1 {
			t.Errorf("%d clusters: %+v", len(all), all)
		}
		for _, code := range []analysis.Code{analysis.DeadPrimaryWithoutReplicas, analysis.ReplicaDead} {
			if f.Found(code, "") {
				t.Errorf("%s is found", code)
			}
		}
	})
}

// Replicas follow a virtual address that moves to one of them while the primary lives.
func TestAVirtualAddressMovesToAReplica(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 2)
		vip, err := l.Proxy()
		f.Must(err)
		defer vip.Close()
		vip.Point(f.Primary)
		followBy(f, vip.Key, f.Replicas...)
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy, Seeds: []topology.Key{vip.Key}})
		_, err = f.API.AwaitServers(f.Ctx, 3)
		f.Must(err)
		vip.Switch(f.Replicas[0])
		what := "the name is doubtful, who follows itself is found, and the primary is not lost"
		f.Within(time.Minute, what, func() bool {
			s, err := f.API.Snapshot(f.Ctx, "")
			if err != nil {
				return false
			}
			p := s.Named(f.Primary.Key)
			return f.Found(analysis.SelfReplication, vip.Key.String()) &&
				f.Found(analysis.DoubtfulName, vip.Key.String()) && p != nil && p.Up() && !p.Instance.ReadOnly
		})
		if !f.ReadOnly(f.Replicas[0]) || !f.ReadOnly(f.Replicas[1]) || f.ReadOnly(f.Primary) {
			t.Error("who takes writes was changed")
		}
	})
}

// Two replicas have one server_id: neither can follow the other.
func TestTwoReplicasWithOneServerID(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 1)
		twin, err := l.Start(f.Ctx, lab.Spec{Flavor: flavor, ServerID: f.Replicas[0].ServerID})
		f.Must(err)
		f.Must(l.ReplicateFrom(f.Ctx, twin, f.Primary))
		f.Replicas = append(f.Replicas, twin)
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy,
			Seeds: keysOf(append(f.Replicas, f.Primary)...)})
		f.Await("both are found", func() bool {
			return f.Found(analysis.DuplicateServerID, f.Replicas[0].Key.String()) &&
				f.Found(analysis.DuplicateServerID, twin.Key.String())
		})
		f.Must(f.Primary.Kill())
		e, primary := f.Promoted()
		if len(e.Lost) != 1 || !strings.Contains(e.Lost[0].Why, "server_id") {
			t.Errorf("lost: %+v", e.Lost)
		}
		if f.ReadOnly(primary) {
			t.Errorf("%v does not take writes", primary.Key)
		}
	})
}
