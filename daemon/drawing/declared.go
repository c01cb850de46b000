package drawing

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"orchestrator/daemon/topology"
)

// declaredAttributes say what people declared about a server.
var declaredAttributes = []attribute{
	{"rule", "prefer|neutral|prefer_not|must_not", nothing,
		codec[drawn]{read: func(_ *picture, d *drawn, v string) error {
			if d.server.Rule = topology.Rule(v); d.server.Rule == topology.Neutral {
				d.server.Rule = ""
			}
			return oneOf(v, "prefer", "neutral", "prefer_not", "must_not")
		}, show: func(_ *picture, d *drawn) string { return string(d.server.Rule) }}},
	{"downtime", "1h", nothing, codec[drawn]{read: func(p *picture, d *drawn, v string) error {
		rest, err := duration(v)
		d.server.Downtime = &topology.Downtime{Owner: "somebody", Reason: "work", Until: p.at.Add(rest)}
		return err
	}, show: func(p *picture, d *drawn) string {
		if d.server.Downtime == nil {
			return ""
		}
		return durationText(d.server.Downtime.Until.Sub(p.at))
	}}},
	{"owner", "NAME", nothing, ofDowntime(func(t *topology.Downtime) *string { return &t.Owner })},
	{"reason", "TEXT", nothing, ofDowntime(func(t *topology.Downtime) *string { return &t.Reason })},
	{"tag", "NAME:VALUE", nothing, codec[drawn]{read: func(_ *picture, d *drawn, v string) error {
		name, value, _ := strings.Cut(v, ":")
		if d.server.Tags == nil {
			d.server.Tags = map[string]string{}
		}
		d.server.Tags[name] = value
		return nil
	}, show: showTags, repeats: true}},
}

func ofDowntime(at func(*topology.Downtime) *string) codec[drawn] {
	return codec[drawn]{read: func(_ *picture, d *drawn, v string) error {
		if d.server.Downtime == nil {
			return fmt.Errorf("goes with downtime=")
		}
		*at(d.server.Downtime) = none(v)
		return nil
	}, show: func(_ *picture, d *drawn) string {
		if d.server.Downtime == nil {
			return ""
		}
		return orNone(*at(d.server.Downtime))
	}}
}

func showTags(_ *picture, d *drawn) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(d.server.Tags)) {
		if value := d.server.Tags[name]; value != "" {
			name += ":" + value
		}
		out = append(out, name)
	}
	return strings.Join(out, between)
}
