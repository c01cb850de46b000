package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"

	"orchestrator/daemon/httpd"
)

// shelf keeps a long answer encoded and compressed. There is one piece for each server or cluster. Boxes hold several
// pieces, because short texts compress badly. So the cost of an answer about the whole fleet depends on what has
// changed since the last one, and not on the size of the fleet. A shelf holds as much as the last answer, and never
// shrinks by itself.
type shelf[K, S comparable] struct {
	compare func(a, b K) int

	mu      sync.Mutex
	groups  map[string]*group[K, S] // by cluster
	order   []*piece[K, S]          // of all groups, sorted
	boxes   []httpd.Part            // what is in order, joined with commas
	starts  []int                   // of each box in order
	round   uint64                  // rises with each answer
	edition uint64                  // rises when a piece is replaced, comes or goes
}

// group is the pieces of one cluster.
type group[K, S comparable] struct {
	stamp  uint64 // none of the pieces has changed while it is the same
	round  uint64 // of the last answer that it was in
	pieces []*piece[K, S]
}

type piece[K, S comparable] struct {
	key   K
	stamp S // tells what it was made of from all else
	text  []byte
	box   int // its index; -1: it is new
}

// boxed is the least number of bytes in a box. A larger box compresses better, but more is compressed again when one of
// its pieces is replaced.
const boxed = 32 << 10

func newShelf[K, S comparable](compare func(a, b K) int) *shelf[K, S] {
	return &shelf[K, S]{compare: compare, groups: map[string]*group[K, S]{}}
}

// filling is what is found out while a shelf is filled.
type filling struct {
	groups  int
	moved   bool         // something came or went
	renewed map[int]bool // boxes of which a piece was replaced
	err     error
}

// fill makes the shelf hold exactly the groups that put is called with, and returns them in the order of the keys, with
// commas between. The caller owns the returned list.
func (s *shelf[K, S]) fill(
	each func(put func(cluster string, stamp uint64, pieces contents[K, S])),
) (uint64, []httpd.Part, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round++
	f := &filling{renewed: map[int]bool{}}
	each(func(cluster string, stamp uint64, pieces contents[K, S]) { s.put(f, cluster, stamp, pieces) })
	switch {
	case f.err != nil:
		s.groups = map[string]*group[K, S]{}
		return 0, nil, f.err
	case f.moved || f.groups < len(s.groups):
		s.sort()
		s.edition++
	case len(f.renewed) > 0:
		for box := range f.renewed {
			s.pack(box)
		}
		s.edition++
	}
	return s.edition, s.list(), nil
}

// contents calls add for each piece of a group, always in the same order. A piece whose stamp has not changed is not
// made again.
type contents[K, S comparable] func(add func(key K, stamp S, make func() any))

func (s *shelf[K, S]) put(f *filling, cluster string, stamp uint64, pieces contents[K, S]) {
	g := s.groups[cluster]
	if g == nil {
		g = &group[K, S]{}
		s.groups[cluster] = g
	} else if g.stamp == stamp {
		g.round = s.round
		f.groups++
		return
	}
	before := g.pieces
	g.stamp, g.round, g.pieces = stamp, s.round, make([]*piece[K, S], 0, len(before))
	f.groups++
	pieces(func(key K, stamp S, make func() any) {
		i := len(g.pieces)
		fresh := i >= len(before) || before[i].key != key
		if fresh {
			g.pieces = append(g.pieces, &piece[K, S]{key: key, box: -1})
			f.moved = true
		} else {
			g.pieces = append(g.pieces, before[i])
		}
		if p := g.pieces[i]; fresh || p.stamp != stamp {
			p.stamp = stamp
			f.renew(&p.text, p.box, make())
		}
	})
	f.moved = f.moved || len(g.pieces) != len(before)
}

func (f *filling) renew(text *[]byte, box int, value any) {
	now, err := encode(value)
	if now = items(now); err != nil {
		f.err = err
	} else if !bytes.Equal(now, *text) {
		*text, f.renewed[box] = now, true
	}
}

// sort drops the groups that are not in this answer, and puts the pieces of the others in order, and into boxes.
func (s *shelf[K, S]) sort() {
	s.order, s.starts = nil, nil
	for cluster, g := range s.groups {
		if g.round == s.round {
			s.order = append(s.order, g.pieces...)
		} else {
			delete(s.groups, cluster)
		}
	}
	slices.SortFunc(s.order, func(a, b *piece[K, S]) int { return s.compare(a.key, b.key) })
	size := boxed
	for i, p := range s.order {
		if size >= boxed {
			s.starts, size = append(s.starts, i), 0
		}
		p.box = len(s.starts) - 1
		size += len(p.text)
	}
	s.boxes = make([]httpd.Part, len(s.starts))
	for box := range s.boxes {
		s.pack(box)
	}
}

// pack joins the pieces of a box into one text, which they share from then on.
func (s *shelf[K, S]) pack(box int) {
	end := len(s.order)
	if box+1 < len(s.starts) {
		end = s.starts[box+1]
	}
	pieces := s.order[s.starts[box]:end]
	size := 0
	for _, p := range pieces {
		size += len(p.text) + 1
	}
	all := make([]byte, 0, size)
	for _, p := range pieces {
		if len(all) > 0 && len(p.text) > 0 {
			all = append(all, ',')
		}
		from := len(all)
		all = append(all, p.text...)
		p.text = all[from:len(all):len(all)]
	}
	s.boxes[box] = httpd.NewPart(all)
}

// shelve fills a shelf that has a piece a cluster.
func shelve(s *shelf[string, uint64], views []View, make func(View) any) (uint64, []httpd.Part, error) {
	return s.fill(func(put func(string, uint64, contents[string, uint64])) {
		for _, v := range views {
			put(v.name(), v.Edition, func(add func(string, uint64, func() any)) {
				add(v.name(), v.Edition, func() any { return make(v) })
			})
		}
	})
}

// list is what is in the boxes. A box is empty if all its pieces are, as the findings of clusters that have none.
func (s *shelf[K, S]) list() []httpd.Part {
	list := make([]httpd.Part, 0, 2*len(s.boxes)+2)
	for _, box := range s.boxes {
		if box.Len() == 0 {
			continue
		}
		if len(list) > 0 {
			list = append(list, httpd.Literal(","))
		}
		list = append(list, box)
	}
	return list
}

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
