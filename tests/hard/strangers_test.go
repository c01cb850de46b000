package hard

import (
	"fmt"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// Who has an account that may replicate registers a server that is no replica, as a replica with the UUID and the
// server_id of that server, and names where nobody is. The server is seen, and is a stranger: it takes no part in a
// failover, which is as fast as ever, and nothing is changed there.
func TestAStrangerThatRegisters(t *testing.T) {
	quick(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 2)
		stranger, err := l.Start(f.Ctx, lab.Spec{Flavor: flavor})
		f.Must(err)
		f.Must(stranger.Exec(f.Ctx, "SET GLOBAL read_only = 1"))
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy, Seeds: keysOf(f.Primary)})
		_, err = f.API.AwaitServers(f.Ctx, 3)
		f.Must(err)
		who, err := stranger.Row(f.Ctx, "SELECT @@server_id AS id, "+say(flavor, "''", "@@server_uuid")+" AS uuid")
		f.Must(err)
		var id uint32
		fmt.Sscan(who["id"], &id)
		reader{id, stranger.Key.Host, uint16(stranger.Key.Port)}.registers(f, f.Primary, who["uuid"])
		for n := range 20 {
			uuid := fmt.Sprintf("99999999-0000-0000-0000-0000000000%02d", n)
			reader{uint32(7000 + n), fmt.Sprintf("192.0.2.%d", n+1), 3306}.registers(f, f.Primary, uuid)
		}
		f.Await("the stranger is seen", func() bool {
			s, err := f.API.Snapshot(f.Ctx, "")
			f.Must(err)
			v := s.Server(stranger.Key)
			return v != nil && v.Up() && v.Stranger != nil && v.Stranger.Kind == topology.Unconfirmed
		})
		f.During(3*time.Second, "it stays one, and the cluster is whole", func() bool {
			all, err := f.API.Clusters(f.Ctx)
			f.Must(err)
			s, err := f.API.Snapshot(f.Ctx, "")
			f.Must(err)
			return len(all) == 1 && all[0].Servers == 3 && s.Server(stranger.Key).Stranger != nil
		})
		began := time.Now()
		f.Must(f.Primary.Kill())
		e, promoted := f.Promoted()
		t.Logf("%v was promoted within %v", promoted.Key, time.Since(began))
		f.Settled(promoted, f.Primary)
		if promoted == stranger || !f.ReadOnly(stranger) {
			t.Errorf("%v is promoted, and the stranger takes writes: %+v", promoted.Key, e)
		}
	})
}
