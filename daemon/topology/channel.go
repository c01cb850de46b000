package topology

import (
	"strings"
	"time"

	"orchestrator/daemon/gtid"
)

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
