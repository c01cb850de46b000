package backend

import (
	"context"
	"errors"
	"fmt"
)

// tries is how often a write is repeated that loses against a record whose version was unknown here.
const tries = 3

// Write stores one record, with a version of the clock, verifies that it is stored, and returns it as stored. A daemon
// whose clock is ahead may have written a record that wins: then the clock observes that version, so that the next
// attempt wins.
func Write(ctx context.Context, s Store, c *Clock, r Record) (Record, error) {
	for range tries {
		r.Version = c.Next()
		if err := s.Put(ctx, r); err != nil {
			return r, err
		}
		stands, err := stands(ctx, s, c, r)
		if err != nil {
			return r, fmt.Errorf("verify that %s %q is stored: %w", r.Kind, r.Key, err)
		}
		if stands {
			return r, nil
		}
	}
	return r, fmt.Errorf("store %s %q: another daemon wrote a newer one %d times: compare the clocks of the daemons, "+
		"and try again", r.Kind, r.Key, tries)
}

// stands reports whether r is stored now.
func stands(ctx context.Context, s Store, c *Clock, r Record) (bool, error) {
	got, err := s.Get(ctx, r.Kind, r.Key)
	switch {
	case err == nil:
		c.Observe(got.Version)
		return got.Version == r.Version && got.Writer == r.Writer, nil
	case !errors.Is(err, ErrNotFound):
		return false, err
	case r.Deleted:
		return true, nil
	}
	// Deleted by a newer record, which only Everything shows.
	all, err := s.Everything(ctx)
	for _, o := range all {
		c.Observe(o.Version)
	}
	return false, err
}
