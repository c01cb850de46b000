// Package drawing is the text form of a snapshot: parsed (Parse), printed so that it can be parsed again (Draw), and sketched for
// people (Sketch). It also reads saved snapshots, which are JSON or a drawing (Decode).
//
// It holds no facts of its own (see topology), judges nothing and reads no files. The one idea: a line says only what differs from what
// one would expect, and printing an attribute reads it back at once, so the two directions can't drift apart.
package drawing

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// At is the moment of a drawing that names none.
var At = time.Date(2026, 1, 1, 0, 0, 10, 0, time.UTC)

// Parse reads a snapshot drawn as text, one server a line:
//
//	db1 mysql=8.0.36 down              # silent for 5 s
//	  db2 io=connecting recv=1-120
//	    db4
//	  db3 io=no must_not tag=dc:west
//
// Indentation says who replicates from whom: from the nearest line above that is indented less. The first word is host or
// host:port, then come attributes in any order: see docs/snapshot.md. A '#' in front of a word begins a comment. A value
// with blanks in it is written in double quotes, as Go does. A line "at=2026-01-01T00:00:10Z" sets the moment of the snapshot.
//
// Every line in the first column begins a cluster, named by its key, unless it says of=NAME: then it belongs to that cluster.
//
// What a line leaves out is what one would expect: the server answered at the moment of the snapshot, by GTID, with binary logs;
// roots take writes and have executed their own transactions 1 to 100, all others are read-only, replicate on both threads, and have received and executed all
// that their root has. Flavour and version are those of the server above. Whoever is given recv= has executed no more than
// that, and whoever is given exec= alone has received that and all that the root has.
func Parse(text string) (topology.Snapshot, error) {
	p := newPicture()
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
	margin := margin(lines)
	var above []*drawn // the path from the root to the line above
	for i, line := range lines {
		number := i + 1
		line = strings.TrimRight(strings.TrimPrefix(line, margin), " \t")
		body := strings.TrimLeft(line, " ")
		if body == "" || body[0] == '#' {
			continue
		}
		if body[0] == '\t' {
			return topology.Snapshot{}, fmt.Errorf("line %d: indent with blanks, not with tabs", number)
		}
		words, err := splitWords(body)
		if err != nil {
			return topology.Snapshot{}, fmt.Errorf("line %d: %w", number, err)
		}
		if at, ok := strings.CutPrefix(words[0], "at="); ok {
			if len(words) > 1 || len(p.lines) > 0 {
				return topology.Snapshot{}, fmt.Errorf("line %d: at= stands alone, on the first line", number)
			}
			if p.at, err = time.Parse(time.RFC3339Nano, at); err != nil {
				return topology.Snapshot{}, fmt.Errorf("line %d: %q: want a moment such as at=2026-01-01T00:00:10Z", number, clip(words[0]))
			}
			continue
		}
		key, err := topology.ParseKey(words[0])
		if err != nil {
			return topology.Snapshot{}, fmt.Errorf("line %d: %q: a line begins with the server: host or host:port", number, clip(words[0]))
		}
		if old := p.byKey[key]; old != nil {
			return topology.Snapshot{}, fmt.Errorf("line %d: %v is already on line %d", number, key, old.number)
		}
		d := &drawn{number: number, indent: len(line) - len(body), server: topology.Server{Key: key}}
		if d.given, err = readWords(words[1:]); err != nil {
			return topology.Snapshot{}, fmt.Errorf("line %d: %v: %w", number, words[0], err)
		}
		for len(above) > 0 && above[len(above)-1].indent >= d.indent {
			above = above[:len(above)-1]
		}
		if len(above) > 0 {
			d.parent = above[len(above)-1]
		}
		above = append(above, d)
		p.add(d)
	}
	for _, second := range []bool{false, true} {
		if second {
			p.link()
		}
		for _, d := range p.lines {
			if !second {
				p.begin(d)
			} else {
				p.fill(d)
			}
			for i := range attributes {
				a := &attributes[i]
				if a.second != second {
					continue
				}
				for _, value := range d.given[a.name] {
					if err := p.apply(d, a, value); err != nil {
						return topology.Snapshot{}, fmt.Errorf("line %d: %v: %w", d.number, d.server.Key, err)
					}
				}
			}
		}
	}
	return p.snapshot(), nil
}

// MustParse is Parse for drawings that are known to be good, such as those of tests.
func MustParse(text string) topology.Snapshot {
	s, err := Parse(text)
	if err != nil {
		panic("drawing: " + err.Error())
	}
	return s
}

// UUID is the UUID of a server whose drawing gives none.
func UUID(k topology.Key) string {
	h := sha256.Sum256([]byte(k.String()))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// ServerID is the server_id of a server whose drawing gives none: its port, where that is not the usual one; the number
// at the end of the host's first name (db1, db1.example.com: 1) or of its address; else a number made from the key.
func ServerID(k topology.Key) uint32 {
	if k.Port != topology.DefaultPort {
		return uint32(k.Port)
	}
	host := strings.TrimRight(k.Host, ".")
	if first, _, ok := strings.Cut(host, "."); ok && strings.Trim(host, "0123456789.") != "" {
		host = first
	}
	digits := host[len(strings.TrimRight(host, "0123456789")):]
	if n, err := strconv.ParseUint(digits, 10, 31); err == nil && n > 0 {
		return uint32(n)
	}
	h := sha256.Sum256([]byte(k.String()))
	return 1<<30 | uint32(h[0])<<16 | uint32(h[1])<<8 | uint32(h[2])
}

// picture is a drawing being read or made.
type picture struct {
	at    time.Time
	lines []*drawn // sources before their replicas
	byKey map[topology.Key]*drawn
	// Known once all identities are:
	byUUID    map[string]*drawn
	followers map[topology.Key][]topology.Key
}

// drawn is one line of it.
type drawn struct {
	number  int
	indent  int
	parent  *drawn // the line that it hangs below, nil for a root
	base    *drawn // the first root of its cluster, whose transactions it has
	flavor  topology.Flavor
	version topology.Version
	given   map[string][]string // attribute → values, as written
	stale   bool
	// promoted says that the last failover of the cluster ended at this server.
	promoted bool
	server   topology.Server
}

func newPicture() *picture { return &picture{at: At, byKey: map[topology.Key]*drawn{}} }

func (p *picture) add(d *drawn) {
	p.lines = append(p.lines, d)
	p.byKey[d.server.Key] = d
}

// begin sets what is expected of the identity and the place of a server.
func (p *picture) begin(d *drawn) {
	s := &d.server
	s.Cluster = s.Key.String()
	d.base, d.flavor, d.version = d, topology.MySQL, topology.Version{Major: 8, Minor: 4, Patch: 0}
	if d.parent != nil {
		s.Cluster, d.base = d.parent.server.Cluster, d.parent.base
		d.flavor, d.version = d.parent.flavor, d.parent.version
	} else if of := d.given["of"]; len(of) > 0 {
		name := p.clusterName(of[0])
		for _, o := range p.lines {
			if o == d {
				break
			}
			if o.parent == nil && o.server.Cluster == name {
				d.base, d.flavor, d.version = o, o.flavor, o.version
				break
			}
		}
	}
	s.Instance = &topology.Instance{
		UUID: UUID(s.Key), ServerID: ServerID(s.Key),
		Hostname: s.Key.Host, Port: s.Key.Port,
		Flavor: d.flavor, Version: d.version,
	}
	if d.parent != nil {
		s.Instance.Channels = []topology.Channel{{Source: d.parent.server.Key}}
	}
}

// clusterName lets people write of=db1 for the cluster db1:3306.
func (p *picture) clusterName(text string) string {
	if k, err := topology.ParseKey(text); err == nil && p.byKey[k] != nil {
		return k.String()
	}
	return text
}

// fill sets what is expected of all the rest; the identities of all servers are known by now, and all of those above.
func (p *picture) fill(d *drawn) {
	s := &d.server
	s.Probe = topology.Probe{Asked: p.at, Answered: p.at}
	if s.Instance == nil {
		p.fail(d, topology.Timeout, 5*time.Second)
		return
	}
	i := s.Instance
	i.LogBin, i.LogReplicaUpdates, i.BinlogFormat, i.GTID = true, true, "ROW", true
	i.BinlogFile, i.BinlogPos = "binlog.000001", 10000
	if len(i.Channels) > 0 {
		i.ReadOnly = true
	}
	i.Executed = p.expected(d)
	p.expectWritten(d)
	for n := range i.Channels {
		c := &i.Channels[n]
		c.IO, c.SQL, c.AutoPosition = topology.Running, topology.Running, true
		c.Received = i.Executed
		c.ReadFile, c.ReadPos, c.ExecFile, c.ExecPos = "binlog.000001", 10000, "binlog.000001", 10000
		expectLag(c)
		if o := p.byKey[c.Source.Attached()]; o != nil && o.server.Instance != nil {
			c.SourceID = o.server.Instance.ServerID
			c.SourceUUID = o.server.Instance.UUID
		} else {
			c.SourceID = ServerID(c.Source.Attached())
			c.SourceUUID = UUID(c.Source.Attached())
		}
		if i.Flavor == topology.MariaDB { // which tells nobody the UUID of a source: it has none
			c.SourceUUID = ""
		}
	}
	i.Registered = p.followers[s.Key]
}

// link notes who is who when all identities are known.
func (p *picture) link() {
	p.byUUID, p.followers = map[string]*drawn{}, map[topology.Key][]topology.Key{}
	for _, d := range p.lines {
		if uuid := uuidOf(d); p.byUUID[uuid] == nil {
			p.byUUID[uuid] = d
		}
		if d.server.Instance == nil {
			continue
		}
		for _, c := range d.server.Instance.Channels {
			p.followers[c.Source] = append(p.followers[c.Source], d.server.Key)
		}
	}
	for source, keys := range p.followers {
		slices.SortFunc(keys, topology.Key.Compare)
		p.followers[source] = slices.Compact(keys)
	}
}

// expected is what a server has executed unless its line says otherwise.
func (p *picture) expected(d *drawn) gtid.Set {
	if d.base != d && d.base.server.Instance != nil && d.base.flavor == d.flavor {
		return d.base.server.Instance.Executed
	}
	root := d.base.server
	if d.flavor == topology.MariaDB {
		id := ServerID(root.Key)
		if root.Instance != nil {
			id = root.Instance.ServerID
		}
		return gtid.MustParse(fmt.Sprintf("0-%d-100", id))
	}
	return gtid.MustParse(uuidOf(d.base) + ":1-100")
}

// expectWritten: MariaDB's binary log ends where it has executed, if it is written at all.
func (p *picture) expectWritten(d *drawn) {
	i := d.server.Instance
	i.BinlogWritten = gtid.Set{}
	if i.Flavor == topology.MariaDB && i.LogBin && (i.LogReplicaUpdates || len(i.Channels) == 0) {
		i.BinlogWritten = i.Executed
	}
}

// expectLag: a server says NULL unless both threads run.
func expectLag(c *topology.Channel) {
	c.Lag = nil
	if c.IO == topology.Running && c.SQL == topology.Running {
		c.Lag = new(int64)
	}
}

// fail makes the server fail for that long. It answered a second before, if ever.
func (p *picture) fail(d *drawn, f topology.Failure, since time.Duration) {
	d.server.Probe = topology.Probe{
		Asked:        p.at,
		Failure:      f,
		Error:        failureTexts[f],
		FailingSince: p.at.Add(-since),
		Failures:     max(1, int(since/time.Second)),
	}
	if d.server.Instance != nil {
		d.server.Probe.Answered = p.at.Add(-since - time.Second)
	}
}

var failureTexts = map[topology.Failure]string{
	topology.Refused:  "connection refused",
	topology.Reset:    "connection reset by peer",
	topology.Timeout:  "no answer in time",
	topology.Shutdown: "server shutdown in progress (1053)",
	topology.TooMany:  "too many connections (1040)",
	topology.Denied:   "access denied (1045)",
	topology.TLSError: "TLS handshake failed",
	topology.Alien:    "not a MySQL server",
	topology.NoHost:   "no such host",
	topology.Other:    "the probe failed",
}

func (p *picture) snapshot() topology.Snapshot {
	s := topology.Snapshot{At: p.at}
	longest := 5 * time.Second
	for _, d := range p.lines {
		if d.server.Probe.Failure != topology.OK {
			longest = max(longest, p.at.Sub(d.server.Probe.FailingSince))
		}
	}
	for _, d := range p.lines {
		if d.stale {
			d.server.Probe.Asked = p.at.Add(-longest - time.Second)
			d.server.Probe.Answered = d.server.Probe.Asked
		}
		if d.promoted {
			if s.Promoted == nil {
				s.Promoted = map[string]topology.Key{}
			}
			s.Promoted[d.server.Cluster] = d.server.Key
		}
		s.Servers = append(s.Servers, d.server)
	}
	s.Sort()
	return s
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
		var word strings.Builder
		for text != "" && text[0] != ' ' && text[0] != '\t' {
			if text[0] == '"' {
				quoted, err := strconv.QuotedPrefix(text)
				if err != nil {
					return nil, fmt.Errorf("%s: a quote is not closed", clip(text))
				}
				plain, err := strconv.Unquote(quoted)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", clip(quoted), err)
				}
				word.WriteString(plain)
				text = text[len(quoted):]
				continue
			}
			word.WriteByte(text[0])
			text = text[1:]
		}
		words = append(words, word.String())
	}
}

// readWords sorts the words of a line by attribute.
func readWords(words []string) (map[string][]string, error) {
	given := map[string][]string{}
	for _, word := range words {
		long := word
		if l, ok := short[word]; ok {
			long = l
		}
		name, value, valued := strings.Cut(long, "=")
		a := find(name)
		if a == nil {
			return nil, fmt.Errorf("%q is no attribute; the nearest is %q", clip(word), nearest(clip(name)))
		}
		if !valued {
			return nil, fmt.Errorf("%q wants a value: %s=%s", clip(word), name, a.takes)
		}
		if len(given[name]) > 0 && !a.repeats {
			return nil, fmt.Errorf("%q: %s was already said", clip(word), name)
		}
		given[name] = append(given[name], value)
	}
	return given, nil
}

// clip keeps an error readable whatever it quotes.
func clip(text string) string {
	if len(text) > 60 {
		return strings.ToValidUTF8(text[:60], "") + "…"
	}
	return text
}

// nearest is the attribute, in its usual spelling, that takes the fewest changes of letters.
func nearest(word string) string {
	best, least := "", 1<<30
	try := func(name, usual string) {
		if n := Distance(word, name); n < least || n == least && usual < best {
			best, least = usual, n
		}
	}
	for long := range short {
		try(long, long)
	}
	for i := range attributes {
		try(attributes[i].name, attributes[i].name+"="+attributes[i].takes)
	}
	return best
}

// Distance counts the insertions, removals and replacements that turn a into b: how far a name is from the one that was meant.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(diagonal+cost, row[j]+1, row[j+1]+1)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
