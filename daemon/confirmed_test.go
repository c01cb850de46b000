package daemon

import (
	"log/slog"
	"path/filepath"
	"testing"

	"orchestrator/daemon/config"
	"orchestrator/daemon/topology"
)

// What was confirmed of a server goes with it when it is forgotten, and with those that were forgotten before.
func TestAConfirmationIsForgottenWithItsServer(t *testing.T) {
	conf := config.Default()
	conf.Backend.Path, conf.HTTP.Listen = filepath.Join(t.TempDir(), "store.db"), "127.0.0.1:0"
	d, err := New(conf, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.opened.close(); err != nil {
			t.Error(err)
		}
	}()
	key := func(host string) topology.Key { return topology.Key{Host: host, Port: 3306} }
	if err := d.declarations.Forget(t.Context(), key("db3")); err != nil { // by an older program
		t.Fatal(err)
	}
	for _, host := range []string{"db2", "db3", "db4"} {
		r, err := d.clock.Encode("w", confirmedKind, key(host).String(), topology.Confirmation{Key: key(host)})
		if err == nil {
			err = d.store.Put(t.Context(), r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := (discoverer{d}).Forget(t.Context(), key("db2")); err != nil {
		t.Fatal(err)
	}
	if err := d.outbox.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := d.store.List(t.Context(), confirmedKind)
	if err != nil || len(left) != 1 || left[0].Key != "db4:3306" {
		t.Errorf("on record: %+v, %v", left, err)
	}
	d.trail.Wait()
}
