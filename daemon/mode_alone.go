package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/analysis"
	"orchestrator/daemon/api"
	"orchestrator/daemon/config"
	"orchestrator/daemon/httpd"
)

// aloneMode is one daemon with its records in an SQLite file. It asks nobody.
type aloneMode struct {
	noPair
	host
	file *sqlstore.Store
}

// versionRow is the lease row in which this daemon keeps the latest version that it has given, so that a clock that is
// wrong at the next start takes nothing back.
const versionRow = "latest version"

// ageRow is the lease row in which this daemon keeps the time from which age is counted. See backend.Clock.
const ageRow = "age"

// versionEvery is how often; far less than backend.clock_ahead.
const versionEvery = 30 * time.Second

func openAlone(ctx context.Context, h host) (mode, error) {
	file, err := openFile(h)
	if err != nil {
		return nil, err
	}
	m := &aloneMode{host: h, file: file}
	row, err := file.Lease(versionRow).Read(ctx)
	if err != nil {
		return nil, err
	}
	h.clock.Resume(row.Term)
	if row, err = file.Lease(ageRow).Read(ctx); err != nil {
		return nil, err
	}
	h.clock.ResumeAge(row.Term)
	return m, nil
}

// openFile opens the SQLite file of this daemon.
func openFile(h host) (*sqlstore.Store, error) {
	file, err := sqlstore.OpenSQLite(h.config.Backend.Path)
	if err != nil {
		return nil, err
	}
	h.opened.add("the file "+h.config.Backend.Path, file.Close)
	h.files(file)
	return file, nil
}

func (m *aloneMode) store() store                           { return m.file }
func (m *aloneMode) guard() guard                           { return guard{} }
func (m *aloneMode) loops() (always, leading []loop)        { return []loop{m.keepVersion}, nil }
func (m *aloneMode) mounts() []httpd.Mount                  { return nil }
func (m *aloneMode) leave(context.Context) error            { return nil }
func (m *aloneMode) greet(*tls.ClientHelloInfo) *tls.Config { return nil }
func (m *aloneMode) reload(config.Config)                   {}
func (m *aloneMode) Findings() []analysis.Finding           { return nil }
func (m *aloneMode) status(*api.Status)                     {}

// keepVersion keeps the latest version again and again, and once more at the end.
func (m *aloneMode) keepVersion(ctx context.Context) error {
	tick := time.NewTicker(versionEvery)
	defer tick.Stop()
	for {
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
		_, err := m.file.Lease(versionRow).Beat(short, backend.Hold{Term: m.clock.Latest()})
		if err == nil {
			_, err = m.file.Lease(ageRow).Beat(short, backend.Hold{Term: m.clock.Age()})
		}
		cancel()
		if err != nil {
			m.log.Warn("the latest version of a record could not be kept; it is tried again", "err", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (m *aloneMode) Backend(context.Context) api.Backend {
	return api.Backend{Kind: "sqlite", Members: []api.BackendMember{}}
}

func (m *aloneMode) BackendProofs(context.Context) ([]api.BackendComparison, error) {
	return []api.BackendComparison{}, nil
}

// noPair answers the commands of a backend that is no pair.
type noPair struct{}

func (noPair) refuse(what string) (api.BackendWork, error) {
	return api.BackendWork{}, fmt.Errorf("%s: %w: this deployment has no backend pair (backend.members does not "+
		"name two servers)",
		what, api.ErrConflict)
}

func (noPair) BackendWork() *api.BackendWork { return nil }

func (p noPair) BackendPromote(_ context.Context, r api.BackendPromoteRequest, _ time.Duration) (api.BackendWork,
	error) {
	return p.refuse(fmt.Sprintf("promote %v", r.To))
}

func (p noPair) BackendRejoin(_ context.Context, r api.BackendRejoinRequest, _ time.Duration) (api.BackendWork, error) {
	return p.refuse(fmt.Sprintf("rejoin %v", r.Member))
}

func (p noPair) BackendVerify(context.Context, bool, string) (api.BackendWork, error) {
	return p.refuse("compare the members")
}

func (p noPair) BackendDoctor(context.Context, bool, string) (api.BackendWork, error) {
	return p.refuse("examine the pair")
}
