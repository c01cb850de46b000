package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"orchestrator/backend"
)

// file is what is known of an SQLite file beside what SQLite knows: it has the file open, and does not notice what
// others do to its name, to its bytes or to its log.
//
// No method may open and close the file itself: closing it would end the locks that SQLite holds for this process.
type file struct {
	path   string
	name   string // in the row rowFile
	opened os.FileInfo

	probed atomic.Int64 // the term of rowProbe that was acknowledged last

	use sync.RWMutex // held for writing while the log is rescued

	mu      sync.Mutex
	wal     os.FileInfo // of the log in use; nil: none was seen yet
	checked os.FileInfo // as the file was when its content was checked last
	suspect int         // how often in a row its content was found to be bad
	broken  error       // why nothing may be stored any more
	lost    string      // what was acknowledged and is gone, or may be
}

const (
	// rowInUse is the lease row that says whether the file is in use: a file in use has a log beside it.
	rowInUse = "in use"
	inUse    = "open"
	// rowFile is the lease row that tells this file from others.
	rowFile = "file"
	// rowProbe is written by Check.
	rowProbe = "probe"
	// leastSpace is what must be free on the file system: below it, the next write may fail.
	leastSpace = 1 << 20
)

var errReplaced = trouble{errors.New("the file was removed or replaced while it was in use: restart with the right " +
	"one in place")}

// whole says why the file must not be used now.
func (f *file) whole() error {
	now, err := os.Stat(f.path)
	// Writing to an unlinked file works, but everything acknowledged would be gone at the next start.
	if err != nil || !os.SameFile(f.opened, now) {
		return errReplaced
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken
}

// logGone says whether the log in use is no longer where the next process looks for it.
func (f *file) logGone() bool {
	now, err := os.Stat(f.path + "-wal")
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil:
		return f.wal != nil && errors.Is(err, fs.ErrNotExist)
	case f.wal == nil || os.SameFile(f.wal, now):
		if f.wal != nil && f.wal.Size() > 0 && now.Size() == 0 && !f.carried() {
			f.lost = fmt.Sprintf("the write-ahead log %s-wal was emptied while it was in use: what was stored since "+
				"%s is lost", f.path, moment(f.opened))
			f.broken = trouble{errors.New(f.lost)}
		}
		f.wal = now
		return false
	}
	return true
}

// rescue carries the log, of which only this process has the bytes now, over into the file, and begins another one.
func (s *Store) rescue(ctx context.Context) error {
	f := s.file
	f.use.Lock()
	defer f.use.Unlock()
	if !f.logGone() { // somebody else was faster
		return nil
	}
	var busy, pages, carried int
	err := s.write.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &carried)
	if err == nil && busy != 0 {
		err = errors.New("another process uses the file")
	}
	for pool, connections := range map[*sql.DB]int{s.write: 1, s.read: readers} { // the next ones open another log
		pool.SetMaxIdleConns(0)
		pool.SetMaxIdleConns(connections)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wal = nil
	if err != nil {
		f.lost = fmt.Sprintf("the write-ahead log %s-wal was removed while it was in use, and could not be carried "+
			"over (%v): what was stored since %s is lost when this daemon ends", f.path, err, moment(f.opened))
		f.broken = trouble{errors.New(f.lost)}
		return f.broken
	}
	return nil
}

// begin notes that the file is in use, and whether it was so before without the log that belongs to it.
func (s *Store) begin(ctx context.Context, logged bool) error {
	row, err := s.Lease(rowInUse).Read(ctx)
	if err != nil {
		return err
	}
	if row.Holder == inUse && !logged {
		s.file.lost = fmt.Sprintf("the write-ahead log %s-wal is missing, and this daemon, or the machine, was "+
			"killed: what was stored after %s is lost", s.file.path, moment(s.file.opened))
	}
	if _, err := s.Lease(rowInUse).Beat(ctx, backend.Hold{Holder: inUse, Term: row.Term + 1}); err != nil {
		return err
	}
	name, err := s.Lease(rowFile).Take(ctx, backend.Hold{}, backend.Hold{Holder: rand.Text(), Term: 1})
	if err != nil {
		return err
	}
	s.file.name = name.Holder
	// It has to be in the file itself: the log is what may be missing.
	_, err = s.write.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)")
	return err
}

// end notes that the file is no longer in use. If that fails, the next start says more than is so, and not less.
func (s *Store) end() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if row, err := s.Lease(rowInUse).Read(ctx); err == nil {
		_, _ = s.Lease(rowInUse).Beat(ctx, backend.Hold{Term: row.Term + 1})
	}
}

// same says whether the bytes are those of another store.
func (f *file) same(how url.Values) error {
	row, err := f.row(how, rowFile)
	if err == nil && row.Holder != f.name {
		return errors.New("it is another store")
	}
	return explain(err)
}

// row is a lease row, past SQLite's cache and log.
func (f *file) row(how url.Values, name string) (h backend.Hold, err error) {
	db, err := connect(f.path, how, 1)
	if err != nil {
		return h, err
	}
	defer db.Close()
	var r holdRow
	err = db.QueryRow(sqlite.leaseRead, name).Scan(&r.holder, &r.term, &r.beat)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return r.hold(), err
}

func moment(info os.FileInfo) string {
	return info.ModTime().UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// Lost says what was acknowledged and is lost, or will be; "" as far as is known. Only a restart ends it.
func (s *Store) Lost() string {
	if s.file == nil {
		return ""
	}
	s.file.mu.Lock()
	defer s.file.mu.Unlock()
	return s.file.lost
}

// Check says why nothing can be stored in an SQLite file now, or soon. It writes a row, and looks at all that SQLite
// does not see: who has the name of the file, its log, its bytes, and the space that is left. Call it every second or
// so. A store in a server is checked by its use.
func (s *Store) Check(ctx context.Context) error {
	f := s.file
	if f == nil {
		return nil
	}
	err := f.whole()
	if err == nil {
		err = f.space()
	}
	if err == nil {
		err = f.content()
	}
	if err == nil {
		err = explain(s.probe(ctx))
	}
	if err != nil {
		return fmt.Errorf("the file %s can't be used: %w", f.path, err)
	}
	return nil
}

// probe writes a row.
func (s *Store) probe(ctx context.Context) error {
	row, err := s.Lease(rowProbe).Read(ctx)
	if err == nil {
		row, err = s.Lease(rowProbe).Beat(ctx, backend.Hold{Term: row.Term + 1})
	}
	if err == nil {
		s.file.probed.Store(row.Term)
	}
	return err
}

// carried says whether an empty log was carried over into the file before, as somebody does who checkpoints by hand:
// what was probed last is in the file then.
func (f *file) carried() bool {
	row, err := f.row(url.Values{"mode": {"ro"}, "immutable": {"1"}}, rowProbe)
	return err == nil && row.Term >= f.probed.Load()
}

// space says whether the file system takes what is written next.
func (f *file) space() error {
	var is syscall.Statfs_t
	if err := syscall.Statfs(f.path, &is); err != nil {
		return fmt.Errorf("look at its file system: %w", err)
	}
	const readOnly = 1 // ST_RDONLY
	if is.Flags&readOnly != 0 {
		return errors.New("its file system is read-only: see the log of the kernel, and mount it writable again")
	}
	if free := is.Bavail * uint64(is.Bsize); free < leastSpace {
		return fmt.Errorf("its file system is full (%d kB are free): free some space there", free>>10)
	}
	return nil
}

// content checks the bytes of the file whenever something has written to it: SQLite, which does so every few minutes,
// or somebody else. While SQLite writes, it may look bad once.
func (f *file) content() error {
	now, err := os.Stat(f.path)
	if err != nil {
		return errReplaced
	}
	f.mu.Lock()
	before := f.checked
	f.mu.Unlock()
	if before != nil && before.Size() == now.Size() && before.ModTime().Equal(now.ModTime()) {
		return nil
	}
	immutable := url.Values{"mode": {"ro"}, "immutable": {"1"}}
	if err = identify(f.path, immutable); err == nil {
		err = examine(f.path, immutable)
	}
	if err == nil {
		err = f.same(immutable)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.checked, f.suspect = now, 0
		return nil
	}
	if f.suspect++; f.suspect < 3 {
		return nil
	}
	f.broken = trouble{fmt.Errorf("it was overwritten or cut off while it was in use: %w; nothing more is stored in "+
		"it; restart after that", err)}
	f.lost = fmt.Sprintf("the file %s was overwritten or cut off while it was in use: what was stored in it is lost",
		f.path)
	return f.broken
}
