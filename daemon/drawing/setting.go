package drawing

import (
	"fmt"
	"strings"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// settingAttributes say how a server is set up.
var settingAttributes = []attribute{
	{"mode", "rw|ro|sro", instance, codec[drawn]{read: func(_ *picture, d *drawn, v string) error {
		d.instance().ReadOnly, d.instance().SuperReadOnly = v != "rw", v == "sro"
		return oneOf(v, "rw", "ro", "sro")
	}, show: func(_ *picture, d *drawn) string {
		switch i := d.instance(); {
		case i.SuperReadOnly:
			return "sro"
		case i.ReadOnly:
			return "ro"
		}
		return "rw"
	}}},
	{"gtid", "yes|no", instance, codec[drawn]{read: readGTID, show: func(_ *picture, d *drawn) string {
		return yesNo(d.instance().GTID || d.instance().Flavor == topology.MariaDB)
	}}},
	{"auto_position", "yes|no", channel, truth(func(d *drawn) *bool { return &d.channel().AutoPosition }).then(
		func(_ *picture, d *drawn) {
			if d.channel().Received = d.instance().Executed; !d.channel().AutoPosition {
				d.channel().Received = gtid.Set{}
			}
		})},
	{"scheduler", "yes|no", instance, truth(func(d *drawn) *bool { return &d.instance().Scheduler })},
	{"log_bin", "yes|no", instance, truth(func(d *drawn) *bool { return &d.instance().LogBin }).then(
		func(p *picture, d *drawn) {
			if !d.instance().LogBin {
				d.instance().BinlogFile, d.instance().BinlogPos = "", 0
			}
			p.expectWritten(d)
		})},
	{"log_updates", "yes|no", instance, truth(func(d *drawn) *bool { return &d.instance().LogReplicaUpdates }).then(
		(*picture).expectWritten)},
	{"binlog_filters", "yes|no", instance, truth(func(d *drawn) *bool { return &d.instance().BinlogFilters })},
	{"binlog", "ROW|STATEMENT|MIXED", instance, codec[drawn]{read: func(_ *picture, d *drawn, v string) error {
		v = strings.ToUpper(v)
		d.instance().BinlogFormat = none(v)
		return oneOf(v, "ROW", "STATEMENT", "MIXED", "NONE")
	}, show: func(_ *picture, d *drawn) string { return orNone(d.instance().BinlogFormat) }}},
}

// moreAttributes are of a server, too, and depend on what it has and who follows it.
var moreAttributes = []attribute{
	{"readers", "3", instance, number(31, func(d *drawn) *int { return &d.instance().Readers })},
	{"registered", "HOST+HOST|none", instance,
		keys(func(d *drawn) *[]topology.Key { return &d.instance().Registered })},
	{"semisync", "on|off|source,active,replica,replicating,wait=1,clients=2,timeout=10s", instance, codec[drawn]{
		read: func(_ *picture, d *drawn, v string) error { return readSemiSync(d.instance(), v) },
		show: func(_ *picture, d *drawn) string { return showSemiSync(d.instance()) },
	}},
	{"stalled", "disk_full|semi_sync|lock|commit[,30s[,COUNT[,STATE]]]", instance, codec[drawn]{
		read: func(_ *picture, d *drawn, v string) error { return readStall(d.instance(), v) },
		show: func(_ *picture, d *drawn) string { return showStall(d.instance().Stalled) },
	}},
	{"dormant", "EVENT", instance, list(func(d *drawn) *[]string { return &d.instance().Dormant })},
}

// readGTID takes GTIDs away from a server of MySQL, and from all channels: MariaDB always has GTIDs, and may replicate
// by coordinates.
func readGTID(_ *picture, d *drawn, v string) error {
	var on bool
	if err := yes(v, &on); err != nil || on {
		return err
	}
	i := d.instance()
	if i.Flavor == topology.MySQL {
		i.GTID, i.Executed = false, gtid.Set{}
	}
	for n := range i.Channels {
		i.Channels[n].AutoPosition, i.Channels[n].Received = false, gtid.Set{}
	}
	return nil
}

// usualSemiSync is what "semisync" alone means: a replica acknowledges, any other server waits for one replica.
func usualSemiSync(i *topology.Instance) topology.SemiSync {
	if len(i.Channels) > 0 {
		return topology.SemiSync{ReplicaEnabled: true, ReplicaActive: true}
	}
	return topology.SemiSync{
		SourceEnabled: true, SourceActive: true, WaitCount: 1, Clients: len(i.Registered), TimeoutMillis: 10000}
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
	for word := range strings.SplitSeq(text, ",") {
		if err := readSemiSyncWord(&i.SemiSync, word); err != nil {
			return err
		}
	}
	return nil
}

func readSemiSyncWord(s *topology.SemiSync, word string) error {
	name, value, _ := strings.Cut(word, "=")
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
		return readNumber(value, 31, &s.WaitCount)
	case "clients":
		return readNumber(value, 31, &s.Clients)
	case "timeout":
		if ms, ok := strings.CutSuffix(value, "ms"); ok {
			return readNumber(ms, 64, &s.TimeoutMillis)
		}
		t, err := duration(value)
		s.TimeoutMillis = uint64(max(0, t.Milliseconds()))
		return err
	default:
		return fmt.Errorf("%q is unknown", clip(word))
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
		{s.SourceEnabled, "source"}, {s.SourceActive, "active"},
		{s.ReplicaEnabled, "replica"}, {s.ReplicaActive, "replicating"},
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
	"lock":      "Waiting for global read lock",
}

func readStall(i *topology.Instance, text string) error {
	f := strings.SplitN(text, ",", 4)
	state, ok := stallStates[f[0]]
	if !ok {
		return fmt.Errorf("%q is no cause", clip(f[0]))
	}
	i.Stalled = &topology.Stall{State: state, Seconds: 30, Count: 1, Cause: f[0]}
	if len(f) > 1 {
		if err := readSeconds(f[1], &i.Stalled.Seconds); err != nil {
			return err
		}
	}
	if len(f) > 2 {
		if err := readNumber(f[2], 31, &i.Stalled.Count); err != nil {
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
