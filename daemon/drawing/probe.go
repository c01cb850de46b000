package drawing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// probeAttributes say how asking a server went.
var probeAttributes = []attribute{
	{"down", failureNames, nothing, codec[drawn]{read: readDown, show: func(_ *picture, d *drawn) string {
		if d.server.Probe.Failure == topology.OK {
			return "no"
		}
		return string(d.server.Probe.Failure)
	}}},
	{"since", "5s", nothing, codec[drawn]{read: readSince, show: func(p *picture, d *drawn) string {
		if d.server.Probe.Failure == topology.OK {
			return ""
		}
		return p.ago(d.server.Probe.FailingSince)
	}}},
	{"failures", "5", nothing, number(31, func(d *drawn) *int { return &d.server.Probe.Failures })},
	{"error", "TEXT", nothing, text(func(d *drawn) *string { return &d.server.Probe.Error })},
	{"asked", "3s|stale|never", nothing, codec[drawn]{read: readAsked, show: func(p *picture, d *drawn) string {
		return p.ago(d.server.Probe.Asked)
	}}},
	{"answered", "3s|never", nothing, moment(func(d *drawn) *time.Time { return &d.server.Probe.Answered })},
	{"started", "3h", instance, moment(func(d *drawn) *time.Time { return &d.instance().StartedAt })},
	{"left", "HOST[,3s][,filters]", instance, codec[drawn]{read: readLeft, show: func(p *picture, d *drawn) string {
		if d.server.Left == nil {
			return ""
		}
		left := brief(d.server.Left.From) + "," + p.ago(d.server.Left.Seen)
		if d.server.Left.Filters {
			left += leftFiltering
		}
		return left
	}}},
	{"stranger", "unconfirmed|not_admitted|ahead[,3s]", nothing,
		codec[drawn]{read: readStranger, show: func(p *picture, d *drawn) string {
			s := d.server.Stranger
			switch {
			case s == nil:
				return ""
			case s.Since.IsZero():
				return string(s.Kind)
			}
			return string(s.Kind) + "," + p.ago(s.Since)
		}}},
	{"why", "TEXT", nothing, codec[drawn]{read: func(_ *picture, d *drawn, v string) error {
		if d.server.Stranger == nil {
			return fmt.Errorf("goes with stranger=")
		}
		d.server.Stranger.Why = none(v)
		return nil
	}, show: func(_ *picture, d *drawn) string {
		if d.server.Stranger == nil {
			return ""
		}
		return orNone(d.server.Stranger.Why)
	}}},
	{"left_out", "5", nothing, number(31, func(d *drawn) *int { return &d.server.LeftOut })},
}

const failureNames = "refused|reset|timeout|shutdown|too_many_connections|access_denied|tls|" +
	"not_mysql|no_such_host|not_admitted|other"

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
	topology.Barred:   "not admitted",
	topology.Other:    "the probe failed",
}

func readDown(p *picture, d *drawn, v string) error {
	if v == "no" {
		d.server.Probe = topology.Probe{Asked: p.at}
		if d.server.Instance != nil {
			d.server.Probe.Answered = p.at
		}
		return nil
	}
	f := topology.Failure(v)
	if failureTexts[f] == "" {
		return fmt.Errorf("%q is no failure", clip(v))
	}
	p.fail(d, f, 5*time.Second)
	return nil
}

func readSince(p *picture, d *drawn, v string) error {
	if d.server.Probe.Failure == topology.OK {
		return fmt.Errorf("only a server that is down has since=")
	}
	since, err := duration(v)
	if err == nil {
		p.fail(d, d.server.Probe.Failure, since)
	}
	return err
}

func readAsked(p *picture, d *drawn, v string) error {
	if v == "stale" {
		d.stale = true
		return nil
	}
	err := p.readAgo(v, &d.server.Probe.Asked)
	switch {
	case d.server.Probe.Failure == topology.OK:
		d.server.Probe.Answered = d.server.Probe.Asked
	case d.server.Probe.Asked.IsZero(): // a server that was never asked can't have failed
		d.server.Probe = topology.Probe{}
	}
	return err
}

// leftFiltering follows the time of a departure where the replica filtered what it replicated.
const leftFiltering = ",filters"

// readLeft reads which source the server was seen to follow, and how long ago it was found to follow none.
func readLeft(p *picture, d *drawn, v string) error {
	v, filters := strings.CutSuffix(v, leftFiltering)
	host, ago, _ := strings.Cut(v, ",")
	from, err := parseSource(host)
	if err != nil {
		return err
	}
	d.server.Left = &topology.Departure{From: from, Filters: filters}
	return p.readAgo(cmp.Or(ago, "1s"), &d.server.Left.Seen)
}

// readStranger reads why no decision may rest on the server, and for how long that has been known.
func readStranger(p *picture, d *drawn, v string) error {
	kind, ago, timed := strings.Cut(v, ",")
	d.server.Stranger = &topology.Stranger{Kind: topology.StrangerKind(kind)}
	if !slices.Contains(topology.StrangerKinds(), d.server.Stranger.Kind) {
		return fmt.Errorf("%q is no reason", clip(kind))
	}
	if !timed {
		return nil
	}
	return p.readAgo(ago, &d.server.Stranger.Since)
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
