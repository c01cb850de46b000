// Package audit knows the records of what was changed through the API, by whom, and how they are chained: each carries
// the hash of the one before it, so that none can be changed, removed or put in between without a trace.
//
// It stores nothing, and knows neither the API nor the time. The one idea: every daemon writes a chain of its own, so
// daemons need not agree on an order. To verify is a function of the records alone, which anybody can compute from an
// export.
package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Who is the identity that a request has proved.
type Who struct {
	Name  string `json:"name,omitempty"`
	Role  string `json:"role,omitempty"`
	Proof string `json:"proof,omitempty" doc:"how it was proved"`
}

// Entry is one request to change something, and its outcome.
type Entry struct {
	Who        Who               `json:"who" doc:"the identity that the request proved"`
	By         string            `json:"by,omitempty" doc:"the name that the request is signed with, which nobody has checked"`
	From       string            `json:"from" doc:"the address that the request came from"`
	Change     string            `json:"change" doc:"the operation, as the OpenAPI document names it"`
	Method     string            `json:"method"`
	Route      string            `json:"route"`
	Target     map[string]string `json:"target,omitempty" doc:"what stands for the names in braces of the route"`
	Cluster    string            `json:"cluster,omitempty" doc:"the cluster that this concerns, if it is one"`
	Parameters json.RawMessage   `json:"parameters,omitempty" doc:"the body of the request; of a long one, its size and hash"`
	Reason     string            `json:"reason,omitempty"`
	Status     int               `json:"status" doc:"the HTTP status of the answer"`
	Error      string            `json:"error,omitempty" doc:"why it was refused or has failed"`
	Panicked   bool              `json:"panicked,omitempty" doc:"a defect of the daemon ended it: it may be done, wholly or in part"`
}

// sentBy stands between the name that a request is signed with and the one that was proved.
const sentBy = " (sent by "

// SentBy is the signature of a request that one person has signed, and another one was proved to send.
func SentBy(signed, proved string) string { return signed + sentBy + proved + ")" }

// Signed is the name that a request is signed with, without the one that was proved.
func (e Entry) Signed() string { return strings.TrimSuffix(e.By, SentBy("", e.Who.Name)) }

// Names says whether somebody of this name has made the request: proved, or in its signature.
func (e Entry) Names(who string) bool {
	if who == e.Who.Name || who == e.By {
		return true
	}
	signed, senders, _ := strings.Cut(e.By, sentBy)
	return who == signed || slices.Contains(strings.Split(strings.ReplaceAll(senders, ")", ""), sentBy), who)
}

// Record is an entry in the chain of a daemon.
type Record struct {
	Daemon  string    `json:"daemon" doc:"the daemon that wrote it: the name of the chain"`
	Number  int64     `json:"number" doc:"the place in the chain, from 1"`
	At      time.Time `json:"at"`
	Process string    `json:"process" doc:"id of the process that wrote it"`
	Entry
	Missed   int64  `json:"missed,omitempty" doc:"refused or failed requests since the previous record that were too many to be recorded"`
	Previous string `json:"previous" doc:"hash of the previous record of this daemon; empty in the first"`
	Hash     string `json:"hash" doc:"SHA-256, in hex, of this object without this field, its keys sorted and without spaces"`
}

// Mark is a place in a chain that is known from elsewhere than its records.
type Mark struct {
	Daemon string    `json:"daemon"`
	Number int64     `json:"number"`
	Hash   string    `json:"hash"`
	At     time.Time `json:"at,omitzero"`
}

// Mark is the place of the record.
func (r Record) Mark() Mark { return Mark{r.Daemon, r.Number, r.Hash, r.At} }

// Seal puts a record after another one: it gives it the number, the hash of the one before, and its own.
func Seal(r Record, previous Mark) (Record, error) {
	r.Number, r.Previous, r.Hash = previous.Number+1, previous.Hash, ""
	document, err := json.Marshal(r)
	if err != nil {
		return r, fmt.Errorf("encode audit record %d of %s: %w", r.Number, r.Daemon, err)
	}
	r.Hash, err = Sum(document)
	return r, err
}

// Sum is the hash of a record, of which document is the JSON. It covers every field but "hash", those too that only a
// newer version knows. It does not depend on spaces, or on the order of keys.
func Sum(document []byte) (string, error) {
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return "", fmt.Errorf("read an audit record: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", errors.New("read an audit record: more follows its end")
	}
	delete(object, "hash")
	var canonical bytes.Buffer
	e := json.NewEncoder(&canonical)
	e.SetEscapeHTML(false)
	if err := e.Encode(object); err != nil {
		return "", fmt.Errorf("encode an audit record: %w", err)
	}
	sum := sha256.Sum256(bytes.TrimSuffix(canonical.Bytes(), []byte("\n")))
	return hex.EncodeToString(sum[:]), nil
}
