package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"

	mysqldriver "github.com/go-sql-driver/mysql"

	"orchestrator/daemon/topology"
)

// Meaning is what an error that a server reports means to us.
type Meaning int

const (
	Unknown          Meaning = iota // also of what is no such error
	LoginDenied                     // user, password, or the way to prove it
	HostDenied                      // no account may log in from here
	HostBlocked                     // too many failed connections came from here
	TLSRequired                     // no login without TLS
	PrivilegeMissing                // the account lacks a privilege
	TooMany                         // connections
	ShuttingDown                    // it is going down
	ConnectionEnded                 // it ended this connection: killed, or idle for too long
	Interrupted                     // somebody ended this statement
	Collision                       // another transaction was in the way: a deadlock, or a lock held for too long
	ReadOnly                        // it takes no writes
	DiskFull
	OutOfMemory
	NoDatabase
	NoTable
	NoThread       // no connection has that number
	NotOwner       // the connection belongs to an account that ours may not end
	PacketTooLarge // for its max_allowed_packet
	UnsafeLevel    // the isolation level does not allow to replicate statements
	PositionPurged // the source has not got what a replica asks for; receivers report it too
	KeyMissing     // receivers report it: the source wants the password itself, and they have neither TLS nor its key
)

// errorNumbers are those that mean something to us. They are the same in both flavours, but where it says so. The names
// are those of the servers' reference manuals ("Server Error Message Reference"; MariaDB: "Error Codes").
var errorNumbers = map[uint16]Meaning{
	1021: DiskFull,         // ER_DISK_FULL
	1037: OutOfMemory,      // ER_OUTOFMEMORY
	1040: TooMany,          // ER_CON_COUNT_ERROR
	1041: OutOfMemory,      // ER_OUT_OF_RESOURCES
	1044: PrivilegeMissing, // ER_DBACCESS_DENIED_ERROR
	1045: LoginDenied,      // ER_ACCESS_DENIED_ERROR
	1049: NoDatabase,       // ER_BAD_DB_ERROR
	1053: ShuttingDown,     // ER_SERVER_SHUTDOWN
	1094: NoThread,         // ER_NO_SUCH_THREAD
	1095: NotOwner,         // ER_KILL_DENIED_ERROR
	1114: DiskFull,         // ER_RECORD_FILE_FULL
	1129: HostBlocked,      // ER_HOST_IS_BLOCKED
	1130: HostDenied,       // ER_HOST_NOT_PRIVILEGED
	1142: PrivilegeMissing, // ER_TABLEACCESS_DENIED_ERROR
	1143: PrivilegeMissing, // ER_COLUMNACCESS_DENIED_ERROR
	1146: NoTable,          // ER_NO_SUCH_TABLE
	1153: PacketTooLarge,   // ER_NET_PACKET_TOO_LARGE
	1203: TooMany,          // ER_TOO_MANY_USER_CONNECTIONS
	1205: Collision,        // ER_LOCK_WAIT_TIMEOUT
	1213: Collision,        // ER_LOCK_DEADLOCK
	1226: TooMany,          // ER_USER_LIMIT_REACHED
	1227: PrivilegeMissing, // ER_SPECIFIC_ACCESS_DENIED_ERROR
	1236: PositionPurged,   // ER_MASTER_FATAL_ERROR_READING_BINLOG
	1251: LoginDenied,      // ER_NOT_SUPPORTED_AUTH_MODE
	1290: ReadOnly,         // ER_OPTION_PREVENTS_STATEMENT: --read-only, --super-read-only
	1317: Interrupted,      // ER_QUERY_INTERRUPTED
	1665: UnsafeLevel,      // ER_BINLOG_STMT_MODE_AND_ROW_ENGINE
	1698: LoginDenied,      // ER_ACCESS_DENIED_NO_PASSWORD_ERROR
	1820: LoginDenied,      // ER_MUST_CHANGE_PASSWORD
	1836: ReadOnly,         // ER_READ_ONLY_MODE
	1862: LoginDenied,      // ER_MUST_CHANGE_PASSWORD_LOGIN
	1927: ConnectionEnded,  // ER_CONNECTION_KILLED (MariaDB)
	2061: KeyMissing,       // CR_AUTH_PLUGIN_ERR (MySQL)
	3118: LoginDenied,      // ER_ACCOUNT_HAS_BEEN_LOCKED (MySQL)
	3159: TLSRequired,      // ER_SECURE_TRANSPORT_REQUIRED (MySQL; MariaDB says 1045)
	4031: ConnectionEnded,  // ER_CLIENT_INTERACTION_TIMEOUT (MySQL)
	4151: LoginDenied,      // ER_ACCOUNT_HAS_BEEN_LOCKED (MariaDB)
}

// Number is that of the error that a server reported; 0 where it did not report one.
func Number(err error) uint16 {
	var reported *mysqldriver.MySQLError
	if errors.As(err, &reported) {
		return reported.Number
	}
	return 0
}

// Means says that an error is one that a server reported, and means one of these.
func Means(err error, any ...Meaning) bool {
	m, known := errorNumbers[Number(err)]
	return known && slices.Contains(any, m)
}

// MeansNumber is Means for a number that a server keeps, such as the last error of a receiver.
func MeansNumber(number int, m Meaning) bool {
	return number > 0 && number <= 0xffff && errorNumbers[uint16(number)] == m
}

// failures say what the meanings tell of a server that is asked.
var failures = map[Meaning]topology.Failure{
	LoginDenied:      topology.Denied,
	HostDenied:       topology.Denied,
	HostBlocked:      topology.Denied,
	PrivilegeMissing: topology.Denied,
	TLSRequired:      topology.TLSError,
	TooMany:          topology.TooMany,
	ShuttingDown:     topology.Shutdown,
	ConnectionEnded:  topology.Reset,
}

// Failure classifies how asking failed, by type and number, never by text.
func Failure(err error) topology.Failure {
	if err == nil {
		return topology.OK
	}
	if n := Number(err); n != 0 {
		if f, ok := failures[errorNumbers[n]]; ok {
			return f
		}
		return topology.Other
	}
	var resolve *net.DNSError
	switch {
	case isAny(err, ErrAlien, mysqldriver.ErrMalformPkt, mysqldriver.ErrPktSync, mysqldriver.ErrPktSyncMul,
		mysqldriver.ErrOldProtocol):
		return topology.Alien
	case isAny(err, ErrBarred):
		return topology.Barred
	case isTLS(err):
		return topology.TLSError
	case isAny(err, mysqldriver.ErrUnknownPlugin, mysqldriver.ErrCleartextPassword, mysqldriver.ErrNativePassword,
		mysqldriver.ErrOldPassword, ErrKeyNeeded):
		return topology.Denied
	case errors.Is(err, syscall.ECONNREFUSED):
		return topology.Refused
	case errors.As(err, &resolve):
		return topology.NoHost
	case isAny(err, ErrTooMuch):
		return topology.Other
	case isAny(err, context.DeadlineExceeded, context.Canceled, os.ErrDeadlineExceeded, syscall.ETIMEDOUT):
		return topology.Timeout
	case Unreachable(err):
		return topology.Timeout
	case isAny(err, syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF, mysqldriver.ErrInvalidConn,
		driver.ErrBadConn,
		net.ErrClosed):
		return topology.Reset
	}
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		return topology.Timeout
	}
	return topology.Other
}

// Unreachable says that the network or the host is out of reach. That counts as silence: it proves nothing about the
// server.
func Unreachable(err error) bool { return isAny(err, syscall.EHOSTUNREACH, syscall.ENETUNREACH) }

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}

func isTLS(err error) bool {
	var (
		verify  *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   tls.AlertError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	return errors.Is(err, mysqldriver.ErrNoTLS) || errors.As(err, &verify) || errors.As(err, &record) || errors.As(err,
		&alert) ||
		errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &invalid)
}
