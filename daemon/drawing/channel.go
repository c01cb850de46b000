package drawing

import (
	"fmt"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// channelAttributes say how a server replicates from its first source.
var channelAttributes = []attribute{
	{"ioerr", "2003", channel, number(31, func(d *drawn) *int { return &d.channel().IOErrno }).then(
		func(_ *picture, d *drawn) {
			c := d.channel()
			c.IOError, c.IO = errorText(c.IOErrno), topology.Stopped
			if c.IOErrno >= 2000 && c.IOErrno < 3000 || c.IOErrno == 0 { // the client's own errors: it tries again
				c.IO = topology.Connecting
			}
			expectLag(c)
		})},
	{"iotext", "TEXT", channel, text(func(d *drawn) *string { return &d.channel().IOError })},
	{"io", "yes|no|connecting", channel, thread(func(c *topology.Channel) *topology.ThreadState { return &c.IO })},
	{"io_since", "3s|never", channel, moment(func(d *drawn) *time.Time { return &d.channel().IOSince })},
	{"full", "yes|no", channel, truth(func(d *drawn) *bool { return &d.channel().Full })},
	{"sqlerr", "1062", channel, number(31, func(d *drawn) *int { return &d.channel().SQLErrno }).then(
		func(_ *picture, d *drawn) {
			c := d.channel()
			c.SQLError, c.SQL = errorText(c.SQLErrno), topology.Stopped
			expectLag(c)
		})},
	{"sqltext", "TEXT", channel, text(func(d *drawn) *string { return &d.channel().SQLError })},
	{"sql", "yes|no|connecting", channel, thread(func(c *topology.Channel) *topology.ThreadState { return &c.SQL })},
	{"lag", "30s|null", channel, codec[drawn]{read: readLag, show: func(_ *picture, d *drawn) string {
		if lag := d.channel().Lag; lag != nil {
			return secondsText(*lag)
		}
		return "null"
	}}},
	{"delay", "1h", channel, codec[drawn]{read: func(_ *picture, d *drawn, v string) error {
		return readSeconds(v, &d.channel().Delay)
	}, show: func(_ *picture, d *drawn) string { return secondsText(d.channel().Delay) }}},
	{"filters", "yes|no", channel, truth(func(d *drawn) *bool { return &d.channel().Filters })},
	{"ssl", "yes|no", channel, truth(func(d *drawn) *bool { return &d.channel().SSL })},
	{"source_uuid", "UUID|none", channel, text(func(d *drawn) *string { return &d.channel().SourceUUID })},
	{"source_id", "SERVER_ID", channel, number(32, func(d *drawn) *uint32 { return &d.channel().SourceID })},
}

func thread(at func(*topology.Channel) *topology.ThreadState) codec[drawn] {
	return codec[drawn]{read: func(_ *picture, d *drawn, v string) error {
		return readThread(d.channel(), at, v)
	}, show: func(_ *picture, d *drawn) string { return string(*at(d.channel())) }}
}

func readThread(c *topology.Channel, at func(*topology.Channel) *topology.ThreadState, v string) error {
	*at(c) = topology.ThreadState(v)
	expectLag(c)
	return oneOf(v, "yes", "no", "connecting")
}

func readLag(_ *picture, d *drawn, v string) error {
	c := d.channel()
	if c.Lag = nil; v == "null" {
		return nil
	}
	c.Lag = new(int64)
	return readSeconds(v, c.Lag)
}

// expectLag: a server says NULL unless both threads run.
func expectLag(c *topology.Channel) {
	c.Lag = nil
	if c.IO == topology.Running && c.SQL == topology.Running {
		c.Lag = new(int64)
	}
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

// furtherThread and furtherSet tell of the second and later channels, by number.
func furtherThread(at func(*topology.Channel) *topology.ThreadState) codec[drawn] {
	return further(func(_ *picture, _ *drawn, c *topology.Channel, v string) error {
		return readThread(c, at, v)
	}, func(_ *picture, _ *drawn, c *topology.Channel) string { return string(*at(c)) })
}

func further(
	read func(*picture, *drawn, *topology.Channel, string) error, show func(*picture, *drawn, *topology.Channel) string,
) codec[drawn] {
	return codec[drawn]{read: func(p *picture, d *drawn, v string) error {
		digits, value, _ := strings.Cut(v, ":")
		var n int
		if err := readNumber(digits, 16, &n); err != nil {
			return err
		}
		if n < 2 || n > len(d.instance().Channels) {
			return fmt.Errorf("it has no source number %d beside the first", n)
		}
		return read(p, d, &d.instance().Channels[n-1], value)
	}, show: func(p *picture, d *drawn) string {
		var out []string
		for n := range d.instance().Channels {
			if n > 0 {
				out = append(out, fmt.Sprintf("%d:%s", n+1, show(p, d, &d.instance().Channels[n])))
			}
		}
		return strings.Join(out, between)
	}, repeats: true}
}
