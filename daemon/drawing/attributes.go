package drawing

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// attribute is one thing that a line of a drawing can say. Reading and showing stand side by side: a line is printed by
// showing what differs from what is expected, and reading it back at once, so that printing can't drift from parsing.
type attribute struct {
	name    string
	takes   string // the values, for people
	second  bool   // read when the identities of all servers are known
	needs   need
	repeats bool
	read    func(p *picture, d *drawn, value string) error
	show    func(p *picture, d *drawn) string // the value, "" for none; of those that repeat, values joined by between
}

// between stands between the values of an attribute that repeats.
const between = "\x00"

type need int

const (
	nothing need = iota
	instance
	channel
)

// short are the usual spellings.
var short = map[string]string{
	"down": "down=refused", "never": "never=yes", "stale": "asked=stale", "unasked": "asked=never",
	"rw": "mode=rw", "ro": "mode=ro", "sro": "mode=sro",
	"nobinlog": "log_bin=no", "nologupdates": "log_updates=no", "nogtid": "gtid=no", "nosource": "source=none",
	"prefer": "rule=prefer", "neutral": "rule=neutral", "prefer_not": "rule=prefer_not", "must_not": "rule=must_not",
	"downtime": "downtime=1h", "semisync": "semisync=on", "filters": "filters=yes", "ssl": "ssl=yes", "promoted": "promoted=yes",
}

// attributes in the order in which they are read and printed: what sets expectations stands before what depends on it.
var attributes []attribute

func init() { // not in the declaration: the functions refer to the table through the parser
	attributes = []attribute{
		// Who and where.
		{name: "of", takes: "CLUSTER", read: func(p *picture, d *drawn, v string) error {
			d.server.Cluster = p.clusterName(v)
			return nil
		}, show: func(p *picture, d *drawn) string { return d.server.Cluster }},
		{name: "mysql", takes: "8.4.0", needs: instance, read: readVersion(topology.MySQL), show: showVersion(topology.MySQL)},
		{name: "mariadb", takes: "10.11.6", needs: instance, read: readVersion(topology.MariaDB), show: showVersion(topology.MariaDB)},
		{name: "uuid", takes: "UUID", needs: instance, read: func(_ *picture, d *drawn, v string) error {
			d.server.Instance.UUID = none(v)
			return nil
		}, show: func(_ *picture, d *drawn) string { return orNone(d.server.Instance.UUID) }},
		{name: "id", takes: "SERVER_ID", needs: instance, read: func(_ *picture, d *drawn, v string) error {
			return number(v, 32, &d.server.Instance.ServerID)
		}, show: func(_ *picture, d *drawn) string { return fmt.Sprint(d.server.Instance.ServerID) }},
		{name: "detached", takes: "HOST", needs: instance, read: func(_ *picture, d *drawn, v string) error {
			return d.setSource("//" + v)
		}, show: func(_ *picture, d *drawn) string {
			if cs := d.server.Instance.Channels; len(cs) > 0 && cs[0].Source.Detached() {
				return brief(cs[0].Source.Attached())
			}
			return ""
		}},
		{name: "source", takes: "HOST|none", needs: instance, read: func(_ *picture, d *drawn, v string) error {
			return d.setSource(v)
		}, show: func(_ *picture, d *drawn) string {
			if cs := d.server.Instance.Channels; len(cs) == 0 {
				return "none"
			} else if cs[0].Source.Detached() {
				return "detached"
			} else {
				return brief(cs[0].Source)
			}
		}},
		{name: "channel", takes: "NAME", needs: channel, read: func(_ *picture, d *drawn, v string) error {
			d.server.Instance.Channels[0].Name = v
			return nil
		}, show: func(_ *picture, d *drawn) string { return d.server.Instance.Channels[0].Name }},
		{name: "also", takes: "HOST|NAME@HOST", needs: instance, repeats: true, read: func(_ *picture, d *drawn, v string) error {
			host, name := v, v
			if i := strings.LastIndexByte(v, '@'); i >= 0 {
				name, host = v[:i], v[i+1:]
			}
			k, err := parseSource(host)
			if err != nil {
				return err
			}
			if len(d.server.Instance.Channels) == 0 && name == v {
				name = "" // the only source of a root
			}
			d.server.Instance.Channels = append(d.server.Instance.Channels, topology.Channel{Name: name, Source: k})
			return nil
		}, show: func(_ *picture, d *drawn) string {
			var out []string
			for n, c := range d.server.Instance.Channels {
				if n == 0 {
					continue
				}
				if source := brief(c.Source); c.Name == source {
					out = append(out, source)
				} else {
					out = append(out, c.Name+"@"+source)
				}
			}
			return strings.Join(out, between)
		}},
		{name: "promoted", takes: "yes|no", read: func(_ *picture, d *drawn, v string) error {
			return yes(v, &d.promoted)
		}, show: func(_ *picture, d *drawn) string { return yesNo(d.promoted) }},
		// Last, because the others need an instance to speak of.
		{name: "never", takes: "yes", read: func(_ *picture, d *drawn, v string) error {
			d.server.Instance = nil
			return yes(v, new(bool))
		}, show: func(_ *picture, d *drawn) string { return flag(d.server.Instance == nil) }},

		// How asking it went.
		{name: "down", second: true, takes: failureNames(), read: func(p *picture, d *drawn, v string) error {
			if v == "no" {
				d.server.Probe = topology.Probe{Asked: p.at}
				if d.server.Instance != nil {
					d.server.Probe.Answered = p.at
				}
				return nil
			}
			if f := topology.Failure(v); failureTexts[f] != "" {
				p.fail(d, f, 5*time.Second)
				return nil
			}
			return fmt.Errorf("%q is no failure", clip(v))
		}, show: func(_ *picture, d *drawn) string {
			if d.server.Probe.Failure == topology.OK {
				return "no"
			}
			return string(d.server.Probe.Failure)
		}},
		{name: "since", second: true, takes: "5s", read: func(p *picture, d *drawn, v string) error {
			if d.server.Probe.Failure == topology.OK {
				return fmt.Errorf("only a server that is down has since=")
			}
			since, err := duration(v)
			if err == nil {
				p.fail(d, d.server.Probe.Failure, since)
			}
			return err
		}, show: func(p *picture, d *drawn) string {
			if d.server.Probe.Failure == topology.OK {
				return ""
			}
			return p.ago(d.server.Probe.FailingSince)
		}},
		{name: "failures", second: true, takes: "5", read: func(_ *picture, d *drawn, v string) error {
			return number(v, 31, &d.server.Probe.Failures)
		}, show: func(_ *picture, d *drawn) string { return fmt.Sprint(d.server.Probe.Failures) }},
		{name: "error", second: true, takes: "TEXT", read: func(_ *picture, d *drawn, v string) error {
			d.server.Probe.Error = none(v)
			return nil
		}, show: func(_ *picture, d *drawn) string { return orNone(d.server.Probe.Error) }},
		{name: "asked", second: true, takes: "3s|stale|never", read: func(p *picture, d *drawn, v string) error {
			if v == "stale" {
				d.stale = true
				return nil
			}
			err := p.readAgo(v, &d.server.Probe.Asked)
			switch {
			case d.server.Probe.Failure == topology.OK:
				d.server.Probe.Answered = d.server.Probe.Asked
			case d.server.Probe.Asked.IsZero(): // what was never asked can't have failed
				d.server.Probe = topology.Probe{}
			}
			return err
		}, show: func(p *picture, d *drawn) string { return p.ago(d.server.Probe.Asked) }},
		{name: "answered", second: true, takes: "3s|never", read: func(p *picture, d *drawn, v string) error {
			return p.readAgo(v, &d.server.Probe.Answered)
		}, show: func(p *picture, d *drawn) string { return p.ago(d.server.Probe.Answered) }},
		{name: "started", second: true, needs: instance, takes: "3h", read: func(p *picture, d *drawn, v string) error {
			return p.readAgo(v, &d.server.Instance.StartedAt)
		}, show: func(p *picture, d *drawn) string { return p.ago(d.server.Instance.StartedAt) }},

		// What it is set to.
		{name: "mode", second: true, needs: instance, takes: "rw|ro|sro", read: func(_ *picture, d *drawn, v string) error {
			i := d.server.Instance
			i.ReadOnly, i.SuperReadOnly = v != "rw", v == "sro"
			return oneOf(v, "rw", "ro", "sro")
		}, show: func(_ *picture, d *drawn) string {
			switch i := d.server.Instance; {
			case i.SuperReadOnly:
				return "sro"
			case i.ReadOnly:
				return "ro"
			}
			return "rw"
		}},
		{name: "gtid", second: true, needs: instance, takes: "yes|no", read: func(_ *picture, d *drawn, v string) error {
			i := d.server.Instance
			var on bool
			if err := yes(v, &on); err != nil || on {
				return err
			}
			if i.Flavor == topology.MySQL {
				i.GTID, i.Executed = false, gtid.Set{}
			}
			for n := range i.Channels {
				i.Channels[n].AutoPosition, i.Channels[n].Received = false, gtid.Set{}
			}
			return nil
		}, show: func(_ *picture, d *drawn) string {
			return yesNo(d.server.Instance.GTID || d.server.Instance.Flavor == topology.MariaDB)
		}},
		{name: "auto_position", second: true, needs: channel, takes: "yes|no", read: func(_ *picture, d *drawn, v string) error {
			c := &d.server.Instance.Channels[0]
			err := yes(v, &c.AutoPosition)
			c.Received = d.server.Instance.Executed
			if !c.AutoPosition {
				c.Received = gtid.Set{}
			}
			return err
		}, show: func(_ *picture, d *drawn) string { return yesNo(d.server.Instance.Channels[0].AutoPosition) }},
		{name: "log_bin", second: true, needs: instance, takes: "yes|no", read: func(p *picture, d *drawn, v string) error {
			i := d.server.Instance
			err := yes(v, &i.LogBin)
			if !i.LogBin {
				i.BinlogFile, i.BinlogPos = "", 0
			}
			p.expectWritten(d)
			return err
		}, show: func(_ *picture, d *drawn) string { return yesNo(d.server.Instance.LogBin) }},
		{name: "log_updates", second: true, needs: instance, takes: "yes|no", read: func(p *picture, d *drawn, v string) error {
			err := yes(v, &d.server.Instance.LogReplicaUpdates)
			p.expectWritten(d)
			return err
		}, show: func(_ *picture, d *drawn) string { return yesNo(d.server.Instance.LogReplicaUpdates) }},
		{name: "binlog", second: true, needs: instance, takes: "ROW|STATEMENT|MIXED", read: func(_ *picture, d *drawn, v string) error {
			d.server.Instance.BinlogFormat = none(strings.ToUpper(v))
			return oneOf(strings.ToUpper(v), "ROW", "STATEMENT", "MIXED", "NONE")
		}, show: func(_ *picture, d *drawn) string { return orNone(d.server.Instance.BinlogFormat) }},

		// How it replicates.
		{name: "ioerr", second: true, needs: channel, takes: "2003", read: func(_ *picture, d *drawn, v string) error {
			c := &d.server.Instance.Channels[0]
			if err := number(v, 31, &c.IOErrno); err != nil {
				return err
			}
			c.IOError, c.IO = errorText(c.IOErrno), topology.Stopped
			if c.IOErrno >= 2000 && c.IOErrno < 3000 || c.IOErrno == 0 { // the client's own errors: it tries again
				c.IO = topology.Connecting
			}
			expectLag(c)
			return nil
		}, show: func(_ *picture, d *drawn) string { return fmt.Sprint(d.server.Instance.Channels[0].IOErrno) }},
		{name: "iotext", second: true, needs: channel, takes: "TEXT", read: func(_ *picture, d *drawn, v string) error {
			d.server.Instance.Channels[0].IOError = none(v)
			return nil
		}, show: func(_ *picture, d *drawn) string { return orNone(d.server.Instance.Channels[0].IOError) }},
		{name: "io", second: true, needs: channel, takes: "yes|no|connecting", read: func(_ *picture, d *drawn, v string) error {
			c := &d.server.Instance.Channels[0]
			c.IO = topology.ThreadState(v)
			expectLag(c)
			return oneOf(v, "yes", "no", "connecting")
		}, show: func(_ *picture, d *drawn) string { return string(d.server.Instance.Channels[0].IO) }},
		{name: "io_since", second: true, needs: channel, takes: "3s|never", read: func(p *picture, d *drawn, v string) error {
			return p.readAgo(v, &d.server.Instance.Channels[0].IOSince)
		}, show: func(p *picture, d *drawn) string { return p.ago(d.server.Instance.Channels[0].IOSince) }},
		{name: "sqlerr", second: true, needs: channel, takes: "1062", read: func(_ *picture, d *drawn, v string) error {
			c := &d.server.Instance.Channels[0]
			err := number(v, 31, &c.SQLErrno)
			c.SQLError, c.SQL = errorText(c.SQLErrno), topology.Stopped
			expectLag(c)
			return err
		}, show: func(_ *picture, d *drawn) string { return fmt.Sprint(d.server.Instance.Channels[0].SQLErrno) }},
		{name: "sqltext", second: true, needs: channel, takes: "TEXT", read: func(_ *picture, d *drawn, v string) error {
			d.server.Instance.Channels[0].SQLError = none(v)
			return nil
		}, show: func(_ *picture, d *drawn) string { return orNone(d.server.Instance.Channels[0].SQLError) }},
		{name: "sql", second: true, needs: channel, takes: "yes|no|connecting", read: func(_ *picture, d *drawn, v string) error {
			c := &d.server.Instance.Channels[0]
			c.SQL = topology.ThreadState(v)
			expectLag(c)
			return oneOf(v, "yes", "no", "connecting")
		}, show: func(_ *picture, d *drawn) string { return string(d.server.Instance.Channels[0].SQL) }},
		{name: "lag", second: true, needs: channel, takes: "30s|null", read: func(_ *picture, d *drawn, v string) error {
			c := &d.server.Instance.Channels[0]
			if c.Lag = nil; v == "null" {
				return nil
			}
			c.Lag = new(int64)
			return seconds(v, c.Lag)
		}, show: func(_ *picture, d *drawn) string {
			if lag := d.server.Instance.Channels[0].Lag; lag != nil {
				return secondsText(*lag)
			}
			return "null"
		}},
		{name: "delay", second: true, needs: channel, takes: "1h", read: func(_ *picture, d *drawn, v string) error {
			return seconds(v, &d.server.Instance.Channels[0].Delay)
		}, show: func(_ *picture, d *drawn) string { return secondsText(d.server.Instance.Channels[0].Delay) }},
		{name: "filters", second: true, needs: channel, takes: "yes|no", read: func(_ *picture, d *drawn, v string) error {
			return yes(v, &d.server.Instance.Channels[0].Filters)
		}, show: func(_ *picture, d *drawn) string { return yesNo(d.server.Instance.Channels[0].Filters) }},
		{name: "ssl", second: true, needs: channel, takes: "yes|no", read: func(_ *picture, d *drawn, v string) error {
			return yes(v, &d.server.Instance.Channels[0].SSL)
		}, show: func(_ *picture, d *drawn) string { return yesNo(d.server.Instance.Channels[0].SSL) }},
		{name: "source_uuid", second: true, needs: channel, takes: "UUID|none", read: func(_ *picture, d *drawn, v string) error {
			d.server.Instance.Channels[0].SourceUUID = none(v)
			return nil
		}, show: func(_ *picture, d *drawn) string { return orNone(d.server.Instance.Channels[0].SourceUUID) }},
		{name: "source_id", second: true, needs: channel, takes: "SERVER_ID", read: func(_ *picture, d *drawn, v string) error {
			return number(v, 32, &d.server.Instance.Channels[0].SourceID)
		}, show: func(_ *picture, d *drawn) string { return fmt.Sprint(d.server.Instance.Channels[0].SourceID) }},

		// What it has.
		{name: "exec", second: true, needs: instance, takes: setHelp, read: func(p *picture, d *drawn, v string) error {
			i := d.server.Instance
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
		}, show: func(p *picture, d *drawn) string { return p.showSet(d, d.server.Instance.Executed) }},
		{name: "recv", second: true, needs: channel, takes: setHelp, read: func(p *picture, d *drawn, v string) error {
			i := d.server.Instance
			if err := p.readSet(d, v, &i.Channels[0].Received); err != nil {
				return err
			}
			if len(d.given["exec"]) == 0 && len(i.Channels) == 1 {
				i.Executed = i.Executed.Intersect(i.Channels[0].Received)
				p.expectWritten(d)
			}
			return nil
		}, show: func(p *picture, d *drawn) string { return p.showSet(d, d.server.Instance.Channels[0].Received) }},
		furtherAttribute("also_io", "2:yes|no|connecting", func(_ *picture, _ *drawn, c *topology.Channel, v string) error {
			c.IO = topology.ThreadState(v)
			expectLag(c)
			return oneOf(v, "yes", "no", "connecting")
		}, func(_ *picture, _ *drawn, c topology.Channel) string { return string(c.IO) }),
		furtherAttribute("also_sql", "2:yes|no|connecting", func(_ *picture, _ *drawn, c *topology.Channel, v string) error {
			c.SQL = topology.ThreadState(v)
			expectLag(c)
			return oneOf(v, "yes", "no", "connecting")
		}, func(_ *picture, _ *drawn, c topology.Channel) string { return string(c.SQL) }),
		furtherAttribute("also_recv", "2:"+setHelp, func(p *picture, d *drawn, c *topology.Channel, v string) error {
			return p.readSet(d, v, &c.Received)
		}, func(p *picture, d *drawn, c topology.Channel) string { return p.showSet(d, c.Received) }),
		{name: "purged", second: true, needs: instance, takes: setHelp, read: func(p *picture, d *drawn, v string) error {
			return p.readSet(d, v, &d.server.Instance.Purged)
		}, show: func(p *picture, d *drawn) string { return p.showSet(d, d.server.Instance.Purged) }},
		{name: "written", second: true, needs: instance, takes: setHelp, read: func(p *picture, d *drawn, v string) error {
			return p.readSet(d, v, &d.server.Instance.BinlogWritten)
		}, show: func(p *picture, d *drawn) string { return p.showSet(d, d.server.Instance.BinlogWritten) }},
		{name: "pos", second: true, needs: instance, takes: "binlog.000001:10000", read: func(_ *picture, d *drawn, v string) error {
			return readPlace(v, &d.server.Instance.BinlogFile, &d.server.Instance.BinlogPos)
		}, show: func(_ *picture, d *drawn) string {
			return showPlace(d.server.Instance.BinlogFile, d.server.Instance.BinlogPos)
		}},
		{name: "read", second: true, needs: channel, takes: "binlog.000001:10000", read: func(_ *picture, d *drawn, v string) error {
			c := &d.server.Instance.Channels[0]
			return readPlace(v, &c.ReadFile, &c.ReadPos)
		}, show: func(_ *picture, d *drawn) string {
			return showPlace(d.server.Instance.Channels[0].ReadFile, d.server.Instance.Channels[0].ReadPos)
		}},
		{name: "applied", second: true, needs: channel, takes: "binlog.000001:10000", read: func(_ *picture, d *drawn, v string) error {
			c := &d.server.Instance.Channels[0]
			return readPlace(v, &c.ExecFile, &c.ExecPos)
		}, show: func(_ *picture, d *drawn) string {
			return showPlace(d.server.Instance.Channels[0].ExecFile, d.server.Instance.Channels[0].ExecPos)
		}},
		{name: "registered", second: true, needs: instance, takes: "HOST+HOST|none", read: func(_ *picture, d *drawn, v string) error {
			return readKeys(v, &d.server.Instance.Registered)
		}, show: func(_ *picture, d *drawn) string { return showKeys(d.server.Instance.Registered) }},
		{name: "semisync", second: true, needs: instance, takes: "on|off|source,active,replica,replicating,wait=1,clients=2,timeout=10s", read: func(_ *picture, d *drawn, v string) error {
			return readSemiSync(d.server.Instance, v)
		}, show: func(_ *picture, d *drawn) string { return showSemiSync(d.server.Instance) }},
		{name: "stalled", second: true, needs: instance, takes: "disk_full|semi_sync|commit[,30s[,COUNT[,STATE]]]", read: func(_ *picture, d *drawn, v string) error {
			return readStall(d.server.Instance, v)
		}, show: func(_ *picture, d *drawn) string { return showStall(d.server.Instance.Stalled) }},
		{name: "names", second: true, takes: "HOST+HOST|none", read: func(_ *picture, d *drawn, v string) error {
			return readKeys(v, &d.server.Names)
		}, show: func(_ *picture, d *drawn) string { return showKeys(d.server.Names) }},

		// What people declared.
		{name: "rule", second: true, takes: "prefer|neutral|prefer_not|must_not", read: func(_ *picture, d *drawn, v string) error {
			if d.server.Rule = topology.Rule(v); v == string(topology.Neutral) {
				d.server.Rule = ""
			}
			return oneOf(v, "prefer", "neutral", "prefer_not", "must_not")
		}, show: func(_ *picture, d *drawn) string { return string(d.server.Rule) }},
		{name: "downtime", second: true, takes: "1h", read: func(p *picture, d *drawn, v string) error {
			rest, err := duration(v)
			d.server.Downtime = &topology.Downtime{Owner: "somebody", Reason: "work", Until: p.at.Add(rest)}
			return err
		}, show: func(p *picture, d *drawn) string {
			if d.server.Downtime == nil {
				return ""
			}
			return durationText(d.server.Downtime.Until.Sub(p.at))
		}},
		{name: "owner", second: true, takes: "NAME", read: func(_ *picture, d *drawn, v string) error {
			if d.server.Downtime == nil {
				return fmt.Errorf("goes with downtime=")
			}
			d.server.Downtime.Owner = none(v)
			return nil
		}, show: func(_ *picture, d *drawn) string {
			if d.server.Downtime == nil {
				return ""
			}
			return orNone(d.server.Downtime.Owner)
		}},
		{name: "reason", second: true, takes: "TEXT", read: func(_ *picture, d *drawn, v string) error {
			if d.server.Downtime == nil {
				return fmt.Errorf("goes with downtime=")
			}
			d.server.Downtime.Reason = none(v)
			return nil
		}, show: func(_ *picture, d *drawn) string {
			if d.server.Downtime == nil {
				return ""
			}
			return orNone(d.server.Downtime.Reason)
		}},
		{name: "tag", second: true, takes: "NAME:VALUE", repeats: true, read: func(_ *picture, d *drawn, v string) error {
			name, value, _ := strings.Cut(v, ":")
			if d.server.Tags == nil {
				d.server.Tags = map[string]string{}
			}
			d.server.Tags[name] = value
			return nil
		}, show: func(_ *picture, d *drawn) string {
			var out []string
			for _, name := range slices.Sorted(maps.Keys(d.server.Tags)) {
				if value := d.server.Tags[name]; value != "" {
					name += ":" + value
				}
				out = append(out, name)
			}
			return strings.Join(out, between)
		}},
	}
}

// furtherAttribute tells of the second and later channels, by number.
func furtherAttribute(name, takes string, read func(*picture, *drawn, *topology.Channel, string) error, show func(*picture, *drawn, topology.Channel) string) attribute {
	return attribute{name: name, takes: takes, second: true, needs: channel, repeats: true, read: func(p *picture, d *drawn, v string) error {
		text, value, _ := strings.Cut(v, ":")
		var n int
		if err := number(text, 16, &n); err != nil {
			return err
		}
		if cs := d.server.Instance.Channels; n < 2 || n > len(cs) {
			return fmt.Errorf("it has no source number %d beside the first", n)
		}
		return read(p, d, &d.server.Instance.Channels[n-1], value)
	}, show: func(p *picture, d *drawn) string {
		var out []string
		for n, c := range d.server.Instance.Channels {
			if n > 0 {
				out = append(out, fmt.Sprintf("%d:%s", n+1, show(p, d, c)))
			}
		}
		return strings.Join(out, between)
	}}
}

func find(name string) *attribute {
	for i := range attributes {
		if attributes[i].name == name {
			return &attributes[i]
		}
	}
	return nil
}

// apply reads one value into the server of a line.
func (p *picture) apply(d *drawn, a *attribute, value string) error {
	if err := a.missing(d); err != nil {
		return fmt.Errorf("%s=%s: %w", a.name, clip(value), err)
	}
	if err := a.read(p, d, value); err != nil {
		return fmt.Errorf("%s=%s: %w (want %s=%s)", a.name, clip(value), err, a.name, a.takes)
	}
	return nil
}

// missing says why the attribute has nothing to speak of.
func (a *attribute) missing(d *drawn) error {
	if a.needs > nothing && d.server.Instance == nil {
		return fmt.Errorf("a server that never answered has no %s", a.name)
	}
	if a.needs == channel && len(d.server.Instance.Channels) == 0 {
		return fmt.Errorf("a server without a source has no %s", a.name)
	}
	return nil
}

const setHelp = "1-100|HOST:1-100+HOST:1-7|0-1-100|none"

func readVersion(f topology.Flavor) func(*picture, *drawn, string) error {
	return func(_ *picture, d *drawn, v string) error {
		_, version, err := topology.ParseVersion(v)
		d.flavor, d.version = f, version
		d.server.Instance.Flavor, d.server.Instance.Version = f, version
		return err
	}
}

func showVersion(f topology.Flavor) func(*picture, *drawn) string {
	return func(_ *picture, d *drawn) string {
		if d.server.Instance.Flavor != f {
			return ""
		}
		return d.server.Instance.Version.String()
	}
}

func (d *drawn) setSource(text string) error {
	i := d.server.Instance
	if text == "none" {
		i.Channels = nil
		return nil
	}
	k, err := parseSource(text)
	if err == nil {
		i.Channels = []topology.Channel{{Source: k}}
	}
	return err
}

// parseSource is ParseKey that allows a detached source.
func parseSource(text string) (topology.Key, error) {
	var k topology.Key
	if text == "" {
		return k, fmt.Errorf("want host or host:port")
	}
	err := k.UnmarshalText([]byte(text))
	return k, err
}

// brief is the key as people write it.
func brief(k topology.Key) string {
	if k.Port == topology.DefaultPort && !strings.Contains(k.Host, ":") && k.Host != "none" && k.Host != "detached" {
		return k.Host
	}
	return k.String()
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

func (p *picture) fullPart(d *drawn, part string) (string, error) {
	if strings.Trim(part, "0123456789-:") == "" && strings.Count(part, "-") < 4 { // no UUID, no name
		if d.flavor == topology.MySQL && strings.Count(part, "-") != 2 || strings.Contains(part, ":") {
			return uuidOf(d.base) + ":" + part, nil
		}
		if _, last, _ := strings.Cut("-"+part, "-"); strings.Count(part, "-") < 2 {
			if i := strings.LastIndexByte(last, '-'); i >= 0 {
				last = last[i+1:]
			}
			return fmt.Sprintf("0-%d-%s", p.rootID(d), last), nil
		}
		return part, nil
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

func (p *picture) rootID(d *drawn) uint32 {
	if i := d.base.server.Instance; i != nil {
		return i.ServerID
	}
	return ServerID(d.base.server.Key)
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

func readPlace(text string, file *string, pos *uint64) error {
	if text == "none" {
		*file, *pos = "", 0
		return nil
	}
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return fmt.Errorf("no position")
	}
	*file = text[:i]
	return number(text[i+1:], 64, pos)
}

func showPlace(file string, pos uint64) string {
	if file == "" && pos == 0 {
		return "none"
	}
	return fmt.Sprintf("%s:%d", file, pos)
}

func readKeys(text string, to *[]topology.Key) error {
	*to = nil
	if text == "none" {
		return nil
	}
	for part := range strings.SplitSeq(text, "+") {
		k, err := parseSource(part)
		if err != nil {
			return err
		}
		*to = append(*to, k)
	}
	return nil
}

func showKeys(keys []topology.Key) string {
	var out []string
	for _, k := range keys {
		out = append(out, brief(k))
	}
	return orNone(strings.Join(out, "+"))
}

// usualSemiSync is what "semisync" alone means: of a replica that it acknowledges, of others that they wait for one replica.
func usualSemiSync(i *topology.Instance) topology.SemiSync {
	if len(i.Channels) > 0 {
		return topology.SemiSync{ReplicaEnabled: true, ReplicaActive: true}
	}
	return topology.SemiSync{SourceEnabled: true, SourceActive: true, WaitCount: 1, Clients: len(i.Registered), TimeoutMillis: 10000}
}

func readSemiSync(i *topology.Instance, text string) error {
	i.SemiSync = topology.SemiSync{}
	switch text {
	case "on":
		i.SemiSync = usualSemiSync(i)
		return nil
	case "off":
		return nil
	}
	s := &i.SemiSync
	for word := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(word, "=")
		var err error
		switch name {
		case "source":
			s.SourceEnabled = true
		case "active":
			s.SourceActive = true
		case "replica":
			s.ReplicaEnabled = true
		case "replicating":
			s.ReplicaActive = true
		case "wait":
			err = number(value, 31, &s.WaitCount)
		case "clients":
			err = number(value, 31, &s.Clients)
		case "timeout":
			if ms, ok := strings.CutSuffix(value, "ms"); ok {
				err = number(ms, 64, &s.TimeoutMillis)
				break
			}
			var t time.Duration
			t, err = duration(value)
			s.TimeoutMillis = uint64(max(0, t.Milliseconds()))
		default:
			err = fmt.Errorf("%q is unknown", clip(word))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func showSemiSync(i *topology.Instance) string {
	s := i.SemiSync
	switch s {
	case topology.SemiSync{}:
		return "off"
	case usualSemiSync(i):
		return "on"
	}
	var out []string
	for _, w := range []struct {
		on   bool
		text string
	}{
		{s.SourceEnabled, "source"}, {s.SourceActive, "active"}, {s.ReplicaEnabled, "replica"}, {s.ReplicaActive, "replicating"},
		{s.WaitCount != 0, fmt.Sprintf("wait=%d", s.WaitCount)}, {s.Clients != 0, fmt.Sprintf("clients=%d", s.Clients)},
		{s.TimeoutMillis != 0, fmt.Sprintf("timeout=%dms", s.TimeoutMillis)},
	} {
		if w.on {
			out = append(out, w.text)
		}
	}
	return strings.Join(out, ",")
}

var stallStates = map[string]string{
	"disk_full": "waiting for free space on the disk",
	"semi_sync": "Waiting for semi-sync ACK from replica",
	"commit":    "waiting for handler commit",
}

func readStall(i *topology.Instance, text string) error {
	f := strings.SplitN(text, ",", 4)
	state, ok := stallStates[f[0]]
	if !ok {
		return fmt.Errorf("%q is no cause", clip(f[0]))
	}
	i.Stalled = &topology.Stall{State: state, Seconds: 30, Count: 1, Cause: f[0]}
	if len(f) > 1 {
		if err := seconds(f[1], &i.Stalled.Seconds); err != nil {
			return err
		}
	}
	if len(f) > 2 {
		if err := number(f[2], 31, &i.Stalled.Count); err != nil {
			return err
		}
	}
	if len(f) > 3 {
		i.Stalled.State = f[3]
	}
	return nil
}

func showStall(s *topology.Stall) string {
	if s == nil {
		return ""
	}
	if s.State != stallStates[s.Cause] {
		return fmt.Sprintf("%s,%s,%d,%s", s.Cause, secondsText(s.Seconds), s.Count, s.State)
	}
	if s.Count != 1 {
		return fmt.Sprintf("%s,%s,%d", s.Cause, secondsText(s.Seconds), s.Count)
	}
	if s.Seconds != 30 {
		return fmt.Sprintf("%s,%s", s.Cause, secondsText(s.Seconds))
	}
	return s.Cause
}

// readAgo reads a moment as how long it was before that of the snapshot.
func (p *picture) readAgo(text string, to *time.Time) error {
	if *to = (time.Time{}); text == "never" {
		return nil
	}
	ago, err := duration(text)
	*to = p.at.Add(-ago)
	return err
}

func (p *picture) ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return durationText(p.at.Sub(t))
}

func duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no time, such as 3s, 200ms or 1h30m", clip(text))
	}
	return d, nil
}

func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// seconds reads a time in whole seconds; a count of them may be longer than any time.Duration.
func seconds(text string, to *int64) error {
	if n, err := strconv.ParseInt(strings.TrimSuffix(text, "s"), 10, 64); err == nil {
		*to = n
		return nil
	}
	d, err := duration(text)
	*to = int64(d / time.Second)
	return err
}

func secondsText(n int64) string {
	const century = 100 * 365 * 24 * 3600
	if n < -century || n > century {
		return fmt.Sprintf("%ds", n)
	}
	return durationText(time.Duration(n) * time.Second)
}

func errorText(errno int) string {
	switch errno {
	case 0:
		return ""
	case 2003:
		return "error connecting to source: can't connect (2003)"
	case 1062:
		return "could not apply: duplicate entry (1062)"
	case 1236:
		return "the source has purged what is asked for (1236)"
	}
	return fmt.Sprintf("error %d", errno)
}

func failureNames() string {
	return "refused|reset|timeout|shutdown|too_many_connections|access_denied|tls|not_mysql|no_such_host|other"
}

func number[T int | uint32 | uint64](text string, bits int, to *T) error {
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return fmt.Errorf("%q is no such number", clip(text))
	}
	*to = T(n)
	return nil
}

func oneOf(text string, values ...string) error {
	if !slices.Contains(values, text) {
		return fmt.Errorf("%q is not known here", clip(text))
	}
	return nil
}

func yes(text string, to *bool) error {
	*to = text == "yes"
	return oneOf(text, "yes", "no")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func flag(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// none and orNone write the empty text as a word that can be seen.
func none(text string) string {
	if strings.EqualFold(text, "none") {
		return ""
	}
	return text
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
