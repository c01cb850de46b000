package backend

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strings"
)

// Refusal is a record that a store did not take, and why.
type Refusal struct {
	Record Record
	Err    error
}

// Refusals are an error that names the records. It is ErrUnavailable where the store takes nothing.
type Refusals []Refusal

func (rs Refusals) Error() string {
	const shown = 5
	var names []string
	for i, r := range rs {
		if i == shown {
			names = append(names, fmt.Sprintf("and %d more", len(rs)-shown))
			break
		}
		names = append(names, fmt.Sprintf("%s %.80q", r.Record.Kind, r.Record.Key))
	}
	return fmt.Sprintf("not stored: %s: %v", strings.Join(names, ", "), rs[0].Err)
}

func (rs Refusals) Unwrap() error { return rs[0].Err }

// PutEach stores records that have nothing to do with each other: one that the store refuses does not keep the others
// out. Put takes all or none, so a batch that fails is halved until what is refused stands alone. Where the store takes
// nothing at all, that costs two statements and not one for each record. The error, if any, is Refusals.
func PutEach(ctx context.Context, s Store, records ...Record) error {
	return Each(ctx, s.Put, records...)
}

// Each is PutEach where something else than a Store takes all of the records or none.
func Each(ctx context.Context, put func(context.Context, ...Record) error, records ...Record) error {
	e := each{take: put, left: bits.Len(uint(len(records))) + 2}
	var sound []Record
	for _, r := range records {
		if err := r.Check(); err != nil {
			e.refused = append(e.refused, Refusal{r, err})
		} else {
			sound = append(sound, r)
		}
	}
	if len(sound) > 0 {
		e.put(ctx, sound)
	}
	if len(e.refused) == 0 {
		return nil
	}
	return e.refused
}

type each struct {
	take    func(context.Context, ...Record) error
	stored  bool  // something was
	down    error // why the store takes nothing
	left    int   // failures in a row, after which it counts as taking nothing
	refused Refusals
}

func (e *each) put(ctx context.Context, records []Record) {
	err := e.down
	if err == nil {
		err = e.take(ctx, records...)
	}
	switch {
	case err == nil:
		e.stored = true
	case len(records) == 1 || e.down != nil || ctx.Err() != nil || e.takesNothing(ctx, err, records):
		for _, r := range records {
			e.refused = append(e.refused, Refusal{r, err})
		}
	default:
		e.put(ctx, records[:len(records)/2])
		e.put(ctx, records[len(records)/2:])
	}
}

// takesNothing says whether the store is what fails, and not a record. One record that is too long for a server ends
// the connection as a server that dies does: so it is the shortest record that tells.
func (e *each) takesNothing(ctx context.Context, err error, records []Record) bool {
	if e.stored {
		return false
	}
	e.left--
	if errors.Is(err, ErrUnavailable) {
		shortest := records[0]
		for _, r := range records {
			if len(r.Document) < len(shortest.Document) {
				shortest = r
			}
		}
		if e.take(ctx, shortest) == nil { // it is put again with its half, which changes nothing
			e.stored = true
			return false
		}
		e.down = err
	} else if e.left < 0 {
		e.down = err
	}
	return e.down != nil
}
