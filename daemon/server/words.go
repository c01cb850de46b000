package server

import (
	"slices"
	"strings"

	"orchestrator/daemon/topology"
)

// Dialect is what a server speaks.
type Dialect struct {
	Flavor  topology.Flavor
	Version topology.Version
}

// MariaDB says that it is of that flavour.
func (d Dialect) MariaDB() bool { return d.Flavor == topology.MariaDB }

// Word is something that both flavours can be told, each in its words.
type Word int

const (
	// Questions.
	ReplicaStatus Word = iota // a row a source; its columns are named in either vocabulary: see ReadChannels
	Replicas                  // that are registered
	BinlogStatus              // where the binary log ends, and what it leaves out
	BinaryLogs                // MariaDB: the files, oldest first
	BinlogStart               // MariaDB: the "position" that a file comes after

	// Acts on one channel. Its name is an argument: see Dialect.OnChannel.
	Start
	StartReceiver
	StartApplier
	Stop
	StopReceiver
	StopApplier
	Reset
	changeSource // with what is changed in the place of %

	// Acts on the server. One word may be several statements.
	RefuseWrites
	TakeWrites
	Kill        // the connection with that number
	SetReplayed // MariaDB: a receiver goes on after this position
	SetExecuted // MySQL: this counts as executed, without having been received
	AwaitGTID   // for a second at most, until a set is applied; "missing" is 0 then

	// What CHANGE … can change, apart from each other.
	SourceAddress // host, port
	AutoPosition  // by GTID
	PublicKey     // the source may send the key that the password is encrypted with
	RetryForLong  // each second, for a day at least
	Heartbeat     // every 2 s
	SourceAccount // user, password

	// Privileges.
	MayReadStatus
	MayReadBinlog
	MayListReplicas
	MayReplicate // what a replica's account needs
	MayAdminister
	MaySetReadOnly
	MaySetVariables // that have no privilege of their own
	MaySetBinlog
	MayKill
	MayReload
	MaySeeThreads
	MaySetEvents // whether scheduled events run
	MaySeeEvents
	MayEndSystem // threads of replication, and connections of accounts that are shielded
)

// saying is how a word is said from a version on, and where that is written.
type saying struct {
	word   Word
	flavor topology.Flavor
	from   topology.Version
	text   string
	needs  Word // 0 (which is no privilege): none
	source string
}

// Where the facts are from.
const (
	manual57  = "MySQL 5.7 Reference Manual"
	wl8131    = "MySQL WL#8131: dynamic privileges, from 8.0 on"
	wl12098   = "MySQL WL#12098, 8.0.16: SYSTEM_USER"
	wl14171   = "MySQL WL#14171, 8.0.22: REPLICA for SLAVE in START, STOP, RESET and SHOW"
	wl14189   = "MySQL WL#14189, 8.0.23: CHANGE REPLICATION SOURCE TO, SOURCE_… for MASTER_…"
	news804   = "MySQL 8.0.4 release notes: GET_MASTER_PUBLIC_KEY"
	news82    = "MySQL 8.2.0 release notes: SHOW BINARY LOG STATUS (SHOW MASTER STATUS is gone in 8.4.0)"
	mariaDocs = "MariaDB documentation, tried on 10.11"
	mdev21743 = "MariaDB MDEV-21743, 10.5.2: SUPER is split up"
)

var (
	mysql57   = topology.Version{Major: 5, Minor: 7}
	mysql80   = topology.Version{Major: 8}
	mysql8016 = topology.Version{Major: 8, Patch: 16}
	mysql804  = topology.Version{Major: 8, Patch: 4}
	mysql8022 = topology.Version{Major: 8, Patch: 22}
	mysql8023 = topology.Version{Major: 8, Patch: 23}
	mysql82   = topology.Version{Major: 8, Minor: 2}
	maria105  = topology.Version{Major: 10, Minor: 5}
)

// vocabulary has, for each word and flavour, what is said from a version on, oldest first. A new way to say something
// is used from the version on that knows it: the old ones are gone in MySQL 8.4.
var vocabulary = []saying{
	{ReplicaStatus, topology.MySQL, mysql57, "SHOW SLAVE STATUS", MayReadStatus, manual57},
	{ReplicaStatus, topology.MySQL, mysql8022, "SHOW REPLICA STATUS", MayReadStatus, wl14171},
	{ReplicaStatus, topology.MariaDB, maria105, "SHOW ALL SLAVES STATUS", MayReadStatus, mariaDocs},
	{Replicas, topology.MySQL, mysql57, "SHOW SLAVE HOSTS", MayListReplicas, manual57},
	{Replicas, topology.MySQL, mysql8022, "SHOW REPLICAS", MayListReplicas, wl14171},
	{Replicas, topology.MariaDB, maria105, "SHOW SLAVE HOSTS", MayListReplicas, mariaDocs},
	{BinlogStatus, topology.MySQL, mysql57, "SHOW MASTER STATUS", MayReadBinlog, manual57},
	{BinlogStatus, topology.MySQL, mysql82, "SHOW BINARY LOG STATUS", MayReadBinlog, news82},
	{BinlogStatus, topology.MariaDB, maria105, "SHOW MASTER STATUS", MayReadBinlog, mariaDocs},
	{BinaryLogs, topology.MariaDB, maria105, "SHOW BINARY LOGS", MayReadBinlog, mariaDocs},
	{BinlogStart, topology.MariaDB, maria105, "SELECT BINLOG_GTID_POS(?, 4) AS position", 0, mariaDocs},

	{Start, topology.MySQL, mysql57, "START SLAVE FOR CHANNEL ?", MayAdminister, manual57},
	{Start, topology.MySQL, mysql8022, "START REPLICA FOR CHANNEL ?", MayAdminister, wl14171},
	{Start, topology.MariaDB, maria105, "START SLAVE ?", MayAdminister, mariaDocs},
	{StartReceiver, topology.MySQL, mysql57, "START SLAVE IO_THREAD FOR CHANNEL ?", MayAdminister, manual57},
	{StartReceiver, topology.MySQL, mysql8022, "START REPLICA IO_THREAD FOR CHANNEL ?", MayAdminister, wl14171},
	{StartReceiver, topology.MariaDB, maria105, "START SLAVE ? IO_THREAD", MayAdminister, mariaDocs},
	{StartApplier, topology.MySQL, mysql57, "START SLAVE SQL_THREAD FOR CHANNEL ?", MayAdminister, manual57},
	{StartApplier, topology.MySQL, mysql8022, "START REPLICA SQL_THREAD FOR CHANNEL ?", MayAdminister, wl14171},
	{StartApplier, topology.MariaDB, maria105, "START SLAVE ? SQL_THREAD", MayAdminister, mariaDocs},
	{Stop, topology.MySQL, mysql57, "STOP SLAVE FOR CHANNEL ?", MayAdminister, manual57},
	{Stop, topology.MySQL, mysql8022, "STOP REPLICA FOR CHANNEL ?", MayAdminister, wl14171},
	{Stop, topology.MariaDB, maria105, "STOP SLAVE ?", MayAdminister, mariaDocs},
	{StopReceiver, topology.MySQL, mysql57, "STOP SLAVE IO_THREAD FOR CHANNEL ?", MayAdminister, manual57},
	{StopReceiver, topology.MySQL, mysql8022, "STOP REPLICA IO_THREAD FOR CHANNEL ?", MayAdminister, wl14171},
	{StopReceiver, topology.MariaDB, maria105, "STOP SLAVE ? IO_THREAD", MayAdminister, mariaDocs},
	{StopApplier, topology.MySQL, mysql57, "STOP SLAVE SQL_THREAD FOR CHANNEL ?", MayAdminister, manual57},
	{StopApplier, topology.MySQL, mysql8022, "STOP REPLICA SQL_THREAD FOR CHANNEL ?", MayAdminister, wl14171},
	{StopApplier, topology.MariaDB, maria105, "STOP SLAVE ? SQL_THREAD", MayAdminister, mariaDocs},
	{Reset, topology.MySQL, mysql57, "RESET SLAVE ALL FOR CHANNEL ?", MayReload, manual57},
	{Reset, topology.MySQL, mysql8022, "RESET REPLICA ALL FOR CHANNEL ?", MayReload, wl14171},
	{Reset, topology.MariaDB, maria105, "RESET SLAVE ? ALL", MayReload, mariaDocs},
	{changeSource, topology.MySQL, mysql57, "CHANGE MASTER TO % FOR CHANNEL ?", MayAdminister, manual57},
	{changeSource, topology.MySQL, mysql8023, "CHANGE REPLICATION SOURCE TO % FOR CHANNEL ?", MayAdminister, wl14189},
	{changeSource, topology.MariaDB, maria105, "CHANGE MASTER ? TO %", MayAdminister, mariaDocs},

	{RefuseWrites, topology.MySQL, mysql57, "SET GLOBAL super_read_only = 1", MaySetReadOnly,
		manual57}, // sets read_only too
	{RefuseWrites, topology.MariaDB, maria105, "SET GLOBAL read_only = 1", MaySetReadOnly, mariaDocs},
	{TakeWrites, topology.MySQL, mysql57, "SET GLOBAL super_read_only = 0; SET GLOBAL read_only = 0", MaySetReadOnly,
		manual57},
	{TakeWrites, topology.MariaDB, maria105, "SET GLOBAL read_only = 0", MaySetReadOnly, mariaDocs},
	{Kill, topology.MySQL, mysql57, "KILL CONNECTION ?", MayKill, manual57},
	{Kill, topology.MariaDB, maria105, "KILL CONNECTION ?", MayKill, mariaDocs},
	{SetReplayed, topology.MariaDB, maria105, "SET GLOBAL gtid_slave_pos = ?", MayAdminister, mariaDocs},
	{SetExecuted, topology.MySQL, mysql57, "SET GLOBAL gtid_purged = ?", MaySetVariables, manual57},
	{AwaitGTID, topology.MySQL, mysql57, "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, 1) AS missing", 0, manual57},
	{AwaitGTID, topology.MariaDB, maria105, "SELECT MASTER_GTID_WAIT(?, 1) AS missing", 0, mariaDocs},

	{SourceAddress, topology.MySQL, mysql57, "MASTER_HOST = ?, MASTER_PORT = ?", 0, manual57},
	{SourceAddress, topology.MySQL, mysql8023, "SOURCE_HOST = ?, SOURCE_PORT = ?", 0, wl14189},
	{SourceAddress, topology.MariaDB, maria105, "MASTER_HOST = ?, MASTER_PORT = ?", 0, mariaDocs},
	{AutoPosition, topology.MySQL, mysql57, "MASTER_AUTO_POSITION = 1", 0, manual57},
	{AutoPosition, topology.MySQL, mysql8023, "SOURCE_AUTO_POSITION = 1", 0, wl14189},
	{AutoPosition, topology.MariaDB, maria105, "MASTER_USE_GTID = slave_pos", 0, mariaDocs},
	{PublicKey, topology.MySQL, mysql57, "", 0, manual57}, // no password there needs a key
	{PublicKey, topology.MySQL, mysql804, "GET_MASTER_PUBLIC_KEY = 1", 0, news804},
	{PublicKey, topology.MySQL, mysql8023, "GET_SOURCE_PUBLIC_KEY = 1", 0, wl14189},
	{PublicKey, topology.MariaDB, maria105, "", 0, mariaDocs},
	{RetryForLong, topology.MySQL, mysql57, "MASTER_CONNECT_RETRY = 1, MASTER_RETRY_COUNT = 86400", 0, manual57},
	{RetryForLong, topology.MySQL, mysql8023, "SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 86400", 0, wl14189},
	{RetryForLong, topology.MariaDB, maria105, "MASTER_CONNECT_RETRY = 1", 0,
		mariaDocs}, // the count is an option of the server
	{Heartbeat, topology.MySQL, mysql57, "MASTER_HEARTBEAT_PERIOD = 2", 0, manual57},
	{Heartbeat, topology.MySQL, mysql8023, "SOURCE_HEARTBEAT_PERIOD = 2", 0, wl14189},
	{Heartbeat, topology.MariaDB, maria105, "MASTER_HEARTBEAT_PERIOD = 2", 0, mariaDocs},
	{SourceAccount, topology.MySQL, mysql57, "MASTER_USER = ?, MASTER_PASSWORD = ?", 0, manual57},
	{SourceAccount, topology.MySQL, mysql8023, "SOURCE_USER = ?, SOURCE_PASSWORD = ?", 0, wl14189},
	{SourceAccount, topology.MariaDB, maria105, "MASTER_USER = ?, MASTER_PASSWORD = ?", 0, mariaDocs},

	{MayReadStatus, topology.MySQL, mysql57, "REPLICATION CLIENT", 0, manual57},
	{MayReadStatus, topology.MariaDB, maria105, "SLAVE MONITOR", 0, mdev21743},
	{MayReadBinlog, topology.MySQL, mysql57, "REPLICATION CLIENT", 0, manual57},
	{MayReadBinlog, topology.MariaDB, maria105, "BINLOG MONITOR", 0, mdev21743},
	{MayListReplicas, topology.MySQL, mysql57, "REPLICATION SLAVE", 0, manual57},
	{MayListReplicas, topology.MariaDB, maria105, "REPLICATION MASTER ADMIN", 0, mdev21743},
	{MayReplicate, topology.MySQL, mysql57, "REPLICATION SLAVE", 0, manual57},
	{MayReplicate, topology.MariaDB, maria105, "REPLICATION SLAVE", 0, mariaDocs},
	{MayAdminister, topology.MySQL, mysql57, "SUPER", 0, manual57},
	{MayAdminister, topology.MySQL, mysql80, "REPLICATION_SLAVE_ADMIN", 0, wl8131},
	{MayAdminister, topology.MariaDB, maria105, "REPLICATION SLAVE ADMIN", 0, mdev21743},
	{MaySetReadOnly, topology.MySQL, mysql57, "SUPER", 0, manual57},
	{MaySetReadOnly, topology.MySQL, mysql80, "SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN", 0, wl8131},
	{MaySetReadOnly, topology.MariaDB, maria105, "READ_ONLY ADMIN", 0, mdev21743},
	{MaySetVariables, topology.MySQL, mysql57, "SUPER", 0, manual57},
	{MaySetVariables, topology.MySQL, mysql80, "SYSTEM_VARIABLES_ADMIN", 0, wl8131},
	{MaySetVariables, topology.MariaDB, maria105, "SUPER", 0, mdev21743},
	{MaySetBinlog, topology.MySQL, mysql57, "SUPER", 0, manual57},
	{MaySetBinlog, topology.MySQL, mysql80, "SYSTEM_VARIABLES_ADMIN", 0, wl8131},
	{MaySetBinlog, topology.MariaDB, maria105, "BINLOG ADMIN", 0, mdev21743},
	{MayKill, topology.MySQL, mysql57, "SUPER", 0, manual57},
	{MayKill, topology.MySQL, mysql80, "CONNECTION_ADMIN", 0, wl8131},
	{MayKill, topology.MariaDB, maria105, "CONNECTION ADMIN", 0, mdev21743},
	{MayReload, topology.MySQL, mysql57, "RELOAD", 0, manual57},
	{MayReload, topology.MariaDB, maria105, "RELOAD", 0, mariaDocs},
	{MaySeeThreads, topology.MySQL, mysql57, "PROCESS", 0, manual57},
	{MaySeeThreads, topology.MariaDB, maria105, "PROCESS", 0, mariaDocs},
	{MaySetEvents, topology.MySQL, mysql57, "SUPER", 0, manual57},
	{MaySetEvents, topology.MySQL, mysql80, "SYSTEM_VARIABLES_ADMIN", 0, wl8131},
	{MaySetEvents, topology.MariaDB, maria105, "SUPER", 0, mariaDocs},
	{MaySeeEvents, topology.MySQL, mysql57, "EVENT", 0, manual57},
	{MaySeeEvents, topology.MariaDB, maria105, "SELECT ON mysql.event", 0, mariaDocs},
	{MayEndSystem, topology.MySQL, mysql57, "", 0, manual57}, // nobody is shielded
	{MayEndSystem, topology.MySQL, mysql8016, "SYSTEM_USER", 0, wl12098},
	{MayEndSystem, topology.MariaDB, maria105, "", 0, mariaDocs},
}

// say is the last saying of a word that the server knows: an older server than any that is listed gets the oldest.
func (d Dialect) say(w Word) (found saying) {
	for _, s := range vocabulary {
		if s.word == w && s.flavor == d.Flavor && (found.source == "" || d.Version.Compare(s.from) >= 0) {
			found = s
		}
	}
	return found
}

// Say returns the statement for a word that is one.
func (d Dialect) Say(w Word) Statement {
	s := d.say(w)
	q := Statement{Text: s.text}
	if s.needs != 0 {
		q.Needs = d.say(s.needs).text
	}
	return q
}

// SayAll returns the statements for a word that may be several.
func (d Dialect) SayAll(w Word) []Statement {
	all := d.Say(w)
	var out []Statement
	for text := range strings.SplitSeq(all.Text, "; ") {
		out = append(out, Statement{Text: text, Needs: all.Needs})
	}
	return out
}

// Change returns the statement that changes these things of a channel. It takes their arguments in that order, and the
// channel's name where OnChannel puts it. What it does not name the server keeps.
func (d Dialect) Change(what ...Word) Statement {
	q := d.Say(changeSource)
	var all []string
	for _, w := range what {
		if text := d.say(w).text; text != "" {
			all = append(all, text)
		}
	}
	q.Text = strings.Replace(q.Text, "%", strings.Join(all, ", "), 1)
	return q
}

// OnChannel puts the name of a channel where the dialect has it among the arguments: first (MariaDB) or last (MySQL).
// The default channel is "".
func (d Dialect) OnChannel(channel string, args ...any) []any {
	if d.MariaDB() {
		return append([]any{channel}, args...)
	}
	return append(slices.Clone(args), channel)
}

// Privileges are those for the words, as GRANT takes them, each once.
func (d Dialect) Privileges(words ...Word) []string {
	var out []string
	for _, w := range words {
		for p := range strings.SplitSeq(d.say(w).text, ", ") {
			if p != "" && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// ForChannel is a statement that takes the name of a channel and nothing else, with the name in it, to be shown or run.
func (q Statement) ForChannel(channel string) Statement {
	return Statement{Text: strings.Replace(q.Text, "?", Quote(channel), 1), Needs: q.Needs}
}
