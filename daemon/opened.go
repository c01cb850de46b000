package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// opened lists what New has opened, by name. It is closed in reverse order: whatever uses another thing was opened
// after it.
type opened struct {
	log    *slog.Logger
	things []openThing
}

type openThing struct {
	name  string
	close func() error
}

// add is called right after something was opened, before the next thing is: what is not in the list stays open when New
// fails.
func (o *opened) add(name string, close func() error) {
	o.things = append(o.things, openThing{name, close})
}

// close closes everything, also when something fails, and logs each.
func (o *opened) close() error {
	var failed error
	for _, t := range slices.Backward(o.things) {
		began := time.Now()
		if err := t.close(); err != nil {
			o.log.Error("close failed", "what", t.name, "err", err)
			failed = errors.Join(failed, fmt.Errorf("close %s: %w", t.name, err))
			continue
		}
		o.log.Debug("closed", "what", t.name, "took", time.Since(began))
	}
	o.things = nil
	return failed
}
