package drawing

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// episode is a plan.Episode as a line holds it.
type episode struct {
	plan.Episode
	request string // ID of the request
}

// episodeFields: what an episode has done says which stage it has reached.
var episodeFields = []field[episode]{
	{"id", "ID", words(func(e *episode) *string { return &e.ID })},
	{"uuid", "UUID", words(func(e *episode) *string { return &e.FailedUUID })},
	{"code", "CODE", words(func(e *episode) *string { return (*string)(&e.Code) })},
	{"evidence", "TEXT", list(func(e *episode) *[]string { return &e.Evidence })},
	{"opened", "5s", moment(func(e *episode) *time.Time { return &e.Opened })},
	{"request", "ID", words(func(e *episode) *string { return &e.request })},
	{"touched", "HOST+HOST", keys(func(e *episode) *[]topology.Key { return &e.Touched }).then(expectStage)},
	{"candidate", "HOST", key(func(e *episode) *topology.Key { return &e.Candidate }).then(expectStage)},
	{"why", "TEXT", words(func(e *episode) *string { return &e.Why })},
	{"candidate_uuid", "UUID", words(func(e *episode) *string { return &e.CandidateUUID })},
	{"candidate_start", "1h", moment(func(e *episode) *time.Time { return &e.CandidateStart })},
	{"donor", "HOST", key(func(e *episode) *topology.Key { return &e.Donor })},
	{"drain_since", "2s", moment(func(e *episode) *time.Time { return &e.DrainSince })},
	{"unreached", `"HOST DONOR"`, codec[episode]{read: readUnreached, show: showUnreached, repeats: true}},
	{"events_off", `"HOST 1h 1h"`, codec[episode]{read: readEventsOff, show: showEventsOff, repeats: true}},
	{"fence_since", "2s", moment(func(e *episode) *time.Time { return &e.FenceSince })},
	{"promoted", "1s", moment(func(e *episode) *time.Time { return &e.Promoted }).then(expectStage)},
	{"opening", "HOST+HOST", keys(func(e *episode) *[]topology.Key { return &e.Opening })},
	{"had", "1000", number(64, func(e *episode) *uint64 { return &e.Had })},
	{"committed", "1s", moment(func(e *episode) *time.Time { return &e.Committed })},
	{"lost", `"HOST REASON"`, codec[episode]{read: readLost, show: showLost, repeats: true}},
	{"closed", "1s", moment(func(e *episode) *time.Time { return &e.Closed }).then(expectStage)},
	{"stage", "suspected|committed|chosen|promoted|ended",
		words(func(e *episode) *string { return (*string)(&e.Stage) })},
	{"outcome", "TEXT", words(func(e *episode) *string { return &e.Outcome })},
	{"fenced", "1s", moment(func(e *episode) *time.Time { return &e.Fenced })},
	{"acknowledged", "1s", codec[episode]{read: readAcknowledged, show: func(p *picture, e *episode) string {
		if e.Acknowledged == nil {
			return ""
		}
		return p.ago(e.Acknowledged.At)
	}}},
	{"acknowledged_by", "NAME", ofAcknowledgement(func(a *plan.Acknowledgement) *string { return &a.By })},
	{"comment", "TEXT", ofAcknowledgement(func(a *plan.Acknowledgement) *string { return &a.Comment })},
	{"challenged", "1s", moment(func(e *episode) *time.Time { return &e.Challenged })},
	{"failing", `"HOST TIMES REASON"`, codec[episode]{read: readFailing, show: showFailing, repeats: true}},
	{"abandoned", "HOST+HOST", keys(func(e *episode) *[]topology.Key { return &e.Abandoned })},
	{"left", "HOST+HOST", keys(func(e *episode) *[]topology.Key { return &e.Left })},
	{"unfinished", yesOrNo, truth(func(e *episode) *bool { return &e.Unfinished })},
	{"unacknowledged", yesOrNo, truth(func(e *episode) *bool { return &e.Unacknowledged })},
	{"blocked", "TEXT", words(func(e *episode) *string { return &e.Blocked })},
}

func (p *picture) readEpisode(st statement) error {
	c, err := p.clusterOf(&st)
	if err != nil {
		return err
	}
	failed, err := topology.ParseKey(st.args[1])
	if err != nil {
		return err
	}
	kind := plan.Kind(st.args[0])
	if kinds := plan.EpisodeKinds(); !slices.Contains(kinds, kind) {
		return fmt.Errorf("%q is no kind of episode; want one of %v", clip(st.args[0]), kinds)
	}
	e := p.expectEpisode(c.Cluster, kind, failed)
	if err := readFields(p, episodeFields, st.fields, &e); err != nil {
		return err
	}
	if slices.ContainsFunc(c.Episodes, func(o plan.Episode) bool { return o.ID == e.ID }) {
		return fmt.Errorf("%q was already said; give it another id=", clip(e.ID))
	}
	if e.request != "" {
		if e.Request = p.requests[c.Cluster][e.request]; e.Request == nil {
			return fmt.Errorf("request=%s: no line tells of this request; write one, with ended if it has ended",
				clip(e.request))
		}
	}
	if err := checkEpisode(e.Episode); err != nil {
		return err
	}
	if err := e.Check(); err != nil {
		return err
	}
	c.Episodes = append(c.Episodes, e.Episode)
	return nil
}

// expectEpisode is an episode that has just begun.
func (p *picture) expectEpisode(cluster string, kind plan.Kind, failed topology.Key) episode {
	e := plan.Episode{ID: fmt.Sprintf("%s/%v", kind, failed), Kind: kind, Cluster: cluster, Failed: failed,
		Code: analysis.DeadPrimary, Opened: p.at, Stage: plan.Suspected}
	if !kind.Promotes() {
		e.Code = analysis.DeadIntermediate
	}
	if d := p.byKey[failed]; d != nil && d.server.Instance != nil {
		e.FailedUUID = d.server.Instance.UUID
	}
	return episode{Episode: e}
}

// expectStage is the stage that an episode has reached by what is said of it, and how it ended.
func expectStage(_ *picture, e *episode) {
	promoted, closed := !e.Promoted.IsZero(), !e.Closed.IsZero()
	switch {
	case promoted && closed:
		e.Stage = plan.Ended
	case promoted:
		e.Stage = plan.Promoted
	case !e.Candidate.IsZero():
		e.Stage = plan.Chosen
	case len(e.Touched) > 0:
		e.Stage = plan.Committed
	default:
		e.Stage = plan.Suspected
	}
	switch {
	case promoted && closed:
		e.Outcome = fmt.Sprintf("%v replaces %v", e.Candidate, e.Failed)
	case closed:
		e.Outcome = "closed"
	default:
		e.Outcome = ""
	}
}

func readLost(_ *picture, e *episode, v string) error {
	host, why, _ := strings.Cut(v, " ")
	k, err := topology.ParseKey(host)
	if err == nil {
		e.Lost = append(e.Lost, plan.Lost{Key: k, Why: why})
	}
	return err
}

func showLost(_ *picture, e *episode) string {
	var out []string
	for _, l := range e.Lost {
		out = append(out, brief(l.Key)+" "+l.Why)
	}
	return strings.Join(out, between)
}

func readUnreached(_ *picture, e *episode, v string) error {
	candidate, donor, _ := strings.Cut(v, " ")
	k, err := topology.ParseKey(candidate)
	if err != nil {
		return err
	}
	from, err := topology.ParseKey(donor)
	e.Unreached = append(e.Unreached, plan.Unreached{Key: k, Donor: from})
	return err
}

func showUnreached(_ *picture, e *episode) string {
	var out []string
	for _, u := range e.Unreached {
		out = append(out, brief(u.Key)+" "+brief(u.Donor))
	}
	return strings.Join(out, between)
}

func readEventsOff(p *picture, e *episode, v string) error {
	host, rest, _ := strings.Cut(v, " ")
	k, err := topology.ParseKey(host)
	if err != nil {
		return err
	}
	off := plan.EventsOff{Key: k}
	last, first, series := strings.Cut(rest, " ")
	if err = p.readAgo(last, &off.At); err == nil && series {
		err = p.readAgo(first, &off.Since)
	}
	e.EventsOff = append(e.EventsOff, off)
	return err
}

func showEventsOff(p *picture, e *episode) string {
	var out []string
	for _, o := range e.EventsOff {
		text := brief(o.Key) + " " + p.ago(o.At)
		if !o.Since.IsZero() {
			text += " " + p.ago(o.Since)
		}
		out = append(out, text)
	}
	return strings.Join(out, between)
}

func readFailing(_ *picture, e *episode, v string) error {
	host, rest, _ := strings.Cut(v, " ")
	times, why, _ := strings.Cut(rest, " ")
	k, err := topology.ParseKey(host)
	f := plan.Failing{Key: k, Why: why}
	if err == nil {
		err = readNumber(times, 31, &f.Times)
	}
	if err == nil {
		e.Failing = append(e.Failing, f)
	}
	return err
}

func showFailing(_ *picture, e *episode) string {
	var out []string
	for _, f := range e.Failing {
		out = append(out, fmt.Sprintf("%s %d %s", brief(f.Key), f.Times, f.Why))
	}
	return strings.Join(out, between)
}

func readAcknowledged(p *picture, e *episode, v string) error {
	e.Acknowledged = &plan.Acknowledgement{By: "somebody"}
	return p.readAgo(v, &e.Acknowledged.At)
}

func ofAcknowledgement(at func(*plan.Acknowledgement) *string) codec[episode] {
	return codec[episode]{read: func(_ *picture, e *episode, v string) error {
		if e.Acknowledged == nil {
			return fmt.Errorf("goes with acknowledged=")
		}
		*at(e.Acknowledged) = v
		return nil
	}, show: func(_ *picture, e *episode) string {
		if e.Acknowledged == nil {
			return ""
		}
		return *at(e.Acknowledged)
	}}
}

func (p *picture) writeEpisode(c Cluster, e plan.Episode) []string {
	actual, expected := episode{Episode: e}, p.expectEpisode(c.Cluster, e.Kind, e.Failed)
	if e.Request != nil {
		actual.request = e.Request.ID
	}
	return append([]string{argument(string(e.Kind)), brief(e.Failed)},
		writeFields(p, episodeFields, &actual, &expected)...)
}
