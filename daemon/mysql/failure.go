package mysql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/go-sql-driver/mysql"

	"orchestrator/daemon/topology"
)

// Server errors that tell how asking failed. Numbers, because texts change with the version and the language.
const (
	errTooMany       = 1040
	errUserTooMany   = 1203
	errUserLimit     = 1226
	errDBDenied      = 1044
	errDenied        = 1045
	errShutdown      = 1053
	errHostBlocked   = 1129
	errHostDenied    = 1130
	errCommandDenied = 1142
	errNeedGrant     = 1227
	errNoPassword    = 1698
)

// failureOf tells the ways in which asking can fail apart.
func failureOf(err error) topology.Failure {
	var server *mysql.MySQLError
	if errors.As(err, &server) {
		switch server.Number {
		case errTooMany, errUserTooMany, errUserLimit:
			return topology.TooMany
		case errShutdown:
			return topology.Shutdown
		case errDBDenied, errDenied, errHostBlocked, errHostDenied, errCommandDenied, errNeedGrant, errNoPassword:
			return topology.Denied
		}
		return topology.Other
	}
	var dns *net.DNSError
	var verify *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var alert tls.AlertError
	var unknown x509.UnknownAuthorityError
	var late net.Error
	switch {
	case errors.As(err, &dns) && !dns.IsTimeout:
		return topology.NoHost
	case errors.Is(err, syscall.ECONNREFUSED):
		return topology.Refused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return topology.Timeout // no route is silence: it proves nothing of the server
	case errors.As(err, &verify), errors.As(err, &header), errors.As(err, &alert), errors.As(err, &unknown), errors.Is(err, mysql.ErrNoTLS):
		return topology.TLSError
	case errors.Is(err, mysql.ErrMalformPkt), errors.Is(err, mysql.ErrPktSync), errors.Is(err, mysql.ErrPktSyncMul), errors.Is(err, mysql.ErrPktTooLarge),
		errors.Is(err, mysql.ErrOldProtocol):
		return topology.Alien
	case broken(err):
		return topology.Reset
	case errors.As(err, &late) && late.Timeout():
		return topology.Timeout
	}
	return topology.Other
}

// broken says that the connection is gone, whatever the server is.
func broken(err error) bool {
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

// explain says in words what was tried, why it failed and what to do.
func (s *Servers) explain(k topology.Key, f topology.Failure, err error) error {
	switch f {
	case topology.Timeout:
		return fmt.Errorf("probe %v: no answer within %v: %w", k, s.o.ProbeTimeout, err)
	case topology.Denied:
		return fmt.Errorf("probe %v as %q: %w; %s", k, s.user, err, s.remedy(err))
	case topology.TooMany:
		return fmt.Errorf("probe %v: it lives, and has no connection left for us: %w; raise max_connections, or grant CONNECTION_ADMIN (CONNECTION ADMIN on MariaDB)", k, err)
	case topology.Alien:
		return fmt.Errorf("probe %v: what answers there is no MySQL or MariaDB server: %w", k, err)
	case topology.TLSError:
		return fmt.Errorf("probe %v: TLS: %w; see servers.tls in the configuration", k, err)
	}
	return fmt.Errorf("probe %v: %w", k, err)
}

// grants are what the daemon needs on a managed server.
var grants = map[topology.Flavor][]string{
	topology.MySQL: {"PROCESS", "RELOAD", "REPLICATION CLIENT", "REPLICATION SLAVE", "REPLICATION_SLAVE_ADMIN", "SYSTEM_VARIABLES_ADMIN", "CONNECTION_ADMIN"},
	topology.MariaDB: {"PROCESS", "RELOAD", "BINLOG MONITOR", "REPLICA MONITOR", "REPLICATION SLAVE", "REPLICATION SLAVE ADMIN", "REPLICATION MASTER ADMIN",
		"READ_ONLY ADMIN", "CONNECTION ADMIN"},
}

// remedy is the statement that mends a refusal.
func (s *Servers) remedy(err error) string {
	var server *mysql.MySQLError
	if errors.As(err, &server) && (server.Number == errCommandDenied || server.Number == errNeedGrant) {
		missing := server.Message
		for _, flavor := range []topology.Flavor{topology.MySQL, topology.MariaDB} {
			for _, g := range grants[flavor] {
				if strings.Contains(missing, g+" privilege") {
					return fmt.Sprintf("run there: GRANT %s ON *.* TO '%s'@'%%'", g, s.user)
				}
			}
		}
		return fmt.Sprintf("run there, on MySQL: GRANT %s ON *.* TO '%s'@'%%'; on MariaDB: GRANT %s ON *.* TO '%s'@'%%'",
			strings.Join(grants[topology.MySQL], ", "), s.user, strings.Join(grants[topology.MariaDB], ", "), s.user)
	}
	return "check servers.user and servers.password_file in the configuration, and that the account may log in from this host"
}
