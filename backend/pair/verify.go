package pair

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/plural"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// How long Verify waits for what is still being replicated.
const settleWithin = 10 * time.Second

// buckets is in how many parts a kind is compared: a differing part is read completely.
const buckets = 16

type bucket struct {
	kind   string
	number int64
}

type sum struct {
	records int64
	check   string
}

// sums reads the checksums of a member. 64 bits are enough against accidents. (MySQL has lost MD5 in 9.6.)
func (s *site) sums(ctx context.Context) (map[bucket]sum, error) {
	out := map[bucket]sum{}
	err := s.use(ctx, s.o.StatementTimeout, func(ctx context.Context) error {
		clear(out)
		rows, err := s.query(ctx, server.Statement{Text: fmt.Sprintf(`SELECT
	kind,
	CRC32(record.key) %% %d AS bucket,
	COUNT(*) AS records,
	BIT_XOR(CAST(CONV(SUBSTRING(SHA2(CONCAT_WS('/', LENGTH(record.key), record.key, version, LENGTH(writer), writer, deleted, document), 256), 1, 16), 16, 10) AS UNSIGNED)) AS sums
FROM %s.record
GROUP BY kind, bucket`, buckets, s.o.database()), Needs: "SELECT ON " + s.o.database() + ".*"})
		if err != nil {
			return err
		}
		for _, r := range rows {
			out[bucket{r.Get("kind"), r.Int("bucket")}] = sum{r.Int("records"), r.Get("sums")}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("checksums at %v: %w", s.key, err)
	}
	return out, nil
}

// records reads one bucket.
func (s *site) records(ctx context.Context, b bucket) (map[string]backend.Record, error) {
	out := map[string]backend.Record{}
	err := s.use(ctx, s.o.StatementTimeout, func(ctx context.Context) error {
		clear(out)
		rows, err := s.query(ctx, server.Statement{Text: fmt.Sprintf(`SELECT
	record.key AS name,
	version,
	writer,
	deleted,
	document
FROM %s.record
WHERE kind = ?
AND CRC32(record.key) %% %d = ?`, s.o.database(), buckets)}, b.kind, b.number)
		if err != nil {
			return err
		}
		for _, r := range rows {
			one := backend.Record{Kind: b.kind, Key: r.Long("name"), Version: r.Int("version"), Writer: r.Get("writer"),
				Deleted: r.On("deleted")}
			if r.Long("document") != "" {
				one.Document = json.RawMessage(r.Long("document"))
			}
			out[one.Key] = one
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s at %v: %w", b.kind, s.key, err)
	}
	return out, nil
}

// compare reads both members once.
func (p *Pair) compare(ctx context.Context) (Verification, error) {
	var v Verification
	if len(p.sites) != 2 {
		return v, errors.New("compare the members: there is only one")
	}
	var sides [2]map[bucket]sum
	kinds := map[string]*Kind{}
	var all [2]int64
	for i, s := range p.sites {
		var err error
		if sides[i], err = s.sums(ctx); err != nil {
			return v, err
		}
		for b, one := range sides[i] {
			if kinds[b.kind] == nil {
				kinds[b.kind] = &Kind{Kind: b.kind}
			}
			kinds[b.kind].Records[i] += one.records
			all[i] += one.records
		}
	}
	v.Records = max(all[0], all[1])
	union := maps.Clone(sides[0])
	maps.Copy(union, sides[1])
	for b := range union {
		if sides[0][b] == sides[1][b] {
			continue
		}
		kinds[b.kind].Differ++
		var held [2]map[string]backend.Record
		for i, s := range p.sites {
			var err error
			if held[i], err = s.records(ctx, b); err != nil {
				return v, err
			}
		}
		v.Differences = append(v.Differences, differences(b.kind, held)...)
	}
	slices.SortFunc(v.Differences, func(a, b Difference) int {
		return strings.Compare(a.Kind+"\x00"+a.Key, b.Kind+"\x00"+b.Key)
	})
	v.Kinds = []Kind{}
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		v.Kinds = append(v.Kinds, *kinds[k])
	}
	v.Equal = len(v.Differences) == 0
	return v, nil
}

// differences compares records by content; other differences between servers do not matter.
func differences(kind string, held [2]map[string]backend.Record) []Difference {
	union := maps.Clone(held[0])
	maps.Copy(union, held[1])
	var out []Difference
	for key := range union {
		d := Difference{Kind: kind, Key: key}
		for i := range held {
			if r, ok := held[i][key]; ok {
				d.Stored[i], d.Held[i] = &r, &Held{Version: r.Version, Writer: r.Writer, Deleted: r.Deleted}
			}
		}
		if a, b := d.Stored[0], d.Stored[1]; a != nil && b != nil && a.Version == b.Version && a.Writer == b.Writer {
			if a.Deleted == b.Deleted && string(a.Document) == string(b.Document) {
				continue
			}
			d.Conflict = true
		}
		out = append(out, d)
	}
	return out
}

// Verify compares the members. It waits for records that are still being replicated. With repair, it writes the winner
// of each difference to every writable member; a read-only one gets it by replication. If writing fails, the
// differences are returned with the error; with any other error, none are.
func (p *Pair) Verify(ctx context.Context, repair bool) (Verification, error) {
	v, err := p.settled(ctx)
	if err != nil || v.Equal || !repair {
		return v, err
	}
	found, arrived := v.Differences, v.Arrived
	p.o.Progress("merging " + plural.Count(len(found), "record"))
	winners := make([]backend.Record, len(found))
	for i, d := range found {
		winners[i] = d.Winner()
	}
	written := 0
	for _, m := range p.Look(ctx) {
		if !m.Up || m.ReadOnly {
			continue
		}
		if err := p.put(ctx, m.Key, winners); err != nil {
			return v, fmt.Errorf("merge what differs: %w", err)
		}
		written++
	}
	if written == 0 {
		return v, errors.New("merge what differs: no member is writable: make the one that should serve writable: " +
			"SET GLOBAL read_only = 0")
	}
	if v, err = p.settled(ctx); err != nil {
		return v, err
	}
	v.Arrived = arrived
	v.Merged = slices.DeleteFunc(found, func(d Difference) bool { return slices.ContainsFunc(v.Differences, d.Of) })
	p.o.Logger.Info("backend members merged", "merged", len(v.Merged), "left", len(v.Differences))
	return v, nil
}

// put merges records on one member, with the usual statements.
func (p *Pair) put(ctx context.Context, k topology.Key, records []backend.Record) error {
	s, err := p.store(k)
	if err != nil {
		return err
	}
	defer s.Close()
	const portion = 200
	var errs []error
	for part := range slices.Chunk(records, portion) {
		errs = append(errs, backend.PutEach(ctx, s, part...)) // the others are merged, whatever one of them has
	}
	return errors.Join(errs...)
}

// store opens the records of one member, whether it serves or not.
func (p *Pair) store(k topology.Key) (*sqlstore.Store, error) {
	account := p.o.Backend
	if account.User == "" {
		account = p.o.Account
	}
	return sqlstore.OpenMySQL(sqlstore.MySQLOptions{Address: server.Address(k), Database: p.o.Database,
		User:     account.User,
		Password: account.Password, Security: p.o.Security,
		Timeout: p.o.StatementTimeout, Logger: p.o.Logger})
}

// settled compares until only those differences are left that remain although every write has reached both members.
// With an error, it returns none: some may still be replicated, and others were not seen.
func (p *Pair) settled(ctx context.Context) (v Verification, err error) {
	defer func() {
		if err != nil {
			v.Differences = nil
		}
	}()
	before, err := p.compare(ctx)
	if err != nil || before.Equal {
		return before, err
	}
	note, err := p.settle(ctx)
	if err != nil {
		return before, err
	}
	after, err := p.compare(ctx)
	if err != nil {
		return after, err
	}
	after.Differences = slices.DeleteFunc(after.Differences, func(d Difference) bool {
		return !slices.ContainsFunc(before.Differences, d.Same)
	})
	after.Arrived = slices.DeleteFunc(before.Differences,
		func(d Difference) bool { return slices.ContainsFunc(after.Differences, d.Of) })
	after.Equal, after.Note = len(after.Differences) == 0, note
	return after, nil
}

// settle waits until each member has applied what the other has committed by now, if it replicates. The note says what
// it could not wait for.
func (p *Pair) settle(ctx context.Context) (note string, err error) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	var target [2]gtid.Set
	for first := true; ; first = false {
		members := p.Look(ctx)
		note = ""
		for i, m := range members {
			if !m.Up {
				return "", fmt.Errorf("look at %v: %s", m.Key, m.Err)
			}
			if first {
				target[1-i] = m.Executed
			}
			other := members[1-i]
			c := m.From(other.Key)
			if c == nil || !c.Running() {
				continue // nothing will arrive
			}
			if n := m.Executed.Missing(target[i]); n > 0 {
				note = fmt.Sprintf("%v still has to apply %s of %v: some differences may disappear", m.Key,
					plural.Count(n, "transaction"), other.Key)
			}
		}
		if note == "" {
			return "", nil
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return note, nil
		}
	}
}
