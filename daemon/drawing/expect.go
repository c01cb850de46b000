package drawing

import (
	"fmt"
	"slices"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// expect sets what is expected of a server before what its line says in this pass.
func (p *picture) expect(d *drawn, pass int) {
	if pass == 0 {
		p.begin(d)
	} else {
		p.fill(d)
	}
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
		if o := p.firstRoot(p.clusterName(of[0]), d); o != nil {
			d.base, d.flavor, d.version = o, o.flavor, o.version
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

// firstRoot is the first root of the cluster above a line.
func (p *picture) firstRoot(cluster string, above *drawn) *drawn {
	for _, o := range p.lines {
		if o == above {
			break
		}
		if o.parent == nil && o.server.Cluster == cluster {
			return o
		}
	}
	return nil
}

// link notes who is who once all identities are known.
func (p *picture) link() {
	p.resolve()
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

// resolve puts servers in the place of their other names where these are somebody's source.
func (p *picture) resolve() {
	s := topology.Snapshot{}
	for _, d := range p.lines {
		s.Servers = append(s.Servers, d.server)
	}
	s = s.Canonical()
	for i, d := range p.lines {
		d.server.Instance = s.Servers[i].Instance
	}
}

// fill sets what is expected of all the rest; the identities of all servers are known by now, and all of the servers
// above.
func (p *picture) fill(d *drawn) {
	s := &d.server
	s.Probe = topology.Probe{Asked: p.at, Answered: p.at}
	if s.Instance == nil {
		p.fail(d, topology.Timeout, 5*time.Second)
		return
	}
	i := s.Instance
	i.LogBin, i.LogReplicaUpdates, i.BinlogFormat, i.GTID = true, true, "ROW", true
	i.BinlogFile, i.BinlogPos = usualFile, usualPos
	i.ReadOnly = len(i.Channels) > 0
	i.Executed = p.expected(d)
	p.expectWritten(d)
	for n := range i.Channels {
		p.fillChannel(i, &i.Channels[n])
	}
	i.Registered = p.followers[s.Key]
}

// The coordinates of servers where nothing is said about them.
const (
	usualFile = "binlog.000001"
	usualPos  = 10000
)

func (p *picture) fillChannel(i *topology.Instance, c *topology.Channel) {
	c.IO, c.SQL, c.AutoPosition = topology.Running, topology.Running, true
	c.Received = i.Executed
	c.ReadFile, c.ReadPos, c.ExecFile, c.ExecPos = usualFile, usualPos, usualFile, usualPos
	expectLag(c)
	source := c.Source.Attached()
	c.SourceID, c.SourceUUID = ServerID(source), UUID(source)
	if o := p.byKey[source]; o != nil && o.server.Instance != nil {
		c.SourceID, c.SourceUUID = o.server.Instance.ServerID, o.server.Instance.UUID
	}
	if i.Flavor == topology.MariaDB { // it says no UUID of a source
		c.SourceUUID = ""
	}
}

// expected is what a server has executed unless its line says otherwise.
func (p *picture) expected(d *drawn) gtid.Set {
	if d.base != d && d.base.server.Instance != nil && d.base.flavor == d.flavor {
		return d.base.server.Instance.Executed
	}
	if d.flavor == topology.MariaDB {
		return gtid.MustParse(fmt.Sprintf("0-%d-100", rootID(d)))
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
	d.expectState()
}

// expectState: what the binary log ends with is all that it tells of writers.
func (d *drawn) expectState() {
	d.instance().BinlogState = gtid.State{}.With(d.instance().BinlogWritten)
}
