package drawing

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// Parse reads what decisions rest on, drawn as text, one server a line:
//
//	db1 mysql=8.0.36 down              # silent for 5 s
//	  db2 io=connecting recv=1-120
//	    db4
//	  db3 io=no must_not tag=dc:west
//
// Indentation says who replicates from whom: from the nearest line above that is indented less. The first word is host
// or host:port, then come attributes in any order: see docs/snapshot.md. A '#' in front of a word begins a comment. A
// value with blanks in it is written in double quotes, as Go does. A line "at=2026-01-01T00:00:10Z" sets the moment of
// the snapshot.
//
// Every line in the first column begins a cluster, named by its key, unless it says of=NAME: then it belongs to that
// cluster.
//
// What a line leaves out is what one would expect: the server answered at the moment of the snapshot, by GTID, with
// binary logs; roots take writes and have executed their own transactions 1 to 100; all others are read-only, replicate
// on both threads, and have received and executed all that their root has. Flavour and version are those of the server
// above. A server with recv= alone has executed no more than that, and a server with exec= alone has received that and
// all that the root has.
//
// A line that begins with one of these words tells what is known besides the servers:
//
//	off "work on the network"                             recoveries are switched off everywhere
//	thresholds silence=5s                                 those of the configuration
//	policy recover_primary anti_flap=10m                  of the cluster above; nothing else is allowed
//	request recover db1 by=ann                            an operator asked for it
//	episode primary_failover db1 candidate=db2 touched=db2+db3
//	claim db1 locks=db2 alive=db2+db3                     what was put before plan.Permit last
//	  peer b reaches                                      and what another daemon answered
//
// It belongs to the cluster of the server above it, or to the one that of= names.
func Parse(text string) (Saved, error) {
	p, err := parse(text)
	if err == nil {
		err = p.readStatements()
	}
	if err != nil {
		return Saved{}, err
	}
	return Saved{Snapshot: p.snapshot(), Off: p.off, Thresholds: p.thresholds, ByCluster: p.sortedClusters()}, nil
}

// parse reads the servers, and takes up the statements.
func parse(text string) (*picture, error) {
	p := newPicture()
	if err := p.readLines(text); err != nil {
		return nil, err
	}
	for pass := range passes {
		if pass > 0 {
			p.link()
		}
		for _, d := range p.lines {
			if err := p.readLine(d, pass); err != nil {
				return nil, fmt.Errorf("line %d: %v: %w", d.number, d.server.Key, err)
			}
		}
	}
	return p, nil
}

// MustParse is Parse for snapshots that are known to be good, such as those of tests.
func MustParse(text string) topology.Snapshot {
	s, err := Parse(text)
	if err == nil && (s.Off != "" || s.Thresholds != nil || s.ByCluster != nil) {
		err = errors.New("there is more in it than servers")
	}
	if err != nil {
		panic("drawing: " + err.Error())
	}
	return s.Snapshot
}

// readLines splits a drawing into lines, and those into the server and what is given of it.
func (p *picture) readLines(text string) error {
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
	margin := margin(lines)
	var above []*drawn // the path from the root to the line above
	for i, line := range lines {
		line = strings.TrimRight(strings.TrimPrefix(line, margin), " \t")
		body := strings.TrimLeft(line, " ")
		if body == "" || body[0] == '#' {
			continue
		}
		d, err := p.newLine(body, i+1)
		if err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
		if d == nil {
			continue
		}
		d.indent = len(line) - len(body)
		for len(above) > 0 && above[len(above)-1].indent >= d.indent {
			above = above[:len(above)-1]
		}
		if len(above) > 0 {
			d.parent = above[len(above)-1]
		}
		above = append(above, d)
		p.add(d)
	}
	return nil
}

// newLine reads a line; nil when it names no server.
func (p *picture) newLine(body string, number int) (*drawn, error) {
	if body[0] == '\t' {
		return nil, fmt.Errorf("indent with blanks, not with tabs")
	}
	words, err := splitWords(body)
	if err != nil {
		return nil, err
	}
	if at, ok := strings.CutPrefix(words[0], "at="); ok {
		if len(words) > 1 || len(p.lines)+len(p.statements) > 0 {
			return nil, fmt.Errorf("at= stands alone, on the first line")
		}
		if p.at, err = time.Parse(time.RFC3339Nano, at); err != nil {
			return nil, fmt.Errorf("%q: want a moment such as at=2026-01-01T00:00:10Z", clip(words[0]))
		}
		return nil, nil
	}
	if kind := statementKindOf(words[0]); kind != nil {
		return nil, p.newStatement(kind, words, number)
	}
	key, err := topology.ParseKey(words[0])
	if err != nil {
		return nil, fmt.Errorf("%q: a line begins with the server: host or host:port", clip(words[0]))
	}
	if old := p.byKey[key]; old != nil {
		return nil, fmt.Errorf("%v is already on line %d", key, old.number)
	}
	d := &drawn{number: number, server: topology.Server{Key: key}}
	if d.given, err = readWords(words[1:]); err != nil {
		return nil, fmt.Errorf("%v: %w", words[0], err)
	}
	return d, nil
}

// readLine sets what is expected of a server in this pass, and then what its line says.
func (p *picture) readLine(d *drawn, pass int) error {
	p.expect(d, pass)
	for i := range passes[pass] {
		a := &passes[pass][i]
		for _, value := range d.given[a.name] {
			if err := p.apply(d, a, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// margin is the white space that all lines begin with, so that a drawing may stand indented in a program.
func margin(lines []string) string {
	common, any := "", false
	for _, line := range lines {
		body := strings.TrimLeft(line, " \t")
		if strings.TrimSpace(body) == "" || body[0] == '#' {
			continue
		}
		space := line[:len(line)-len(body)]
		if !any {
			common, any = space, true
		}
		n := 0
		for n < len(space) && n < len(common) && space[n] == common[n] {
			n++
		}
		common = common[:n]
	}
	return common
}

// splitWords splits at white space outside of double quotes, and ends at a word that begins with '#'.
func splitWords(text string) ([]string, error) {
	var words []string
	for {
		text = strings.TrimLeft(text, " \t")
		if text == "" || text[0] == '#' {
			return words, nil
		}
		word, rest, err := firstWord(text)
		if err != nil {
			return nil, err
		}
		words, text = append(words, word), rest
	}
}

// firstWord reads up to white space; parts of the word, or all of it, may be quoted.
func firstWord(text string) (word, rest string, err error) {
	var b strings.Builder
	for text != "" && text[0] != ' ' && text[0] != '\t' {
		if text[0] != '"' {
			b.WriteByte(text[0])
			text = text[1:]
			continue
		}
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			return "", "", fmt.Errorf("%s: a quote is not closed", clip(text))
		}
		plain, err := strconv.Unquote(quoted)
		if err != nil {
			return "", "", fmt.Errorf("%s: %w", clip(quoted), err)
		}
		b.WriteString(plain)
		text = text[len(quoted):]
	}
	return b.String(), text, nil
}
