package gtid

import "strings"

// Memo parses the texts of one server, and remembers the last few. Most of what a server says of its position it has
// said at the poll before: then the same set is returned again, and nothing is allocated. The zero value remembers
// nothing yet, and nil never does. It must not be used by two goroutines at once.
type Memo struct {
	sets  [remembered]parsed
	next  int // the one that is forgotten next
	state State
	said  string // what the state was read from
}

// longest is how long a text may be to be remembered: what is remembered takes several times as much memory.
const longest = 64 << 10

// remembered is how many sets: what a server has executed, has purged and has received, and one besides.
const remembered = 4

type parsed struct {
	text string
	set  Set
}

// Parse is the function Parse.
func (m *Memo) Parse(text string) (Set, error) {
	if m == nil || text == "" || len(text) > longest {
		return Parse(text)
	}
	for i := range m.sets {
		if m.sets[i].text == text {
			return m.sets[i].set, nil
		}
	}
	set, err := Parse(text)
	if err == nil {
		m.sets[m.next] = parsed{strings.Clone(text), set} // what the text is a part of is not kept
		m.next = (m.next + 1) % remembered
	}
	return set, err
}

// ParseState is the function ParseState.
func (m *Memo) ParseState(text string) (State, error) {
	if m == nil || text == "" || len(text) > longest {
		return ParseState(text)
	}
	if m.said == text {
		return m.state, nil
	}
	state, err := ParseState(text)
	if err == nil {
		m.state, m.said = state, strings.Clone(text)
	}
	return state, err
}
