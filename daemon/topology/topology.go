// Package topology holds what is known of a fleet at one moment: servers, what each answered last, how asking it went,
// and who replicates from whom. A Snapshot is the input of every decision.
//
// It judges nothing (see analysis), fetches nothing (see discovery), and knows no text form (see drawing). The one
// idea: if a decision needs a fact, the fact is put in here.
package topology

import (
	"slices"
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
