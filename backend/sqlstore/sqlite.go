package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	driver "modernc.org/sqlite"
	code "modernc.org/sqlite/lib"

	"orchestrator/backend"
)

// applicationID marks our files in their headers: "orch".
const applicationID = 0x6f726368

// smallest is the minimum size of a page, and so of a database, in bytes.
const smallest = 512

// OpenSQLite opens the store in the file at path, and creates the file, mode 0600, if there is none. Writes survive a
// crash of the machine. Several processes may open one file.
//
// It refuses a file that is damaged, foreign, or written by a newer program, and changes no byte of it.
func OpenSQLite(path string) (*Store, error) {
	abs, err := filepath.Abs(path)
	if path == "" || strings.HasSuffix(path, string(filepath.Separator)) {
		err = errors.New("the path must name a file")
	}
	if err == nil {
		err = prepare(abs)
	}
	var s *Store
	if err == nil {
		s, err = openSQLite(abs)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %q: %w", path, err)
	}
	return s, nil
}

// prepare makes sure that there is a valid file.
func prepare(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// A regular file may exist by now: another daemon was faster.
		if link, err := os.Lstat(path); err == nil && link.Mode()&fs.ModeSymlink != 0 {
			return errors.New("it is a link to a file that does not exist")
		}
		if err := create(path); err != nil && !errors.Is(err, fs.ErrExist) { // another daemon may have been faster
			return err
		}
	case err != nil:
		return err
	case info.IsDir():
		return errors.New("it is a directory: name a file in it")
	case !info.Mode().IsRegular():
		return fmt.Errorf("it is not a regular file (%v)", info.Mode().Type())
	case info.Size() == 0:
		// It may be what a broken file system left of a store: that loss must not go unnoticed.
		return errors.New("it is empty, which a store never is: restore it, or remove it to start with a new one")
	case info.Size() < smallest: // SQLite would take it for an empty database
		return errors.New("it is not an SQLite database, and was not changed; name another file")
	}
	return check(path)
}

// create makes a temporary file and moves it into place when it is complete, so that a crash never leaves half a
// store.
func create(path string) error {
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no directory %s: create it, writable for the user that runs this", dir)
	} else if err == nil && !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	// mode 0600; the files beside a database inherit its mode
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".new-*")
	if err != nil {
		return fmt.Errorf("create the file: %w (the directory must be writable for the user that runs this)", err)
	}
	f.Close()
	defer os.Remove(f.Name())
	if err := lay(f.Name()); err != nil {
		return fmt.Errorf("create the tables: %w", err)
	}
	// unlike a rename, never over a file that another daemon has just made
	if err := os.Link(f.Name(), path); err != nil {
		return fmt.Errorf("put the new file in its place: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func lay(path string) error {
	db, err := connect(path, url.Values{"mode": {"rw"}, "_pragma": {"journal_mode(DELETE)", "synchronous(FULL)"}}, 1)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, statement := range append(sqliteTables[:len(sqliteTables):len(sqliteTables)],
		fmt.Sprintf("PRAGMA application_id = %d", applicationID),
		fmt.Sprintf("PRAGMA user_version = %d", schema),
		"PRAGMA journal_mode = WAL",
	) {
		if _, err := db.Exec(statement); err != nil {
			return err
		}
	}
	return db.Close()
}

// check reads the file, without the right to change it, and says why it must not be used.
func check(path string) error {
	// This ignores the write-ahead log, and so leaves no trace: SQLite takes no lock and creates no file. What
	// identifies a store is always in the file itself.
	immutable := url.Values{"mode": {"ro"}, "immutable": {"1"}}
	if err := identify(path, immutable); err != nil {
		return err
	}
	if !logged(path) {
		err := examine(path, immutable)
		if err == nil || !logged(path) {
			return err
		}
		// Another daemon has opened it meanwhile: the read may have seen half a change.
	}
	return examine(path, url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(5000)"}})
}

// logged reports whether there are changes in the write-ahead log that are not in the file yet.
func logged(path string) bool {
	info, err := os.Stat(path + "-wal")
	return err == nil && info.Size() > 0
}

func identify(path string, how url.Values) error {
	db, err := connect(path, how, 1)
	if err != nil {
		return err
	}
	defer db.Close()
	var id, version int64
	if err := db.QueryRow("PRAGMA application_id").Scan(&id); err != nil {
		return explain(err)
	}
	if id != applicationID {
		return errors.New("it is a database of another program, and was not changed; name another file")
	}
	if err := db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return explain(err)
	}
	return readable(version)
}

func readable(version int64) error {
	if version > schema {
		return fmt.Errorf("it was written by a newer version of this program (layout %d, this one knows %d): use "+
			"that version or another file", version, schema)
	}
	if version < schema {
		return fmt.Errorf("its layout is %d, which no version of this program writes: restore the file", version)
	}
	return nil
}

func examine(path string, how url.Values) error {
	db, err := connect(path, how, 1)
	if err != nil {
		return err
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRow("PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return explain(err)
	}
	if verdict != "ok" {
		return fmt.Errorf("it is damaged (%s), and was not changed; restore it from a copy, or move it away to start "+
			"with a new one", verdict)
	}
	for _, table := range []string{sqlite.everything, sqlite.leaseRead} {
		stmt, err := db.Prepare(table)
		if err != nil {
			return fmt.Errorf("its tables are not those of a store: %w", explain(err))
		}
		stmt.Close()
	}
	return nil
}

// readers is how many connections read.
const readers = 4

// openSQLite opens a file that has passed the check.
func openSQLite(path string) (*Store, error) {
	opened, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	hasLog := logged(path)
	f := &file{path: path, opened: opened}
	s := &Store{name: path, file: f, unreadable: newUnreadable()}
	s.lend = func(ctx context.Context, pool *sql.DB, do func(*sql.Conn, dialect) error) error {
		if err := f.whole(); err != nil {
			return err
		}
		if f.logGone() {
			if err := s.rescue(ctx); err != nil {
				return err
			}
		}
		f.use.RLock()
		defer f.use.RUnlock()
		c, err := pool.Conn(ctx)
		if err != nil {
			return whole(err)
		}
		defer c.Close()
		return whole(do(c, sqlite))
	}
	s.write, err = connect(path, url.Values{
		"mode":    {"rw"},
		"_txlock": {"immediate"}, // a transaction that reads first and then meets another writer would fail
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "journal_size_limit(16777216)"},
	}, 1)
	if err != nil {
		return nil, err
	}
	s.hold = s.write
	s.read, err = connect(path, url.Values{"mode": {"rw"}, "_pragma": {"busy_timeout(10000)", "query_only(1)"}},
		readers)
	if err == nil {
		err = s.writable()
	}
	if err == nil {
		err = s.begin(context.Background(), hasLog)
	}
	if err != nil {
		s.write.Close()
		if s.read != nil {
			s.read.Close()
		}
		return nil, err
	}
	return s, nil
}

// writable checks now what would otherwise fail at the first write.
func (s *Store) writable() error {
	tx, err := s.write.BeginTx(context.Background(), nil)
	if err != nil {
		return explain(err)
	}
	defer tx.Rollback()
	var mode string
	if err := tx.QueryRow("PRAGMA journal_mode").Scan(&mode); err != nil {
		return explain(err)
	}
	if mode != "wal" {
		return fmt.Errorf("the file system cannot keep a write-ahead log (journal mode %s): use a local one", mode)
	}
	// Check again, including the log: it may have been upgraded since.
	var version int64
	if err := tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return explain(err)
	}
	if err := readable(version); err != nil {
		return err
	}
	// A transaction begins even in a read-only file; only a write shows. It is rolled back.
	if _, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", schema)); err != nil {
		return explain(err)
	}
	return nil
}

func connect(path string, how url.Values, connections int) (*sql.DB, error) {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: how.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// whole marks an error of the file as a whole, as opposed to one of a record.
func whole(err error) error {
	var e *driver.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case code.SQLITE_TOOBIG, code.SQLITE_CONSTRAINT, code.SQLITE_MISMATCH, code.SQLITE_INTERRUPT:
		return err
	}
	return trouble{err}
}

// trouble is an error of a file that can't be used as it is. The words are those of the error: it is no server that
// can't be reached.
type trouble struct{ error }

func (t trouble) Unwrap() []error { return []error{backend.ErrUnavailable, t.error} }

// explain adds what to do to SQLite errors that operators see.
func explain(err error) error {
	var e *driver.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case code.SQLITE_NOTADB:
		return fmt.Errorf("it is not an SQLite database, and was not changed; name another file (%w)", err)
	case code.SQLITE_CORRUPT:
		return fmt.Errorf("it is damaged, and was not changed; restore it from a copy, or move it away to start with "+
			"a new one (%w)", err)
	case code.SQLITE_READONLY, code.SQLITE_CANTOPEN, code.SQLITE_PERM:
		return fmt.Errorf("the file and its directory must be readable and writable for the user that runs this (%w)",
			err)
	case code.SQLITE_BUSY:
		return fmt.Errorf("another process keeps it locked (%w)", err)
	}
	return err
}
