package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"orchestrator/backend"
)

// FuzzJournal has somebody write a row into the journal's file, of whatever type each column is. The journal opens, or
// says that it can't be read; what is declared then is stored or refused, and what is acknowledged is there.
func FuzzJournal(f *testing.F) {
	f.Add("tag", "a", "1", int64(1), "w", int64(0), []byte("{}"), byte(0))
	f.Add("tag", "a", "no number", int64(1<<62), "w", int64(7), []byte("{"), byte(1))
	f.Add("", "a\x00\xff", "", int64(-1), "", int64(-1), []byte(nil), byte(2))
	f.Add("fact", "a", "1", int64(1), "w", int64(1), []byte("\xff"), byte(3))
	dir := f.TempDir()
	remote, local := filepath.Join(dir, "remote"), filepath.Join(dir, "local")
	for _, path := range []string{remote, local} {
		s, err := OpenSQLite(path)
		if err != nil {
			f.Fatal(err)
		}
		if err := s.Close(); err != nil {
			f.Fatal(err)
		}
		loosen(f, path)
	}
	f.Fuzz(func(t *testing.T, kind, key, text string, version int64, writer string, deleted int64, document []byte,
		types byte) {
		row := []any{kind, key, version, writer, deleted, document}
		if types&1 != 0 {
			row[2] = text
		}
		if types&2 != 0 {
			row[4] = text
		}
		if types&4 != 0 {
			row[0], row[1], row[3] = []byte(kind), []byte(key), []byte(writer)
		}
		written(t, local, row)
		stored(t, remote, local)
		written(t, remote, nil)
	})
}

// written leaves nothing in a file but a row.
func written(t *testing.T, path string, row []any) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	must(t, err)
	defer db.Close()
	for _, table := range []string{"record", "lease"} {
		_, err = db.ExecContext(t.Context(), "DELETE FROM "+table)
		must(t, err)
	}
	if row != nil {
		if _, err = db.ExecContext(t.Context(), "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?)", row...); err != nil {
			t.Skip() // no file has it
		}
	}
}

// stored declares something, and looks for it.
func stored(t *testing.T, remote, local string) {
	t.Helper()
	there, err := OpenSQLite(remote)
	must(t, err)
	here, err := OpenSQLite(local)
	if err != nil {
		must(t, there.Close())
		return // it says so
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	j, err := OpenJournal(ctx, there, here, JournalOptions{Facts: []string{"fact"}})
	if err != nil {
		must(t, errors.Join(there.Close(), here.Close()))
		return
	}
	defer func() { must(t, j.Close()) }()
	r := backend.Record{Kind: "tag", Key: "declared", Version: j.o.Clock.Next(), Writer: "w", Document: []byte("{}")}
	if err := j.Put(ctx, r); err != nil {
		if ctx.Err() != nil {
			t.Fatalf("it hangs: %v", err)
		}
		return
	}
	if got, err := j.Get(ctx, r.Kind, r.Key); err != nil || got.Version < r.Version {
		t.Fatalf("what was acknowledged is not there: %+v, %v", got, err)
	}
	if _, err := j.Everything(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := j.List(ctx, "tag"); err != nil {
		t.Fatal(err)
	}
}
