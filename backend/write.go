package backend

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// tries is how often a write is repeated that loses against a record whose version was unknown here.
const tries = 3

// Write stores one record, with a version of the clock, verifies that it is stored, and returns it as stored. A daemon
// whose clock is ahead may have written a record that wins: then the next attempt wins over that version. Where the
// clock refuses to follow it, only this record does.
func Write(ctx context.Context, s Store, c *Clock, r Record) (Record, error) {
	var above int64
	for range tries {
		if above == math.MaxInt64 {
			return r, fmt.Errorf("store %s %q: what is stored has the highest version that there is, so no write can "+
				"win: remove that record from the table record of the backend (of both members), and try again", r.Kind,
				r.Key)
		}
		r.Version = max(c.Next(), above+1)
		if err := s.Put(ctx, r); err != nil {
			return r, err
		}
		stored, err := standing(ctx, s, c, r)
		if err != nil {
			return r, fmt.Errorf("verify that %s %q is stored: %w", r.Kind, r.Key, err)
		}
		if stored.Version == r.Version && stored.Writer == r.Writer {
			return r, nil
		}
		above = stored.Version
	}
	return r, fmt.Errorf("store %s %q: another daemon wrote a newer one %d times: compare the clocks of the daemons, "+
		"and try again", r.Kind, r.Key, tries)
}

// standing is what is stored now under the name of r, the deleted too.
func standing(ctx context.Context, s Store, c *Clock, r Record) (Record, error) {
	got, err := s.Get(ctx, r.Kind, r.Key)
	switch {
	case err == nil:
		_ = c.See(got) // where it is refused, it is known by name now
		return got, nil
	case !errors.Is(err, ErrNotFound):
		return Record{}, err
	case r.Deleted:
		return r, nil
	}
	// What is deleted only Everything shows: r itself, or a newer record.
	all, err := s.Everything(ctx)
	for _, o := range all {
		_ = c.See(o)
		if o.Kind == r.Kind && o.Key == r.Key {
			got = o
		}
	}
	return got, err
}
