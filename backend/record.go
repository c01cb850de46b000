package backend

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The longest names, in bytes: what a primary key and an index row can hold in every supported database.
const (
	MaxKind   = 64
	MaxKey    = 512
	MaxWriter = 255
)

// MaxDocument is the longest document, in bytes: quoted, it fits into one statement with the defaults of MySQL and
// MariaDB.
const MaxDocument = 4 << 20

// Check says why no store accepts the record, or nil. A record without version or writer would silently lose against
// everything.
func (r Record) Check() error {
	for _, f := range []struct {
		name, text string
		most       int
	}{{"kind", r.Kind, MaxKind}, {"key", r.Key, MaxKey}, {"writer", r.Writer, MaxWriter}} {
		switch {
		case f.text == "":
			return fmt.Errorf("record %q %q: the %s is missing", r.Kind, r.Key, f.name)
		case len(f.text) > f.most:
			return fmt.Errorf("record %q %.80q: the %s has %d bytes; the limit is %d", r.Kind, r.Key, f.name,
				len(f.text), f.most)
		case !utf8.ValidString(f.text) || strings.ContainsRune(f.text, 0):
			return fmt.Errorf("record %q %q: the %s is not UTF-8 text without zero bytes", r.Kind, r.Key, f.name)
		}
	}
	if r.Version <= 0 {
		return fmt.Errorf("record %q %q: version %d: take one from the clock", r.Kind, r.Key, r.Version)
	}
	if len(r.Document) > MaxDocument {
		return fmt.Errorf("record %q %q: the document has %d bytes; the limit is %d", r.Kind, r.Key, len(r.Document),
			MaxDocument)
	}
	if len(r.Document) > 0 && (!json.Valid(r.Document) || !utf8.Valid(r.Document)) {
		return fmt.Errorf("record %q %q: the document is not JSON", r.Kind, r.Key)
	}
	return nil
}

// Encode returns a record with v as its document; the caller adds version and writer.
func Encode(kind, key string, v any) (Record, error) {
	doc, err := json.Marshal(v)
	if err != nil {
		return Record{}, fmt.Errorf("encode %s %q: %w", kind, key, err)
	}
	return Record{Kind: kind, Key: key, Document: doc}, nil
}

// Encode is Encode for a record that this writer puts now.
func (c *Clock) Encode(writer, kind, key string, v any) (Record, error) {
	r, err := Encode(kind, key, v)
	if err == nil {
		r.Version, r.Writer = c.Next(), writer
	}
	return r, err
}

// Decode reads the document of a record.
func Decode[T any](r Record) (T, error) {
	var v T
	if err := json.Unmarshal(r.Document, &v); err != nil {
		return v, fmt.Errorf("decode %s %q written by %s: %w", r.Kind, r.Key, r.Writer, err)
	}
	return v, nil
}
