package trail

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"orchestrator/backend"
	"orchestrator/daemon/audit"
)

// Most is how many records are kept of all daemons together, however young they are.
const Most = 50_000

// Prune removes the records below a version, which is a time, and the oldest of more than Most. Of each chain, the last
// one that is removed stays known by its hash, so that the rest can still be verified.
//
// Every daemon may do so at any time. The version of a cut is that of the record where it was made: so the one that
// goes further wins, in whatever order they are written.
func (t *Trail) Prune(ctx context.Context, version int64) error { return t.prune(ctx, version, Most) }

func (t *Trail) prune(ctx context.Context, version int64, most int) error {
	records, err := t.records(ctx)
	if err != nil {
		return err
	}
	if len(records) > most {
		version = max(version, records[len(records)-most].Version)
	}
	cuts, err := cut(records, version)
	if err != nil || len(cuts) == 0 {
		return err
	}
	if err := t.o.Store.Put(ctx, cuts...); err != nil {
		return fmt.Errorf("keep the ends of the audit records that are too old: %w", err)
	}
	if err := t.o.Store.Purge(ctx, RecordKind, version, true); err != nil {
		return fmt.Errorf("remove old audit records: %w", err)
	}
	return nil
}

// cut makes the marks of the last records below version, of each chain.
func cut(records []backend.Record, version int64) (cuts []backend.Record, err error) {
	last := map[string]audit.Mark{}
	versions := map[string]int64{}
	for _, r := range records {
		if r.Version >= version {
			break
		}
		d, err := audit.Parse(r.Document)
		if err != nil {
			continue // it goes, and is missed: Verify has named it all the time
		}
		if versions[d.Daemon] = r.Version; d.Number > last[d.Daemon].Number {
			last[d.Daemon] = d.Mark()
		}
	}
	for _, chain := range slices.Sorted(maps.Keys(last)) {
		mark, err := backend.Encode(CutKind, chain, last[chain])
		if err != nil {
			return nil, err
		}
		mark.Version, mark.Writer = versions[chain], "cut"
		cuts = append(cuts, mark)
	}
	return cuts, nil
}
