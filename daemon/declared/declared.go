// Package declared keeps what people have declared about servers and clusters: downtime, promotion rules, tags, aliases, what is
// forgotten, and whether recoveries are switched off. It judges nothing by it, and knows nothing of what servers say.
//
// The one idea: writes go through to the store and return when they are there; reads come from memory and never wait. What is
// not known is never taken for "nothing was declared" where that would let something act.
package declared

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"orchestrator/backend"
	"orchestrator/daemon/topology"
)

// ErrInvalid is wrapped by the errors about what was asked for, as opposed to those of the store.
var ErrInvalid = errors.New("invalid")

func invalid(format string, values ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, values...)...)
}

// The kinds of records kept here.
const (
	kindDowntime  = "downtime"  // by server
	kindRule      = "rule"      // by server
	kindTag       = "tag"       // by server and name
	kindForgotten = "forgotten" // by server
	kindAlias     = "alias"     // by cluster
	kindSetting   = "setting"   // by name
)

const settingRecoveries = "recoveries"

// Book is what was declared. Safe for concurrent use.
type Book struct {
	store  backend.Store
	clock  *backend.Clock
	writer string
	turn   chan struct{} // holds one token: who takes it writes, or refreshes; so a refresh never overlooks a write

	mu      sync.RWMutex
	page    page
	edition uint64    // rises with each change of page, and whenever a downtime ends
	ends    time.Time // when the next downtime ends; zero: none does
	reason  string    // why the page is not to be relied on; "" when it is
}

// page is what the records say. It is replaced, or changed under the lock.
type page struct {
	downtimes  map[topology.Key]topology.Downtime
	rules      map[topology.Key]topology.Rule
	tags       map[topology.Key]map[string]string
	forgotten  map[topology.Key]bool
	aliases    map[string]string
	recoveries recoveries
}

func newPage() page {
	return page{
		downtimes: map[topology.Key]topology.Downtime{},
		rules:     map[topology.Key]topology.Rule{},
		tags:      map[topology.Key]map[string]string{},
		forgotten: map[topology.Key]bool{},
		aliases:   map[string]string{},
	}
}

// The documents.
type (
	rule struct {
		Rule topology.Rule `json:"rule"`
	}
	tag struct {
		Value string `json:"value"`
	}
	alias struct {
		Alias string `json:"alias"`
	}
	recoveries struct {
		Off    bool   `json:"off"`
		By     string `json:"by,omitempty"`
		Reason string `json:"reason,omitempty"`
	}
)

// Open reads what was declared. It fails when the store cannot be read. Records that make no sense don't stop it: the rest is there, and
// RecoveriesOff says what is wrong.
func Open(ctx context.Context, store backend.Store, clock *backend.Clock, writer string) (*Book, error) {
	b := &Book{store: store, clock: clock, writer: writer, turn: make(chan struct{}, 1), page: newPage(), reason: "nothing was read yet"}
	b.turn <- struct{}{}
	if err := b.Refresh(ctx); err != nil && !errors.Is(err, errUnreadable) {
		return nil, fmt.Errorf("open what was declared: %w", err)
	}
	return b, nil
}

var errUnreadable = errors.New("a record makes no sense")

// Refresh reads the store again: other daemons write there too. When it fails, what was known stays, and recoveries count as off.
func (b *Book) Refresh(ctx context.Context) error {
	err := b.alone(ctx, func() error {
		p, err := b.read(ctx)
		b.mu.Lock()
		defer b.mu.Unlock()
		before, reason := b.page, b.reason
		if err == nil || errors.Is(err, errUnreadable) {
			b.page = p
		}
		b.reason = ""
		if err != nil {
			b.reason = err.Error()
		}
		if reason != b.reason || !reflect.DeepEqual(before, b.page) {
			b.turnPage()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read what was declared: %w", err)
	}
	return nil
}

// alone runs do while nobody else writes or refreshes.
func (b *Book) alone(ctx context.Context, do func() error) error {
	select {
	case <-b.turn:
		defer func() { b.turn <- struct{}{} }()
		return do()
	case <-ctx.Done():
		return fmt.Errorf("wait for another write: %w", ctx.Err())
	}
}

func (b *Book) read(ctx context.Context) (page, error) {
	p := newPage()
	var wrong []error
	for _, kind := range []string{kindDowntime, kindRule, kindTag, kindForgotten, kindAlias, kindSetting} {
		records, err := b.store.List(ctx, kind)
		if err != nil {
			return p, err
		}
		for _, r := range records {
			b.clock.Observe(r.Version)
			if err := p.apply(r); err != nil {
				wrong = append(wrong, fmt.Errorf("%w: %w", errUnreadable, err))
			}
		}
	}
	return p, errors.Join(wrong...)
}

// apply writes a record into the page.
func (p *page) apply(r backend.Record) (err error) {
	if r.Kind == kindAlias {
		return enter(p.aliases, r.Key, r, func(d alias) string { return d.Alias })
	}
	if r.Kind == kindSetting {
		if r.Key == settingRecoveries {
			p.recoveries, err = decode[recoveries](r)
		}
		return err // other settings belong to others
	}
	server, name, _ := strings.Cut(r.Key, "/")
	k, err := topology.ParseKey(server)
	if err != nil {
		return fmt.Errorf("%s %q: %w", r.Kind, r.Key, err)
	}
	switch r.Kind {
	case kindDowntime:
		return enter(p.downtimes, k, r, func(d topology.Downtime) topology.Downtime { return d })
	case kindRule:
		return enter(p.rules, k, r, func(d rule) topology.Rule { return d.Rule })
	case kindForgotten:
		return enter(p.forgotten, k, r, func(struct{}) bool { return true })
	case kindTag:
		if p.tags[k] == nil {
			p.tags[k] = map[string]string{}
		}
		return enter(p.tags[k], name, r, func(d tag) string { return d.Value })
	}
	return nil
}

func enter[K comparable, V, D any](m map[K]V, k K, r backend.Record, value func(D) V) error {
	if r.Deleted {
		delete(m, k)
		return nil
	}
	d, err := decode[D](r)
	if err == nil {
		m[k] = value(d)
	}
	return err
}

func decode[D any](r backend.Record) (d D, err error) {
	if r.Deleted {
		return d, nil
	}
	return backend.Decode[D](r)
}

// put stores one record, sees that it is what is stored then, and only then enters it into the page.
func (b *Book) put(ctx context.Context, kind, key string, document any) error {
	r := backend.Record{Kind: kind, Key: key, Deleted: true}
	if document != nil {
		var err error
		if r, err = backend.Encode(kind, key, document); err != nil {
			return err
		}
	}
	r.Writer = b.writer
	return b.alone(ctx, func() error {
		r.Version = b.clock.Next()
		if err := r.Check(); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		r, err := backend.Write(ctx, b.store, b.clock, r)
		if err != nil {
			return err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		defer b.turnPage()
		return b.page.apply(r)
	})
}

// turnPage notes that the page is another one than before; mu is held.
func (b *Book) turnPage() {
	b.edition++
	b.ends = time.Time{}
	for _, d := range b.page.downtimes {
		if d.Until.After(time.Now()) && (b.ends.IsZero() || d.Until.Before(b.ends)) {
			b.ends = d.Until
		}
	}
}

// Edition is the same as long as everything that was declared is, and no downtime has ended.
func (b *Book) Edition() uint64 {
	b.mu.RLock()
	edition, ends := b.edition, b.ends
	b.mu.RUnlock()
	if ends.IsZero() || ends.After(time.Now()) {
		return edition
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ends.Equal(ends) {
		b.turnPage()
	}
	return b.edition
}

// SetDowntime mutes a server until a time.
func (b *Book) SetDowntime(ctx context.Context, k topology.Key, d topology.Downtime) error {
	err := errors.Join(
		checkServer(k),
		checkText("owner", d.Owner, 255, true),
		checkText("reason", d.Reason, 4096, true),
	)
	if left := time.Until(d.Until); err == nil && left <= 0 {
		err = invalid("the end %v is not in the future", d.Until.Format(time.RFC3339))
	}
	if err == nil {
		d.Until = d.Until.UTC().Round(0)
		err = b.put(ctx, kindDowntime, k.String(), d)
	}
	return about("set the downtime of %v", k, err)
}

// EndDowntime ends the downtime of a server; that there was none is no error.
func (b *Book) EndDowntime(ctx context.Context, k topology.Key) error {
	return b.remove(ctx, "end the downtime of %v", kindDowntime, k)
}

// SetRule declares a wish about promoting a server; Neutral takes it back.
func (b *Book) SetRule(ctx context.Context, k topology.Key, r topology.Rule) error {
	err := checkServer(k)
	switch r {
	case topology.Prefer, topology.PreferNot, topology.MustNot, topology.Neutral:
	default:
		err = errors.Join(err, invalid("promotion rule %.40q: want %s, %s, %s or %s", r, topology.Prefer, topology.Neutral, topology.PreferNot, topology.MustNot))
	}
	if err == nil {
		err = b.put(ctx, kindRule, k.String(), rule{r})
	}
	return about("set the promotion rule of %v", k, err)
}

// SetTag gives a server a tag.
func (b *Book) SetTag(ctx context.Context, k topology.Key, name, value string) error {
	err := errors.Join(checkServer(k), checkName("tag", name), checkText("value", value, 1024, false))
	if err == nil {
		err = b.put(ctx, kindTag, k.String()+"/"+name, tag{value})
	}
	return about("tag %v", k, err)
}

// RemoveTag removes a tag; that there was none is no error.
func (b *Book) RemoveTag(ctx context.Context, k topology.Key, name string) error {
	err := errors.Join(checkServer(k), checkName("tag", name))
	if err == nil {
		err = b.put(ctx, kindTag, k.String()+"/"+name, nil)
	}
	return about("remove a tag of %v", k, err)
}

// Forget keeps a server out, although others may still name it.
func (b *Book) Forget(ctx context.Context, k topology.Key) error {
	err := checkServer(k)
	if err == nil {
		err = b.put(ctx, kindForgotten, k.String(), struct{}{})
	}
	return about("forget %v", k, err)
}

// Unforget lets a server in again.
func (b *Book) Unforget(ctx context.Context, k topology.Key) error {
	return b.remove(ctx, "no longer forget %v", kindForgotten, k)
}

func (b *Book) remove(ctx context.Context, what, kind string, k topology.Key) error {
	err := checkServer(k)
	if err == nil {
		err = b.put(ctx, kind, k.String(), nil)
	}
	return about(what, k, err)
}

// SetAlias gives a cluster another name for people; "" takes it away. No two clusters have the same.
func (b *Book) SetAlias(ctx context.Context, cluster, name string) error {
	err := checkText("cluster", cluster, 300, true)
	var document any
	if name != "" {
		err = errors.Join(err, checkName("alias", name))
		document = alias{name}
		for c, a := range b.Aliases() {
			if a == name && c != cluster {
				err = errors.Join(err, invalid("cluster %s has the alias %s already", c, name))
			}
		}
	}
	if err == nil {
		err = b.put(ctx, kindAlias, cluster, document)
	}
	return about("set the alias of %.300q", cluster, err)
}

// SwitchRecoveries switches all recoveries on or off, for all daemons.
func (b *Book) SwitchRecoveries(ctx context.Context, on bool, by, reason string) error {
	err := errors.Join(checkText("name of who asks", by, 255, true), checkText("reason", reason, 4096, !on))
	if err == nil {
		err = b.put(ctx, kindSetting, settingRecoveries, recoveries{Off: !on, By: by, Reason: reason})
	}
	return about("switch recoveries %v", map[bool]string{true: "on", false: "off"}[on], err)
}

func about(what string, whom any, err error) error {
	if err != nil {
		return fmt.Errorf(what+": %w", whom, err)
	}
	return nil
}

// RecoveriesOff says why nothing may be repaired, or "". What is not known counts as off.
func (b *Book) RecoveriesOff() string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	switch r := b.page.recoveries; {
	case b.reason != "":
		return "it is not known whether recoveries are switched off: " + b.reason
	case r.Off:
		return fmt.Sprintf("recoveries are switched off by %s: %s", r.By, r.Reason)
	}
	return ""
}

// Forgotten reports whether the server is to be kept out.
func (b *Book) Forgotten(k topology.Key) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.page.forgotten[k]
}

// AllForgotten returns the servers that are kept out, sorted.
func (b *Book) AllForgotten() []topology.Key {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.SortedFunc(maps.Keys(b.page.forgotten), topology.Key.Compare)
}

// Alias returns the alias of a cluster, or "".
func (b *Book) Alias(cluster string) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.page.aliases[cluster]
}

// Clusters returns the clusters that have an alias, sorted. There is more than one only where two daemons were told so at one time.
func (b *Book) Clusters(alias string) []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var out []string
	for cluster, a := range b.page.aliases {
		if a == alias {
			out = append(out, cluster)
		}
	}
	slices.Sort(out)
	return out
}

// Aliases returns the aliases by cluster.
func (b *Book) Aliases() map[string]string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return maps.Clone(b.page.aliases)
}

// Downtimes returns the downtimes that have not ended.
func (b *Book) Downtimes() map[topology.Key]topology.Downtime {
	now := time.Now()
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := maps.Clone(b.page.downtimes)
	maps.DeleteFunc(out, func(_ topology.Key, d topology.Downtime) bool { return !d.Until.After(now) })
	return out
}

// Rules returns the wishes about promoting, but for those that were taken back.
func (b *Book) Rules() map[topology.Key]topology.Rule {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := maps.Clone(b.page.rules)
	maps.DeleteFunc(out, func(_ topology.Key, r topology.Rule) bool { return r == topology.Neutral || r == "" })
	return out
}

// Tags returns the tags by server and name.
func (b *Book) Tags() map[topology.Key]map[string]string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := map[topology.Key]map[string]string{}
	for k, tags := range b.page.tags {
		if len(tags) > 0 {
			out[k] = maps.Clone(tags)
		}
	}
	return out
}

// SwitchedOff says who has switched recoveries off, and why; false while nobody has, as far as is known.
func (b *Book) SwitchedOff() (by, reason string, off bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	r := b.page.recoveries
	return r.By, r.Reason, r.Off
}

// Mark writes into v what was declared about it, under any of its names; its first name counts before the others. What was
// there before goes.
func (b *Book) Mark(v *topology.Server) {
	now := time.Now()
	b.mu.RLock()
	defer b.mu.RUnlock()
	v.Rule, v.Downtime, v.Tags = "", nil, nil
	for _, k := range append([]topology.Key{v.Key}, v.Names...) {
		if v.Rule == "" {
			v.Rule = b.page.rules[k]
		}
		if d, ok := b.page.downtimes[k]; ok && v.Downtime == nil && d.Until.After(now) {
			v.Downtime = &d
		}
		for name, value := range b.page.tags[k] {
			if v.Tags == nil {
				v.Tags = map[string]string{}
			}
			if _, ok := v.Tags[name]; !ok {
				v.Tags[name] = value
			}
		}
	}
}
