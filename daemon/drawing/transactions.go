package drawing

import (
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// transactionAttributes say what a server has: executed, received, and written to its logs.
var transactionAttributes = []attribute{
	{"exec", setHelp, instance, codec[drawn]{read: readExecuted, show: func(p *picture, d *drawn) string {
		return p.showSet(d, d.instance().Executed)
	}}},
	{"recv", setHelp, channel, codec[drawn]{read: readReceived, show: func(p *picture, d *drawn) string {
		return p.showSet(d, d.channel().Received)
	}}},
	{"also_io", "2:yes|no|connecting", channel, furtherThread(
		func(c *topology.Channel) *topology.ThreadState { return &c.IO })},
	{"also_sql", "2:yes|no|connecting", channel, furtherThread(
		func(c *topology.Channel) *topology.ThreadState { return &c.SQL })},
	{"also_recv", "2:" + setHelp, channel, further(func(p *picture, d *drawn, c *topology.Channel, v string) error {
		return p.readSet(d, v, &c.Received)
	}, func(p *picture, d *drawn, c *topology.Channel) string { return p.showSet(d, c.Received) })},
	{"purged", setHelp, instance, set(func(d *drawn) *gtid.Set { return &d.instance().Purged })},
	{"written", setHelp, instance, set(func(d *drawn) *gtid.Set { return &d.instance().BinlogWritten }).then(
		func(_ *picture, d *drawn) { d.expectState() })},
	{"state", "0-1-80+0-2-100|none", instance, codec[drawn]{read: func(_ *picture, d *drawn, v string) (err error) {
		text := strings.ReplaceAll(v, "+", ",")
		d.instance().BinlogState, err = gtid.ParseState(none(text))
		return err
	}, show: func(_ *picture, d *drawn) string {
		return orNone(strings.ReplaceAll(d.instance().BinlogState.String(), ",", "+"))
	}}},
	{"pos", placeHelp, instance, place(func(d *drawn) (*string, *uint64) {
		return &d.instance().BinlogFile, &d.instance().BinlogPos
	})},
	{"read", placeHelp, channel, place(func(d *drawn) (*string, *uint64) {
		return &d.channel().ReadFile,
			&d.channel().ReadPos
	})},
	{"applied", placeHelp, channel, place(func(d *drawn) (*string, *uint64) {
		return &d.channel().ExecFile, &d.channel().ExecPos
	})},
}

const (
	setHelp   = "1-100|HOST:1-100+HOST:1-7|0-1-100|none"
	placeHelp = "binlog.000001:10000"
)

// readExecuted leaves what was received: that, and all that the root has.
func readExecuted(p *picture, d *drawn, v string) error {
	i := d.instance()
	had := i.Executed
	if err := p.readSet(d, v, &i.Executed); err != nil {
		return err
	}
	p.expectWritten(d)
	for n := range i.Channels {
		if c := &i.Channels[n]; c.AutoPosition {
			c.Received = had.Union(i.Executed)
		}
	}
	return nil
}

// readReceived means, unless exec= says otherwise, that no more than this is executed.
func readReceived(p *picture, d *drawn, v string) error {
	i := d.instance()
	if err := p.readSet(d, v, &i.Channels[0].Received); err != nil {
		return err
	}
	if len(d.given["exec"]) == 0 && len(i.Channels) == 1 {
		i.Executed = i.Executed.Intersect(i.Channels[0].Received)
		p.expectWritten(d)
	}
	return nil
}

func set(at func(*drawn) *gtid.Set) codec[drawn] {
	return codec[drawn]{
		read: func(p *picture, d *drawn, v string) error { return p.readSet(d, v, at(d)) },
		show: func(p *picture, d *drawn) string { return p.showSet(d, *at(d)) },
	}
}

// readSet reads a set in which hosts may stand for UUIDs, and intervals alone are those of the root.
func (p *picture) readSet(d *drawn, text string, to *gtid.Set) error {
	if text == "none" {
		*to = gtid.Set{}
		return nil
	}
	var parts []string
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '+' || r == ',' }) {
		full, err := p.fullPart(d, part)
		if err != nil {
			return err
		}
		parts = append(parts, full)
	}
	var err error
	*to, err = gtid.Parse(strings.Join(parts, ","))
	return err
}

// fullPart is one part of a set as servers write it.
func (p *picture) fullPart(d *drawn, part string) (string, error) {
	if strings.Trim(part, "0123456789-:") == "" && strings.Count(part, "-") < 4 { // no UUID, no name
		return p.ofRoot(d, part), nil
	}
	if d.flavor == topology.MariaDB {
		return part, nil
	}
	name, rest, _ := strings.Cut(part, ":")
	if len(name) == 36 && strings.Count(name, "-") == 4 {
		return part, nil
	}
	if strings.HasPrefix(part, "[") {
		name, rest, _ = strings.Cut(part[1:], "]:")
		name = "[" + name + "]"
	}
	if port, more, ok := strings.Cut(rest, ":"); ok {
		if k, err := topology.ParseKey(name + ":" + port); err == nil && p.byKey[k] != nil {
			return uuidOf(p.byKey[k]) + ":" + more, nil
		}
	}
	k, err := topology.ParseKey(name)
	if err != nil || p.byKey[k] == nil {
		return "", fmt.Errorf("%q names no server of the drawing; write its UUID", clip(name))
	}
	return uuidOf(p.byKey[k]) + ":" + rest, nil
}

// ofRoot completes digits alone: intervals of the root's UUID, a position of MariaDB, or its last number in domain 0.
func (p *picture) ofRoot(d *drawn, part string) string {
	if d.flavor == topology.MySQL && strings.Count(part, "-") != 2 || strings.Contains(part, ":") {
		return uuidOf(d.base) + ":" + part
	}
	if _, last, _ := strings.Cut("-"+part, "-"); strings.Count(part, "-") < 2 {
		if i := strings.LastIndexByte(last, '-'); i >= 0 {
			last = last[i+1:]
		}
		return fmt.Sprintf("0-%d-%s", rootID(d), last)
	}
	return part
}

func rootID(d *drawn) uint32 {
	if i := d.base.server.Instance; i != nil {
		return i.ServerID
	}
	return ServerID(d.base.server.Key)
}

// uuidOf is the UUID that the name of a server stands for in a set.
func uuidOf(d *drawn) string {
	if i := d.server.Instance; i != nil {
		if _, err := gtid.Parse(i.UUID + ":1"); err == nil && i.UUID != "" {
			return i.UUID
		}
	}
	return UUID(d.server.Key)
}

// showSet is the shortest text that readSet reads back.
func (p *picture) showSet(d *drawn, s gtid.Set) string {
	if s.Empty() {
		return "none"
	}
	if d.flavor == topology.MariaDB {
		return strings.ReplaceAll(s.String(), ",", "+")
	}
	whole := strings.Split(s.String(), ",")
	for n, part := range whole {
		uuid, rest, _ := strings.Cut(part, ":")
		names := []string{part}
		if o := p.byUUID[uuid]; o != nil {
			names = []string{brief(o.server.Key) + ":" + rest, o.server.Key.String() + ":" + rest, part}
		}
		if len(whole) == 1 && uuid == uuidOf(d.base) {
			names = slices.Insert(names, 0, rest)
		}
		for _, name := range names {
			if full, err := p.fullPart(d, name); err == nil && full == part {
				whole[n] = name
				break
			}
		}
	}
	return strings.Join(whole, "+")
}

// place is a file of a binary log and a position in it.
func place(at func(*drawn) (*string, *uint64)) codec[drawn] {
	return codec[drawn]{read: func(_ *picture, d *drawn, v string) error {
		file, pos := at(d)
		if v == "none" {
			*file, *pos = "", 0
			return nil
		}
		i := strings.LastIndexByte(v, ':')
		if i < 0 {
			return fmt.Errorf("no position")
		}
		*file = v[:i]
		return readNumber(v[i+1:], 64, pos)
	}, show: func(_ *picture, d *drawn) string {
		file, pos := at(d)
		if *file == "" && *pos == 0 {
			return "none"
		}
		return fmt.Sprintf("%s:%d", *file, *pos)
	}}
}
