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
	"syscall"

	mysqldriver "github.com/go-sql-driver/mysql"

	"orchestrator/daemon/topology"
)

// errAlien is what answers and is neither MySQL nor MariaDB.
var errAlien = errors.New("this is no MySQL or MariaDB server")

// refusal is a statement that failed.
type refusal struct {
	statement statement
	account   string // CURRENT_USER(), where it is known
	cause     error
}

func (r *refusal) Error() string { return r.statement.text + ": " + r.cause.Error() }
func (r *refusal) Unwrap() error { return r.cause }

// Numbers of errors that servers give; the same in both flavours.
const (
	tooManyConnections      = 1040
	databaseDenied          = 1044
	accessDenied            = 1045
	shutdownInProgress      = 1053
	hostIsBlocked           = 1129
	hostNotPrivileged       = 1130
	tableAccessDenied       = 1142
	tooManyUserConnections  = 1203
	lockWaitTimeout         = 1205
	userLimitReached        = 1226
	specificAccessDenied    = 1227
	noSuchThread            = 1094
	notOwner                = 1095 // of a thread
	authenticationUnknown   = 1251
	accessDeniedNoPassword  = 1698
	mustChangePassword      = 1820
	mustChangePasswordLogin = 1862
	connectionKilled        = 1927
	secureTransportRequired = 3159
	clientTimeout           = 4031
	accountLocked           = 3118
	accountLockedMaria      = 4151
)

// failure classifies an error of a connection or a statement by type and number.
//
// A network or a host that is out of reach (EHOSTUNREACH, ENETUNREACH) counts as silence: it proves nothing about the server.
func failure(err error) topology.Failure {
	if err == nil {
		return topology.OK
	}
	var told *mysqldriver.MySQLError
	if errors.As(err, &told) {
		switch told.Number {
		case tooManyConnections, tooManyUserConnections, userLimitReached:
			return topology.TooMany
		case databaseDenied, accessDenied, hostIsBlocked, hostNotPrivileged, tableAccessDenied, specificAccessDenied, authenticationUnknown,
			accessDeniedNoPassword, mustChangePassword, mustChangePasswordLogin, accountLocked, accountLockedMaria:
			return topology.Denied
		case shutdownInProgress:
			return topology.Shutdown
		case connectionKilled, clientTimeout:
			return topology.Reset
		case secureTransportRequired:
			return topology.TLSError
		}
		return topology.Other
	}
	var (
		verify  *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   tls.AlertError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		dns     *net.DNSError
		timeout net.Error
	)
	switch {
	case errors.Is(err, errAlien), errors.Is(err, mysqldriver.ErrMalformPkt), errors.Is(err, mysqldriver.ErrPktSync), errors.Is(err, mysqldriver.ErrPktSyncMul),
		errors.Is(err, mysqldriver.ErrOldProtocol):
		return topology.Alien
	case errors.Is(err, mysqldriver.ErrNoTLS), errors.As(err, &verify), errors.As(err, &record), errors.As(err, &alert), errors.As(err, &unknown),
		errors.As(err, &name), errors.As(err, &invalid):
		return topology.TLSError
	case errors.Is(err, mysqldriver.ErrUnknownPlugin), errors.Is(err, mysqldriver.ErrCleartextPassword), errors.Is(err, mysqldriver.ErrNativePassword),
		errors.Is(err, mysqldriver.ErrOldPassword):
		return topology.Denied
	case errors.Is(err, syscall.ECONNREFUSED):
		return topology.Refused
	case errors.As(err, &dns):
		return topology.NoHost
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return topology.Timeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, mysqldriver.ErrInvalidConn), errors.Is(err, driver.ErrBadConn), errors.Is(err, net.ErrClosed):
		return topology.Reset
	case errors.As(err, &timeout) && timeout.Timeout():
		return topology.Timeout
	}
	return topology.Other
}

// explain adds what to do to errors that somebody can do something about.
func explain(err error) error {
	var told *mysqldriver.MySQLError
	if !errors.As(err, &told) {
		switch failure(err) {
		case topology.TLSError:
			return fmt.Errorf("%w (TLS to servers is configured; check the server's certificate and the configured authority)", err)
		case topology.Timeout:
			if errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) {
				return fmt.Errorf("%w (counted as silence: it says nothing about the server)", err)
			}
		}
		return err
	}
	switch told.Number {
	case databaseDenied, tableAccessDenied, specificAccessDenied:
		var r *refusal
		if errors.As(err, &r) && r.statement.needs != "" {
			return fmt.Errorf("%w; a privilege is missing: %s", err, grant(r.statement.needs, r.account))
		}
	case accessDenied, accessDeniedNoPassword:
		return fmt.Errorf("%w; check the configured user and password, or create the account: CREATE USER … IDENTIFIED BY …", err)
	case hostNotPrivileged:
		return fmt.Errorf("%w; no account there may log in from this host: create one with CREATE USER, then GRANT", err)
	case hostIsBlocked:
		return fmt.Errorf("%w; unblock this host there: FLUSH HOSTS, or TRUNCATE TABLE performance_schema.host_cache from MySQL 8.0 on", err)
	case secureTransportRequired:
		return fmt.Errorf("%w; configure TLS to servers", err)
	}
	return err
}

// grant is the statement that gives privileges to an account as CURRENT_USER() prints it.
func grant(privileges, account string) string {
	return "GRANT " + privileges + " ON *.* TO " + quoteAccount(account)
}
