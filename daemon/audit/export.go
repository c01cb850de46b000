package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// MaxLine is how many bytes a line of an export may have. A record has far fewer.
const MaxLine = 64 << 10

// Trail is all that is kept: documents of records, oldest first, and marks.
type Trail struct {
	Documents []json.RawMessage
	Cuts      []Mark // the last records that were removed because they were old
	Heads     []Mark // the last records that were written, as daemons have said it apart from their records
}

// marking is a line of an export that is no record.
type marking struct {
	Cut  *Mark `json:"cut,omitempty"`
	Head *Mark `json:"head,omitempty"`
}

// Export writes a trail down, one JSON object a line: marks first, then the records exactly as they are kept. One that
// is not JSON is a string there.
func (t Trail) Export() ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	for _, m := range t.Cuts {
		if err := e.Encode(marking{Cut: &m}); err != nil {
			return nil, fmt.Errorf("export the audit trail: %w", err)
		}
	}
	for _, m := range t.Heads {
		if err := e.Encode(marking{Head: &m}); err != nil {
			return nil, fmt.Errorf("export the audit trail: %w", err)
		}
	}
	for _, d := range t.Documents {
		if json.Compact(&out, d) == nil {
			out.WriteByte('\n')
		} else if err := e.Encode(string(d)); err != nil { // spoilt in the store: a line that Import names
			return nil, fmt.Errorf("export the audit trail: %w", err)
		}
	}
	return out.Bytes(), nil
}

// Import reads what Export wrote. The lines that it can't read are named, and left out.
func Import(text []byte) (t Trail, unreadable []string) {
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if err := t.take(line); err != nil {
			unreadable = append(unreadable, fmt.Sprintf("line %d can't be read: %v", number, err))
		}
	}
	return t, unreadable
}

func (t *Trail) take(line []byte) error {
	if len(line) > MaxLine {
		return fmt.Errorf("it has %d bytes; the limit is %d", len(line), MaxLine)
	}
	var m marking
	if err := json.Unmarshal(line, &m); err != nil {
		return err
	}
	switch {
	case m.Cut != nil:
		t.Cuts = append(t.Cuts, *m.Cut)
	case m.Head != nil:
		t.Heads = append(t.Heads, *m.Head)
	default:
		if _, err := Parse(line); err != nil {
			return err
		}
		t.Documents = append(t.Documents, slices.Clone(line))
	}
	return nil
}

// Parse reads the document of a record. Whether it has its hash is for Verify to say.
func Parse(document []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(document, &r); err != nil {
		return r, err
	}
	if r.Daemon == "" || r.Number < 1 {
		return r, errors.New("it is no audit record: it has no daemon, or no number")
	}
	return r, nil
}
