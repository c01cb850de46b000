package drawing

import (
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/topology"
)

// attribute is one thing that a line can say of a server.
type attribute struct {
	name  string
	takes string // the values, for people
	needs need
	codec[drawn]
}

// need is what a server must have for an attribute to mean something.
type need int

const (
	nothing  need = iota
	instance      // it answered once
	channel       // it has a source
)

// The attributes are read and printed in this order: what sets expectations stands before what depends on it. What a
// server has is read when the identities of all servers are known, because sets of transactions name them.
var (
	firstPass  = identityAttributes
	secondPass = slices.Concat(
		probeAttributes, settingAttributes, channelAttributes, transactionAttributes, moreAttributes,
		declaredAttributes)
	passes     = [][]attribute{firstPass, secondPass}
	attributes = slices.Concat(passes...)
)

// short are the usual spellings.
var short = map[string]string{
	"down": "down=refused", "never": "never=yes", "stale": "asked=stale", "unasked": "asked=never",
	"rw": "mode=rw", "ro": "mode=ro", "sro": "mode=sro",
	"nobinlog": "log_bin=no", "nologupdates": "log_updates=no", "nogtid": "gtid=no", "nosource": "source=none",
	"prefer": "rule=prefer", "neutral": "rule=neutral", "prefer_not": "rule=prefer_not", "must_not": "rule=must_not",
	"downtime": "downtime=1h", "semisync": "semisync=on", "filters": "filters=yes", "full": "full=yes",
	"binlog_filters": "binlog_filters=yes", "ssl": "ssl=yes", "scheduler": "scheduler=yes",
	"promoted": "promoted=yes", "stranger": "stranger=unconfirmed",
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

// missing says why the attribute means nothing here.
func (a *attribute) missing(d *drawn) error {
	if a.needs > nothing && d.server.Instance == nil {
		return fmt.Errorf("a server that never answered has no %s", a.name)
	}
	if a.needs == channel && len(d.server.Instance.Channels) == 0 {
		return fmt.Errorf("a server without a source has no %s", a.name)
	}
	return nil
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
			return nil, fmt.Errorf("%q is no attribute; the nearest is %q", clip(word), nearestAttribute(clip(name)))
		}
		if !valued {
			return nil, fmt.Errorf("%q needs a value: %s=%s", clip(word), name, a.takes)
		}
		if len(given[name]) > 0 && !a.repeats {
			return nil, fmt.Errorf("%q: %s was already said", clip(word), name)
		}
		given[name] = append(given[name], value)
	}
	return given, nil
}

// nearestAttribute is the attribute, in its usual spelling, that takes the fewest changes of letters.
func nearestAttribute(word string) string {
	usual := map[string]string{}
	for _, a := range attributes {
		usual[a.name] = a.name + "=" + a.takes
	}
	for name := range short {
		usual[name] = name
	}
	return usual[nearest(word, usual)]
}

// instance and channel are what attributes speak of; missing has made sure that they are there.
func (d *drawn) instance() *topology.Instance { return d.server.Instance }

func (d *drawn) channel() *topology.Channel { return &d.server.Instance.Channels[0] }
