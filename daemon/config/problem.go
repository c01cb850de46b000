package config

import (
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a configuration file.
type Problem struct {
	File string `json:"file"`
	Line int    `json:"line"`          // 0 when it concerns no line
	Key  string `json:"key,omitempty"` // such as "discovery.poll"; "policy[1].clusters" in the second policy
	Says string `json:"says"`          // what is wrong, and what to do

	harmless bool // a daemon runs all the same: see Load
}

func (p Problem) String() string {
	where := p.File
	if p.Line > 0 {
		where += ":" + strconv.Itoa(p.Line)
	}
	if p.Key != "" {
		where += ": " + p.Key
	}
	return where + ": " + p.Says
}

// Problems are all that is wrong with a file, in the order of its lines.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// fatal are those that keep a daemon from running.
func (p Problems) fatal() Problems {
	return slices.DeleteFunc(slices.Clone(p), func(one Problem) bool { return one.harmless })
}
