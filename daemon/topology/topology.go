// Package topology holds what is known of a fleet at one moment: servers, what each answered last, how asking it went,
// and who replicates from whom. A Snapshot is the input of every decision.
//
// It judges nothing (see analysis), fetches nothing (see discovery), and knows no text form (see drawing). The one
// idea: if a decision needs a fact, the fact is put in here.
package topology

import (
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/gtid"
)

// Instance is what the last answered probe of a server said.
type Instance struct {
	// UUID is the server's own (MySQL), or one made from what identifies a MariaDB server; "" where nothing does. Two
	// keys with one UUID are one server under two names.
	UUID       string    `json:"uuid,omitempty"`
	ServerID   uint32    `json:"server_id,omitempty"`
	Hostname   string    `json:"hostname,omitempty"`    // @@hostname
	ReportHost string    `json:"report_host,omitempty"` // @@report_host
	Port       int       `json:"port,omitempty"`        // @@port
	Flavor     Flavor    `json:"flavor"`
	Version    Version   `json:"version"`
	StartedAt  time.Time `json:"started_at,omitzero"` // from the server's uptime, ±1 s

	ReadOnly      bool `json:"read_only"`       // read_only or super_read_only
	SuperReadOnly bool `json:"super_read_only"` // MySQL only
	// Scheduler says that the server runs scheduled events. On MariaDB these write although it is read-only.
	Scheduler         bool   `json:"event_scheduler,omitempty"`
	LogBin            bool   `json:"log_bin"`
	LogReplicaUpdates bool   `json:"log_replica_updates"`
	BinlogFormat      string `json:"binlog_format,omitempty"`
	// BinlogFilters says that the server logs a part of its databases only (binlog_do_db, binlog_ignore_db). Replicas
	// below it get the GTIDs of the rest (MySQL), or nothing (MariaDB), and never the data.
	BinlogFilters bool `json:"binlog_filters,omitempty"`
	GTID          bool `json:"gtid"` // gtid_mode=ON; on MariaDB always true

	// Executed is what the server has committed: gtid_executed on MySQL; on MariaDB, per domain, the further of
	// gtid_slave_pos and gtid_binlog_pos.
	Executed gtid.Set `json:"executed"`
	// Purged is no longer in its binary logs: gtid_purged; on MariaDB the GTID list of the oldest log. Read seldom.
	Purged gtid.Set `json:"purged,omitzero"`
	// BinlogWritten is MariaDB's gtid_binlog_pos: its last writers tell local writes on a replica.
	BinlogWritten gtid.Set `json:"binlog_written,omitzero"`
	// BinlogState is MariaDB's gtid_binlog_state. Where the writers of two positions differ, only it can show that one
	// does not contain the other.
	BinlogState gtid.State `json:"binlog_state,omitzero"`
	BinlogFile  string     `json:"binlog_file,omitempty"`
	BinlogPos   uint64     `json:"binlog_pos,omitempty"`

	// Channels are the sources that the server is configured to replicate from; usually none (a primary) or one.
	Channels []Channel `json:"channels,omitempty"`
	SemiSync SemiSync  `json:"semi_sync,omitzero"`
	// Registered are the replicas that have registered with this server, at the addresses that they report.
	Registered []Key `json:"registered,omitempty"`
	// Registrations say as whom. Only discovery reads them.
	Registrations []Registration `json:"-"`
	// Readers are those that have read this server's binary log for some five seconds, without those that said
	// themselves that they are no servers. A replica that left it a moment ago may still be among them. 0 where nobody
	// counted.
	Readers int `json:"readers,omitempty"`
	// Unusable is what the server says in the place of a name, and that can't be one.
	Unusable []string `json:"unusable,omitempty"`
	// Strangers are sessions that are no daemon's and that held one of the daemons' advisory locks there, or waited for
	// one, in the last minutes, and what became of each.
	Strangers []string `json:"strangers,omitempty"`
	// Ungranted are privileges that our account needs there and lacks. Read seldom.
	Ungranted []Ungranted `json:"missing_privileges,omitempty"`
	// Dormant are scheduled events that came by replication, and that this server does not run: schema and name, the
	// first of them. Read seldom, and only on a server without a source; empty where the account may not see events.
	Dormant []string `json:"dormant_events,omitempty"`
	// Stalled tells of commits that hang although the server answers; nil when none do. Read on primaries only, seldom.
	Stalled *Stall `json:"stalled,omitempty"`
}

// Ungranted is a privilege that our account needs and lacks.
type Ungranted struct {
	Grant   string `json:"grant"`   // the statement that gives it, without a semicolon
	Without string `json:"without"` // what is lost without it
}

func (u Ungranted) String() string { return u.Grant + ": without it, " + u.Without }

// ShownToLack is what of a set a MariaDB server lacks by its own log, although its position may have a higher number.
func (i Instance) ShownToLack(set gtid.Set) gtid.Set {
	if !i.LogBin || !i.LogReplicaUpdates || i.BinlogFilters { // its log does not tell of all that it has
		return gtid.Set{}
	}
	shown := i.BinlogState.Lacks(set, i.Executed)
	for _, c := range i.Channels { // received, and not logged yet
		shown = shown.Subtract(c.Received.Intersect(shown))
	}
	return shown
}

// Channel is one source of a replica, in words that both vocabularies of the servers share.
type Channel struct {
	Name string `json:"name,omitempty"` // "" is the default channel
	// Source is the key under which that server is kept here. It is zero where what the server says is no name at all:
	// see Instance.Unusable.
	Source Key `json:"source"`
	// Spelt is how the server itself writes its source; zero where that is Source. Whatever is done at the server is
	// done by this name.
	Spelt      Key         `json:"spelt,omitzero"`
	SourceUUID string      `json:"source_uuid,omitempty"`
	SourceID   uint32      `json:"source_server_id,omitempty"`
	IO         ThreadState `json:"io"` // receives
	// IOSince is the start of the first probe of an unbroken row that saw IO as it is now; zero where nobody
	// counted. It tells a receiver that fails to connect from one that was started a moment ago, or stopped long ago.
	IOSince time.Time   `json:"io_since,omitzero"`
	SQL     ThreadState `json:"sql"` // applies
	// Full says that the receiver waits until the applier has freed space for relay logs (relay_log_space_limit). It
	// reads nothing meanwhile, so it does not notice when its source is gone.
	Full         bool   `json:"full,omitempty"`
	IOErrno      int    `json:"io_errno,omitempty"`
	IOError      string `json:"io_error,omitempty"`
	SQLErrno     int    `json:"sql_errno,omitempty"`
	SQLError     string `json:"sql_error,omitempty"`
	AutoPosition bool   `json:"auto_position"` // by GTID: SOURCE_AUTO_POSITION=1, or Using_Gtid other than No
	// Received is everything that reached this server from the source, applied or not: Retrieved_Gtid_Set with Executed
	// (MySQL), Gtid_IO_Pos (MariaDB). Without GTID it is empty, and coordinates speak.
	Received gtid.Set `json:"received"`
	// Lag is what the server says of itself (Seconds_Behind), nil when it says NULL.
	Lag           *int64  `json:"lag_seconds,omitempty"`
	Delay         int64   `json:"delay_seconds,omitempty"` // configured
	ReadFile      string  `json:"read_file,omitempty"`     // coordinates in the source's binary log: received
	ReadPos       uint64  `json:"read_pos,omitempty"`
	ExecFile      string  `json:"exec_file,omitempty"` // applied
	ExecPos       uint64  `json:"exec_pos,omitempty"`
	HeartbeatSecs float64 `json:"heartbeat_seconds,omitempty"` // configured period, 0 where unknown
	Heartbeats    uint64  `json:"heartbeats,omitempty"`        // received so far, 0 where unknown
	Filters       bool    `json:"filters,omitempty"`
	SSL           bool    `json:"ssl,omitempty"`
	User          string  `json:"user,omitempty"`
}

// Written is the source as the server itself writes it.
func (c Channel) Written() Key {
	if c.Spelt.IsZero() {
		return c.Source
	}
	return c.Spelt
}

// Drained says that everything received is applied. Replicas without GTID compare coordinates, and so do those of a
// cluster that has executed nothing. A receiver that has not begun to read has no file, and on MySQL coordinates that
// differ: 4 read and 0 applied.
func (c Channel) Drained(executed gtid.Set) bool {
	if c.Received.Empty() {
		return c.ReadFile == "" || c.ReadFile == c.ExecFile && c.ReadPos == c.ExecPos
	}
	return executed.Contains(c.Received)
}

// Halted says that the receiver stands still and would go on if it was started: it was stopped, by somebody or after it
// had failed to reach its source. A server keeps the last error of a receiver that is stopped, and of one that was
// given another source meanwhile.
func (c Channel) Halted() bool {
	return c.IO == Stopped && (c.IOErrno == 0 || ConnectionError(c.IOErrno))
}

// Rejected says that the source answered the receiver and refused it: its account, its certificate, its number of
// connections. A receiver tries again only after a while (MASTER_CONNECT_RETRY, a minute by default).
func (c Channel) Rejected() bool {
	const shutdown = 1053 // it answers so while it goes
	return c.IO == Connecting && c.IOErrno != 0 && !ConnectionError(c.IOErrno) && c.IOErrno != shutdown
}

// ConnectionError tells the errors of a client that could not reach a server, or lost it, from those that a server
// sends. 2026 (TLS) is not among them: a certificate that expired gives it as well as a host that dies during the
// handshake.
func ConnectionError(errno int) bool {
	switch errno {
	case 2002, 2003, 2005, 2006, 2013, 2055: // socket, host, name, gone away, lost, lost with the cause
		return true
	case 1158, 1159, 1160, 1161: // the replica's own network layer: read, read timeout, write, write timeout
		return true
	}
	return false
}

// ThreadState is what a server says of a replication thread.
type ThreadState string

const (
	Running    ThreadState = "yes"
	Stopped    ThreadState = "no"
	Connecting ThreadState = "connecting"
)

// ParseThreadState reads what a server says, in either vocabulary.
func ParseThreadState(word string) ThreadState {
	switch strings.ToLower(word) {
	case "yes":
		return Running
	case "connecting", "preparing":
		return Connecting
	}
	return Stopped
}

// SemiSync is the state of semi-synchronous replication on a server.
type SemiSync struct {
	SourceEnabled  bool   `json:"source_enabled,omitempty"`
	SourceActive   bool   `json:"source_active,omitempty"`
	ReplicaEnabled bool   `json:"replica_enabled,omitempty"`
	ReplicaActive  bool   `json:"replica_active,omitempty"`
	WaitCount      int    `json:"wait_count,omitempty"`
	Clients        int    `json:"clients,omitempty"`
	TimeoutMillis  uint64 `json:"timeout_ms,omitempty"`
}

// Stall is a commit that does not end.
type Stall struct {
	State   string `json:"state"`   // the thread state as the server prints it
	Seconds int64  `json:"seconds"` // how long the longest has been in it
	Count   int    `json:"count"`
	// Cause is "disk_full", "semi_sync", "lock" (of the whole server) or "commit" when only the length is known.
	Cause string `json:"cause"`
}

// Failure says how asking a server failed; the ways differ in what they prove.
type Failure string

const (
	OK       Failure = ""
	Refused  Failure = "refused"  // nothing listens there: the host is alive, the server is not
	Reset    Failure = "reset"    // the connection broke under us
	Timeout  Failure = "timeout"  // silence: a hang, a cut, or only slow
	Shutdown Failure = "shutdown" // 1053: it says that it is going down
	TooMany  Failure = "too_many_connections"
	Denied   Failure = "access_denied" // login or GRANT
	TLSError Failure = "tls"
	Alien    Failure = "not_mysql" // something answers, and it is no such server
	NoHost   Failure = "no_such_host"
	Barred   Failure = "not_admitted" // it was not asked: see NotAdmitted
	Other    Failure = "other"
)

// Alive says that the failure itself proves a living server behind it.
func (f Failure) Alive() bool {
	switch f {
	case OK, TooMany, Denied, TLSError, Other:
		return true
	}
	return false
}

// Dead says that the failure itself proves that no server process answers there: the host is alive and nothing listens,
// or the server said that it shuts down.
func (f Failure) Dead() bool { return f == Refused || f == Shutdown }

// Probe tells how asking a server went.
type Probe struct {
	Asked    time.Time `json:"asked,omitzero"`    // start of the last finished probe
	Answered time.Time `json:"answered,omitzero"` // start of the last probe that was answered whole
	Failure  Failure   `json:"failure,omitempty"`
	Error    string    `json:"error,omitempty"` // for people; never with a secret
	// FailingSince is the start of the first probe of the present unbroken row of failures; zero while it answers. What
	// replicas say counts as evidence only when they were asked after it.
	FailingSince time.Time `json:"failing_since,omitzero"`
	Failures     int       `json:"failures,omitempty"` // in that row
}

// Server is all that is known of one server.
type Server struct {
	Key     Key    `json:"key"`
	Cluster string `json:"cluster,omitempty"` // name of the cluster that it belongs, or last belonged, to
	Probe   Probe  `json:"probe"`
	// Instance is nil while the server has never answered.
	Instance *Instance `json:"instance,omitempty"`
	Names    []Key     `json:"names,omitempty"` // other keys under which the same server was seen
	// Doubtful are those of its names, its key among them, that have led to another server, too. Nothing is made to
	// rely on them.
	Doubtful []Key `json:"doubtful,omitempty"`
	// Left tells of a server that follows nobody now which source this daemon saw it follow before; nil when it saw
	// none.
	Left *Departure `json:"left,omitempty"`
	// Stranger says why no decision may rest on this server; nil where it is one of the fleet.
	Stranger *Stranger `json:"stranger,omitempty"`
	// LeftOut counts the replicas that registered with this server and are not looked at: there are too many.
	LeftOut int `json:"left_out,omitempty"`

	// What people declared:
	Rule     Rule              `json:"promotion_rule,omitempty"`
	Downtime *Downtime         `json:"downtime,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
}

// Address is a name that leads to this server only: its key, where that is so; zero where no such name is known.
func (s Server) Address() Key {
	for _, k := range append([]Key{s.Key}, s.Names...) {
		if !slices.Contains(s.Doubtful, k) {
			return k
		}
	}
	return Key{}
}

// Departure is how a replica ceased to be one.
type Departure struct {
	From Key `json:"from"` // the source that it followed last
	// Seen is the start of the first probe that found it without a source.
	Seen    time.Time `json:"seen"`
	Filters bool      `json:"filters,omitempty"` // it left a part of the data out
}

// Up says that the last probe was answered.
func (s Server) Up() bool {
	return s.Instance != nil && s.Probe.Failure == OK && !s.Probe.Answered.IsZero()
}

// Channel returns the one source of a plain replica: the only channel, or nil when there are none or several.
func (s Server) Channel() *Channel {
	if s.Instance == nil || len(s.Instance.Channels) != 1 {
		return nil
	}
	return &s.Instance.Channels[0]
}

// Unused says that a channel of the server is a leftover: somebody stopped both threads, and the server takes writes.
// It is no tie to its source as soon as other servers follow this one.
func (s Server) Unused(c Channel) bool {
	return !s.Instance.ReadOnly && c.IO == Stopped && c.SQL == Stopped && c.IOErrno == 0 && c.SQLErrno == 0
}

// MultiSource says that the server replicates from several sources; nothing automatic ever touches those.
func (s Server) MultiSource() bool { return s.Instance != nil && len(s.Instance.Channels) > 1 }

// Received is all that the server has, applied or only received.
func (s Server) Received() gtid.Set {
	if s.Instance == nil {
		return gtid.Set{}
	}
	all := s.Instance.Executed
	for _, c := range s.Instance.Channels {
		all = all.Union(c.Received)
	}
	return all
}

// Receiving says that a receiver of the server was connected when it was asked, so that it may have got more since.
func (s Server) Receiving() bool {
	return s.Instance != nil && slices.ContainsFunc(s.Instance.Channels,
		func(c Channel) bool { return c.IO == Running })
}

// Rule is an operator's wish about promotion.
type Rule string

const (
	Prefer    Rule = "prefer"
	Neutral   Rule = "neutral" // also ""
	PreferNot Rule = "prefer_not"
	MustNot   Rule = "must_not"
)

// Downtime mutes a server: it is watched, and not repaired.
type Downtime struct {
	Owner  string    `json:"owner"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
}

// Snapshot is a fleet, or one cluster of it, at one moment.
type Snapshot struct {
	At      time.Time `json:"at"`
	Servers []Server  `json:"servers"` // sorted by key
	// Revision is the same for two snapshots of one cluster, made by one daemon, only if they have the same content;
	// times of probes are none. 0 where nobody keeps count.
	Revision uint64 `json:"-"`
	// Promoted says, by cluster, which server the last failover on record made its primary. Where replicas that were
	// out of reach then still point to the former one, nothing else tells.
	Promoted map[string]Key `json:"promoted,omitempty"`
}
