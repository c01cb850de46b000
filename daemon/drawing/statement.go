package drawing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// statement is a line about what decisions rest on besides the servers: an episode, a request, the policy.
type statement struct {
	kind   *statementKind
	number int
	args   []string
	fields []string
	above  *drawn      // the line of a server above it, nil when there is none: it belongs to the cluster of that one
	peers  []statement // of a claim
}

// statementKind is a row of the table.
type statementKind struct {
	word  string // no server can have this as its name without the port
	takes string // what follows, for people
	args  int    // how many words stand before the fields
	read  func(p *picture, st statement) error
}

// statementKinds are read in this order, whatever the order of the lines: an episode speaks of its request, a claim of
// its episode.
var statementKinds = []statementKind{
	{"off", "REASON", 1, (*picture).readOff},
	{"thresholds", usage(thresholdFields), 0, (*picture).readThresholds},
	{"policy", usage(policyFields), 0, (*picture).readPolicy},
	{"request", "KIND SERVER", 2, (*picture).readRequest},
	{"episode", "KIND SERVER", 2, (*picture).readEpisode},
	{"claim", "SERVER", 1, (*picture).readClaim},
	{"peer", "NAME", 1, nil}, // with the claim above it
}

func statementKindOf(word string) *statementKind {
	i := slices.IndexFunc(statementKinds, func(k statementKind) bool { return k.word == word })
	if i < 0 {
		return nil
	}
	return &statementKinds[i]
}

// newStatement takes up a line whose first word is that of a statement.
func (p *picture) newStatement(kind *statementKind, words []string, number int) error {
	if len(words) <= kind.args {
		return fmt.Errorf("%s needs more: %s %s", kind.word, kind.word, kind.takes)
	}
	st := statement{kind: kind, number: number, args: words[1 : kind.args+1], fields: words[kind.args+1:]}
	if len(p.lines) > 0 {
		st.above = p.lines[len(p.lines)-1]
	}
	if kind.word != "peer" {
		p.statements = append(p.statements, st)
		return nil
	}
	last := len(p.statements) - 1
	if last < 0 || p.statements[last].kind.word != "claim" {
		return fmt.Errorf("a peer must stand below the claim that it answers")
	}
	p.statements[last].peers = append(p.statements[last].peers, st)
	return nil
}

// readStatements reads them all; the servers are known by now.
func (p *picture) readStatements() error {
	for i := range statementKinds {
		for _, st := range p.statements {
			if st.kind != &statementKinds[i] {
				continue
			}
			if err := st.kind.read(p, st); err != nil {
				return fmt.Errorf("line %d: %s: %w", st.number, st.kind.word, err)
			}
		}
	}
	return nil
}

// clusterOf is what is said of the cluster that a statement belongs to. It takes of=CLUSTER out of the fields.
func (p *picture) clusterOf(st *statement) (*Cluster, error) {
	for i, word := range st.fields {
		if of, ok := strings.CutPrefix(word, "of="); ok && of != "" {
			st.fields = slices.Delete(slices.Clone(st.fields), i, i+1)
			return p.cluster(p.clusterName(of)), nil
		}
	}
	if st.above == nil || st.above.server.Cluster == "" {
		return nil, fmt.Errorf("it belongs to no cluster: write it below the servers of one, or say of=CLUSTER")
	}
	return p.cluster(st.above.server.Cluster), nil
}

func (p *picture) cluster(name string) *Cluster {
	if p.clusters[name] == nil {
		p.clusters[name] = &Cluster{Cluster: name}
	}
	return p.clusters[name]
}

// sortedClusters are those of which something is said.
func (p *picture) sortedClusters() []Cluster {
	var out []Cluster
	for _, name := range slices.Sorted(maps.Keys(p.clusters)) {
		out = append(out, *p.clusters[name])
	}
	return out
}

// writeStatements prints what is said of a cluster. above is the line of a server that they stand below, or nil.
func (p *picture) writeStatements(b *strings.Builder, c Cluster, above *drawn) {
	var of []string
	if above == nil || above.server.Cluster != c.Cluster {
		of = []string{"of=" + quoted(p.ofCluster(c.Cluster))}
	}
	line := func(words ...[]string) {
		b.WriteString(strings.Join(slices.Concat(words...), " ") + "\n")
	}
	if c.Policy != nil {
		line([]string{"policy"}, of, p.writePolicy(c))
	}
	for _, r := range requestsOf(c) {
		line([]string{"request"}, p.writeRequest(r), of)
	}
	for _, e := range c.Episodes {
		line([]string{"episode"}, p.writeEpisode(c, e), of)
	}
	for _, claim := range c.Claims {
		words, peers := p.writeClaim(c, claim)
		line([]string{"claim"}, words, of)
		for _, peer := range peers {
			line([]string{"  peer"}, peer)
		}
	}
}

// field is one thing that a statement can say of its subject.
type field[T any] struct {
	name  string
	takes string // the values, for people; of yesOrNo the name alone means yes
	codec[T]
}

const yesOrNo = "yes|no"

// readFields reads the words of a statement into its subject, in the order of the table.
func readFields[T any](p *picture, fields []field[T], words []string, to *T) error {
	given := map[string][]string{}
	for _, word := range words {
		name, value, valued := strings.Cut(word, "=")
		i := slices.IndexFunc(fields, func(f field[T]) bool { return f.name == name })
		switch {
		case i < 0:
			return fmt.Errorf("%q is not known here; want %s", clip(word), usage(fields))
		case !valued && fields[i].takes != yesOrNo:
			return fmt.Errorf("%q needs a value: %s=%s", clip(word), name, fields[i].takes)
		case !valued:
			value = "yes"
		}
		if len(given[name]) > 0 && !fields[i].repeats {
			return fmt.Errorf("%q: %s was already said", clip(word), name)
		}
		given[name] = append(given[name], value)
	}
	for _, f := range fields {
		for _, value := range given[f.name] {
			if err := f.read(p, to, value); err != nil {
				return fmt.Errorf("%s=%s: %w (want %s=%s)", f.name, clip(value), err, f.name, f.takes)
			}
		}
	}
	return nil
}

// usage names the fields, for people.
func usage[T any](fields []field[T]) string {
	var out []string
	for _, f := range fields {
		if f.takes == yesOrNo {
			out = append(out, f.name)
		} else {
			out = append(out, f.name+"="+f.takes)
		}
	}
	return strings.Join(out, ", ")
}

// writeFields returns the words that make what is expected what it is, having read them into it.
func writeFields[T any](p *picture, fields []field[T], actual, expected *T) []string {
	var out []string
	for _, f := range fields {
		want := f.show(p, actual)
		if want == f.show(p, expected) {
			continue
		}
		values := []string{want}
		if f.repeats {
			values = strings.Split(want, between)
		}
		for _, value := range values {
			if f.read(p, expected, value) != nil { // nothing that the notation can say
				continue
			}
			if f.takes == yesOrNo && value == "yes" {
				out = append(out, f.name)
			} else {
				out = append(out, f.name+"="+quoted(value))
			}
		}
	}
	return out
}
