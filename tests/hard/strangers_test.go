package hard

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/sqlstore"
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

// Replicas that were found by their registration and confirmed stay so when the daemon starts again and their source is
// dead, although another daemon, which had not confirmed them yet, has stored them as strangers after that.
func TestWhoWasConfirmedStaysSoWhenTheSourceIsDead(t *testing.T) {
	quick(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 2)
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy, Seeds: keysOf(f.Primary)})
		f.Await("both replicas are confirmed", func() bool {
			s, err := f.API.Snapshot(f.Ctx, "")
			f.Must(err)
			return len(s.Admitted().Servers) == 3
		})
		f.Await("that is stored", func() bool { return len(stored(f, "confirmed")) == 2 })
		f.Must(f.API.Close())
		storeAsStrangers(f)
		f.Must(f.Primary.Kill())
		began := time.Now()
		f.Must(f.API.Restart(f.Ctx))
		_, promoted := f.Promoted()
		t.Logf("%v was promoted within %v of the start", promoted.Key, time.Since(began))
		f.Settled(promoted, f.Primary)
	})
}

// stored are the records of a kind in the file of the daemon.
func stored(f *watched.Fleet, kind string) []backend.Record {
	f.Helper()
	file := open(f)
	defer file.Close()
	records, err := file.List(f.Ctx, kind)
	f.Must(err)
	return records
}

func open(f *watched.Fleet) *sqlstore.Store {
	f.Helper()
	file, err := sqlstore.OpenSQLite(filepath.Join(filepath.Dir(f.API.ConfigFile), "orchestrator.db"))
	f.Must(err)
	return file
}

// storeAsStrangers stores the replicas as a daemon does that has not confirmed them.
func storeAsStrangers(f *watched.Fleet) {
	f.Helper()
	file := open(f)
	defer file.Close()
	for _, r := range stored(f, "instance") {
		v, err := backend.Decode[topology.Server](r)
		f.Must(err)
		if v.Key == f.Primary.Key {
			continue
		}
		v.Stranger = &topology.Stranger{Kind: topology.Unconfirmed}
		next, err := backend.Encode("instance", r.Key, v)
		f.Must(err)
		next.Version, next.Writer = r.Version+1, "another daemon"
		f.Must(file.Put(f.Ctx, next))
	}
}
