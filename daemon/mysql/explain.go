package mysql

import (
	"errors"
	"fmt"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// explain adds what to do to errors that somebody can do something about.
func explain(err error) error {
	if do := advice(err); do != "" {
		return fmt.Errorf("%w%s", err, do)
	}
	return err
}

func advice(err error) string {
	switch {
	case errors.Is(err, server.ErrKeyNeeded): // which says what to do
		return ""
	case server.Means(err, server.PrivilegeMissing):
		if grant := server.MissingGrant(err); grant != "" {
			return "; a privilege is missing: " + grant
		}
	case server.Means(err, server.HostDenied):
		return "; no account there may log in from this host: create one with CREATE USER, then GRANT"
	case server.Means(err, server.HostBlocked):
		return "; unblock this host there: FLUSH HOSTS, or TRUNCATE TABLE performance_schema.host_cache from MySQL " +
			"8.0 on"
	case server.Means(err, server.TLSRequired):
		return "; configure TLS to servers"
	case server.Means(err, server.LoginDenied):
		return "; check the configured user and password, or create the account: CREATE USER … IDENTIFIED BY …"
	case server.Unreachable(err):
		return " (counted as silence: it says nothing about the server)"
	case server.Failure(err) == topology.TLSError:
		return " (TLS to servers is configured; check the server's certificate and the configured authority)"
	}
	return ""
}
