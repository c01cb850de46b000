package server

import (
	"slices"
	"strings"
	"testing"

	"orchestrator/daemon/topology"
)

func dialect(t *testing.T, version string) Dialect {
	t.Helper()
	f, v, err := topology.ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	return Dialect{f, v}
}

// follow is the longest CHANGE that is ever said.
var follow = []Word{SourceAddress, AutoPosition, RetryForLong, Heartbeat, PublicKey, SourceAccount}

const (
	followOld = "CHANGE MASTER TO MASTER_HOST = ?, MASTER_PORT = ?, MASTER_AUTO_POSITION = 1, MASTER_CONNECT_RETRY = " +
		"1, " +
		"MASTER_RETRY_COUNT = 86400, MASTER_HEARTBEAT_PERIOD = 2, MASTER_USER = ?, MASTER_PASSWORD = ? FOR CHANNEL ?"
	followOldKey = "CHANGE MASTER TO MASTER_HOST = ?, MASTER_PORT = ?, MASTER_AUTO_POSITION = 1, " +
		"MASTER_CONNECT_RETRY = 1, " +
		"MASTER_RETRY_COUNT = 86400, MASTER_HEARTBEAT_PERIOD = 2, GET_MASTER_PUBLIC_KEY = 1, MASTER_USER = ?, " +
		"MASTER_PASSWORD = ? " +
		"FOR CHANNEL ?"
	followNew = "CHANGE REPLICATION SOURCE TO SOURCE_HOST = ?, SOURCE_PORT = ?, SOURCE_AUTO_POSITION = 1, " +
		"SOURCE_CONNECT_RETRY = 1, " +
		"SOURCE_RETRY_COUNT = 86400, SOURCE_HEARTBEAT_PERIOD = 2, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_USER = ?, " +
		"SOURCE_PASSWORD = ? " +
		"FOR CHANNEL ?"
	followMaria = "CHANGE MASTER ? TO MASTER_HOST = ?, MASTER_PORT = ?, MASTER_USE_GTID = slave_pos, " +
		"MASTER_CONNECT_RETRY = 1, " +
		"MASTER_HEARTBEAT_PERIOD = 2, MASTER_USER = ?, MASTER_PASSWORD = ?"
)

// words are those that came with one version.
type words struct{ status, replicas, stop string }

var (
	slave   = words{"SHOW SLAVE STATUS", "SHOW SLAVE HOSTS", "STOP SLAVE FOR CHANNEL ?"}
	replica = words{"SHOW REPLICA STATUS", "SHOW REPLICAS", "STOP REPLICA FOR CHANNEL ?"}
	maria   = words{"SHOW ALL SLAVES STATUS", "SHOW SLAVE HOSTS", "STOP SLAVE ?"}
)

// Each line is a version just before or just after one of which the servers' release notes say that a word came or
// went.
func TestEachVersionIsToldItsWords(t *testing.T) {
	const (
		oldLog, newLog    = "SHOW MASTER STATUS", "SHOW BINARY LOG STATUS"
		super, admin, own = "SUPER", "REPLICATION_SLAVE_ADMIN", "REPLICATION SLAVE ADMIN"
	)
	for _, c := range []struct {
		version               string
		words                 words
		binlog, change, admin string
	}{
		{"5.7.44-log", slave, oldLog, followOld, super},
		{"8.0.3", slave, oldLog, followOld, admin},
		{"8.0.4", slave, oldLog, followOldKey, admin},
		{"8.0.21", slave, oldLog, followOldKey, admin},
		{"8.0.22", replica, oldLog, followOldKey, admin},
		{"8.0.23", replica, oldLog, followNew, admin},
		{"8.0.25", replica, oldLog, followNew, admin},
		{"8.0.26", replica, oldLog, followNew, admin},
		{"8.0.36-28", replica, oldLog, followNew, admin},
		{"8.1.0", replica, oldLog, followNew, admin},
		{"8.2.0", replica, newLog, followNew, admin},
		{"8.4.3", replica, newLog, followNew, admin},
		{"9.7.4", replica, newLog, followNew, admin},
		{"10.5.2-MariaDB", maria, oldLog, followMaria, own},
		{"10.11.19-MariaDB-0+deb12u1-log", maria, oldLog, followMaria, own},
		{"5.5.5-11.4.2-MariaDB-log", maria, oldLog, followMaria, own},
		{"12.0.1-MariaDB", maria, oldLog, followMaria, own},
	} {
		d := dialect(t, c.version)
		for _, said := range []struct{ got, want string }{
			{d.Say(ReplicaStatus).Text, c.words.status},
			{d.Say(Replicas).Text, c.words.replicas},
			{d.Say(Stop).Text, c.words.stop},
			{d.Say(BinlogStatus).Text, c.binlog},
			{d.Change(follow...).Text, c.change},
			{d.Say(Stop).Needs, c.admin},
			{d.Change(SourceAddress).Needs, c.admin},
		} {
			if said.got != said.want {
				t.Errorf("%s is told %q, want %q", c.version, said.got, said.want)
			}
		}
	}
}

func TestNoVersionIsToldAWordThatItDoesNotKnow(t *testing.T) {
	for _, c := range []struct{ version, unknown string }{
		{"5.7.44", "REPLICA |REPLICAS|SOURCE|PUBLIC_KEY|BINARY LOG STATUS|_ADMIN"},
		{"8.0.21", "REPLICA |REPLICAS|SOURCE|BINARY LOG STATUS"},
		{"8.0.22", "SOURCE|BINARY LOG STATUS"},
		{"8.0.23", "BINARY LOG STATUS"},
		{"8.4.0", "SLAVE |SLAVES|MASTER"},
		{"9.7.4", "SLAVE |SLAVES|MASTER"},
		{"10.5.2-MariaDB", "REPLICA |REPLICAS|SOURCE_|PUBLIC_KEY|super_read_only|FOR CHANNEL|_ADMIN"},
		{"11.4.2-MariaDB", "REPLICA |REPLICAS|SOURCE_|PUBLIC_KEY|super_read_only|FOR CHANNEL|_ADMIN"},
	} {
		d := dialect(t, c.version)
		for w := ReplicaStatus; w <= SourceAccount; w++ {
			text := d.Say(w).Text
			if w == changeSource {
				text = d.Change(follow...).Text
			}
			for word := range strings.SplitSeq(c.unknown, "|") {
				if strings.Contains(text, word) {
					t.Errorf("%s is told %q, and knows no %q", c.version, text, word)
				}
			}
		}
	}
}

func TestTheVocabularyIsWhole(t *testing.T) {
	oneFlavor := map[Word]topology.Flavor{SetReplayed: topology.MariaDB, SetExecuted: topology.MySQL,
		BinaryLogs: topology.MariaDB, BinlogStart: topology.MariaDB}
	for w := ReplicaStatus; w <= MaySeeThreads; w++ {
		for _, f := range []topology.Flavor{topology.MySQL, topology.MariaDB} {
			var of []saying
			for _, s := range vocabulary {
				if s.word == w && s.flavor == f {
					of = append(of, s)
				}
			}
			if only := oneFlavor[w]; len(of) == 0 && (only == "" || only == f) {
				t.Errorf("word %d cannot be said to %s", w, f)
			}
			if !slices.IsSortedFunc(of, func(a, b saying) int { return a.from.Compare(b.from) }) {
				t.Errorf("word %d of %s: the oldest is not first", w, f)
			}
			for _, s := range of {
				if s.source == "" || s.needs != 0 && s.needs < MayReadStatus {
					t.Errorf("word %d of %s from %v: no source, or needs what is no privilege", w, f, s.from)
				}
			}
		}
	}
}

func TestTheChannelStandsWhereTheFlavourHasIt(t *testing.T) {
	maria, my := dialect(t, "10.11.19-MariaDB"), dialect(t, "8.4.0")
	if got := maria.OnChannel("c", 1, 2); !slices.Equal(got, []any{"c", 1, 2}) {
		t.Errorf("MariaDB: %v", got)
	}
	if got := my.OnChannel("c", 1, 2); !slices.Equal(got, []any{1, 2, "c"}) {
		t.Errorf("MySQL: %v", got)
	}
	if got := my.Say(Stop).ForChannel("it's").Text; got != `STOP REPLICA FOR CHANNEL 'it\'s'` {
		t.Error(got)
	}
	if got := my.SayAll(TakeWrites); len(got) != 2 || got[1].Text != "SET GLOBAL read_only = 0" || got[1].Needs == "" {
		t.Errorf("%+v", got)
	}
	if got := maria.Privileges(MayReadStatus, MayAdminister, MayReadStatus); !slices.Equal(got,
		[]string{"SLAVE MONITOR", "REPLICATION SLAVE ADMIN"}) {
		t.Errorf("%v", got)
	}
}
