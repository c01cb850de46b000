package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"

	"orchestrator/daemon/httpd"
)

// shelf keeps the pieces of a long answer, encoded and compressed, a piece a cluster or a server. An answer about the whole fleet then
// costs what has changed since the last one, and not what the fleet is. What it holds is as long as the last answer, and stays.
type shelf[K comparable] struct {
	compare func(a, b K) int

	mu      sync.Mutex
	pieces  map[K]*piece[K]
	order   []*piece[K] // sorted
	round   uint64      // rises with each answer
	edition uint64      // rises when a piece is replaced, comes or goes
}

type piece[K comparable] struct {
	key   K
	stamp uint64 // edition of what it was made of
	part  httpd.Part
	round uint64 // of the last answer that it was in
}

func newShelf[K comparable](compare func(a, b K) int) *shelf[K] {
	return &shelf[K]{compare: compare, pieces: map[K]*piece[K]{}}
}

// fill makes the shelf hold exactly what put is called with, and returns the parts in the order of their keys, with commas between those
// that are not empty. A piece with the stamp that it had last time is neither made nor encoded again.
func (s *shelf[K]) fill(each func(put func(key K, stamp uint64, make func() any))) (edition uint64, parts []httpd.Part, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round++
	n, came := 0, false
	each(func(key K, stamp uint64, make func() any) {
		p := s.pieces[key]
		if p == nil {
			p = &piece[K]{key: key, stamp: ^stamp}
			s.pieces[key], came = p, true
			s.edition++
		}
		if p.round != s.round {
			p.round = s.round
			n++
		}
		if p.stamp != stamp {
			p.stamp = stamp
			err = errors.Join(err, s.renew(p, make()))
		}
	})
	if err != nil {
		return 0, nil, err
	}
	if came || n < len(s.pieces) {
		s.sort()
	}
	return s.edition, s.parts(), nil
}

func (s *shelf[K]) renew(p *piece[K], value any) error {
	text, err := encode(value)
	if text = items(text); err != nil || p.part.Is(text) {
		return err
	}
	p.part = httpd.NewPart(text)
	s.edition++
	return nil
}

// sort drops the pieces that are not in this answer, and puts the others in order.
func (s *shelf[K]) sort() {
	s.order = s.order[:0]
	for key, p := range s.pieces {
		if p.round == s.round {
			s.order = append(s.order, p)
			continue
		}
		delete(s.pieces, key)
		s.edition++
	}
	slices.SortFunc(s.order, func(a, b *piece[K]) int { return s.compare(a.key, b.key) })
}

func (s *shelf[K]) parts() []httpd.Part {
	parts := make([]httpd.Part, 0, 2*len(s.order)+2)
	for _, p := range s.order {
		if p.part.Len() == 0 {
			continue
		}
		if len(parts) > 0 {
			parts = append(parts, comma)
		}
		parts = append(parts, p.part)
	}
	return parts
}

var comma = httpd.Literal(",")

// inList puts parts into a JSON list, with what stands before and after it.
func inList(before string, parts []httpd.Part, after string) []httpd.Part {
	return append(append([]httpd.Part{httpd.Literal(before + "[")}, parts...), httpd.Literal("]"+after+"\n"))
}

// items are those of a list, without its brackets; anything else is one item.
func items(text []byte) []byte {
	text = bytes.TrimSpace(text)
	if len(text) > 1 && text[0] == '[' {
		text = text[1 : len(text)-1]
	}
	return text
}

// encode writes JSON as every answer has it.
func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return nil, fmt.Errorf("encode %T: %w", value, err)
	}
	return b.Bytes(), nil
}

// edition is one of what several things make up together.
func edition(of ...any) string {
	sum := fnv.New64a()
	fmt.Fprintln(sum, of...)
	return strconv.FormatUint(sum.Sum64(), 36)
}
