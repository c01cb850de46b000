package drawing

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"orchestrator/daemon/topology"
)

// identityAttributes say who a server is, and where it stands.
var identityAttributes = []attribute{
	{"of", "CLUSTER", nothing, codec[drawn]{read: func(p *picture, d *drawn, v string) error {
		d.server.Cluster = p.clusterName(v)
		return nil
	}, show: func(_ *picture, d *drawn) string { return d.server.Cluster }}},
	{"mysql", "8.4.0", instance, version(topology.MySQL)},
	{"mariadb", "10.11.6", instance, version(topology.MariaDB)},
	{"uuid", "UUID", instance, text(func(d *drawn) *string { return &d.instance().UUID })},
	{"id", "SERVER_ID", instance, number(32, func(d *drawn) *uint32 { return &d.instance().ServerID })},
	{"detached", "HOST", instance, codec[drawn]{read: func(_ *picture, d *drawn, v string) error {
		return d.setSource("//" + v)
	}, show: showDetached}},
	{"source", "HOST|none", instance, codec[drawn]{read: func(_ *picture, d *drawn, v string) error {
		return d.setSource(v)
	}, show: showSource}},
	{"spelt", "HOST|none", channel, key(func(d *drawn) *topology.Key { return &d.channel().Spelt })},
	{"channel", "NAME", channel, codec[drawn]{read: func(_ *picture, d *drawn, v string) error {
		d.channel().Name = v
		return nil
	}, show: func(_ *picture, d *drawn) string { return d.channel().Name }}},
	{"also", "HOST|NAME@HOST", instance, codec[drawn]{read: readAlso, show: showAlso, repeats: true}},
	{"names", "HOST+HOST|none", nothing, keys(func(d *drawn) *[]topology.Key { return &d.server.Names })},
	{"doubtful", "HOST+HOST|none", nothing, keys(func(d *drawn) *[]topology.Key { return &d.server.Doubtful })},
	{"promoted", "yes|no", nothing, truth(func(d *drawn) *bool { return &d.promoted })},
	{"unusable", "TEXT", instance, list(func(d *drawn) *[]string { return &d.instance().Unusable })},
	{"strangers", "TEXT", instance, list(func(d *drawn) *[]string { return &d.instance().Strangers })},
	{"ungranted", `"GRANT: without it, TEXT"`, instance, codec[drawn]{read: readUngranted, show: showUngranted,
		repeats: true}},
	// Last, because the others need an instance to speak of.
	{"never", "yes", nothing, codec[drawn]{read: func(_ *picture, d *drawn, v string) error {
		d.server.Instance = nil
		return yes(v, new(bool))
	}, show: func(_ *picture, d *drawn) string {
		if d.server.Instance == nil {
			return "yes"
		}
		return ""
	}}},
}

func version(f topology.Flavor) codec[drawn] {
	return codec[drawn]{read: func(_ *picture, d *drawn, v string) error {
		_, version, err := topology.ParseVersion(v)
		d.flavor, d.version = f, version
		d.instance().Flavor, d.instance().Version = f, version
		return err
	}, show: func(_ *picture, d *drawn) string {
		if d.instance().Flavor != f {
			return ""
		}
		return d.instance().Version.String()
	}}
}

func (d *drawn) setSource(text string) error {
	if text == "none" {
		d.instance().Channels = nil
		return nil
	}
	k, err := parseSource(text)
	if text == unknown {
		k, err = topology.Key{}, nil
	}
	if err == nil {
		d.instance().Channels = []topology.Channel{{Source: k}}
	}
	return err
}

// unknown stands for a source whose name is none: see topology.Channel.
const unknown = "unknown"

func showSource(_ *picture, d *drawn) string {
	switch cs := d.instance().Channels; {
	case len(cs) == 0:
		return "none"
	case cs[0].Source.IsZero():
		return unknown
	case cs[0].Source.Detached():
		return "detached"
	default:
		return brief(cs[0].Source)
	}
}

func showDetached(_ *picture, d *drawn) string {
	if cs := d.instance().Channels; len(cs) > 0 && cs[0].Source.Detached() {
		return brief(cs[0].Source.Attached())
	}
	return ""
}

func readAlso(_ *picture, d *drawn, v string) error {
	host, name := v, v
	if i := strings.LastIndexByte(v, '@'); i >= 0 {
		name, host = v[:i], v[i+1:]
	}
	k, err := parseSource(host)
	if err != nil {
		return err
	}
	if len(d.instance().Channels) == 0 && name == v {
		name = "" // the only source of a root
	}
	d.instance().Channels = append(d.instance().Channels, topology.Channel{Name: name, Source: k})
	return nil
}

func showAlso(_ *picture, d *drawn) string {
	var out []string
	for n, c := range d.instance().Channels {
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
}

// UUID is the UUID of a server whose line gives none.
func UUID(k topology.Key) string {
	h := sha256.Sum256([]byte(k.String()))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// ServerID is the server_id of a server whose line gives none: its port, where that is not the usual one; the number at
// the end of the host's first name (db1, db1.example.com: 1) or of its address; else a number made from the key.
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

// parseSource is topology.ParseKey that allows a detached source.
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
	if k.Port == topology.DefaultPort && !strings.Contains(k.Host, ":") && !slices.Contains(reserved, k.Host) {
		return k.Host
	}
	return k.String()
}

// reserved words have a meaning of their own where a server is named: such a host is written with its port.
var reserved = []string{"none", "unknown", "detached", "off", "thresholds", "policy",
	"request", "episode", "claim", "peer"}

// withoutIt parts a GRANT from what is lost without it.
const withoutIt = ": without it, "

func readUngranted(_ *picture, d *drawn, v string) error {
	grant, without, ok := strings.Cut(v, withoutIt)
	if !ok {
		return fmt.Errorf("want GRANT%sTEXT", withoutIt)
	}
	i := d.instance()
	i.Ungranted = append(i.Ungranted, topology.Ungranted{Grant: grant, Without: without})
	return nil
}

func showUngranted(_ *picture, d *drawn) string {
	var out []string
	for _, u := range d.instance().Ungranted {
		out = append(out, u.Grant+withoutIt+u.Without)
	}
	return strings.Join(out, between)
}
