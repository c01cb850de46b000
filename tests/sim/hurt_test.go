package sim

import "testing"

// Worlds that hurt a property once, each with what was wrong. They are played always.
func TestWorldsThatHurtOnce(t *testing.T) {
	for _, c := range []struct {
		wrong string
		play  func(uint64) (Stats, *Violation)
		seed  uint64
	}{
		{"the replicas of an emptied primary that died had errant transactions", Run, 41533},
		{"the candidate was kept although another could be followed by more", RunDeaths, 59657},
		{"an emptied intermediate died, and was replaced beside the primary", Run, 61168},
		{"a candidate below another replica, whose receiver was stopped, was forgotten", Run, 62787},
		{"the same, when the primary was back", Run, 70448},
		{"the same, when another server was adopted", Run, 102305},
		{"a former candidate at whose address another server took writes", Run, 103454},
		{"a former candidate was detached again and again", Run, 188953},
		{"a candidate that fetched what it lacks could not be compared any more", RunReady, 194116},
		{"a replica was moved and not started when its new source fell silent", Run, 136667},
		{"who had as much as a replica without GTID had fallen silent", Run, 63913},
		{"somebody opened the candidate, which had not applied what it received", Run, 71901},
		{"the only acknowledger had come back emptied", Run, 166423},
		{"the primary had counted another acknowledger than the one in reach", Run, 169586},
		{"what the promoted server wrote was errant below one that had been moved under it", RunDeaths, 399459},
		{"a replica without GTID below a dead intermediate had more, and the bound was silent", RunDeaths, 70937},
		{"what a dead server had shown of a replica without GTID did not count", RunDeaths, 65519},
		{"a replica that was stopped to be asked hung when its source answered again", Run, 704530},
		{"two candidates that could not reach the only donor took turns for ever", RunReady, 77815},
		{"a lost fence of a read-only server whose events write was repeated after 30 s only", Run, 218641},
		{"a candidate whose donor has no name that resolves was chosen again", RunReady, 233095},
		{"a replica that was just moved had acknowledged, and died with the primary", RunDeaths, 30577},
		{"an emptied intermediate died, and was replaced beside the primary, which was cut off", Run, 265294},
		{"replicas were moved to a server that a person had opened, with must_not and filters", Run, 307207},
		{"a promoted server came back as another, was fenced, and stayed shut without an event", Run, 293422},
		{"a replica that hung in the middle of a restart of its receiver was forgotten by a commit", Run, 307387},
		{"a reason on record changed with the GTIDs in it", Run, 293083},
		{"a promoted server was told to wait for acknowledgements again, and died before it was asked", Run, 345702},
		{"acknowledgers that were still to be moved under the one that failed did not count", Run, 410969},
		{"a candidate below another replica counted as one that had acknowledged", Run, 381343},
		{"another stood where one was promoted, and a replica was moved by half", Run, 354414},
		{"a replica was moved by half, its new source fell silent, and only its receiver was started", Run, 368180},
		{"the applier of a replica that was moved by half stood still for ever", Run, 704745},
		{"what a replica had that a half-done failover had detached did not count", Run, 562849},
		{"its source was emptied, and its place in the old binary log was compared with the new one", Run, 564861},
		{"the same, and the source was out of sight", Run, 578703},
		{"a former primary with another UUID was not fenced: a silent replica of a half-done failover", Run, 643048},
		{"one that logs nothing was to fetch what others lacked, and they could not follow it then", Run, 673892},
		{"what the only acknowledger had, which was taken away for tests just before, did not count", Run, 758945},
		{"a candidate below another replica, whose receiver was stopped, was passed over and forgotten", Run, 784389},
		{"the applier of a replica that came home by half stood still for ever", Run, 793041},
	} {
		if _, v := c.play(c.seed); v != nil {
			t.Errorf("%s: %v", c.wrong, v)
		}
	}
}
