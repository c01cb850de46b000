package hostile_test

import (
	"testing"

	"orchestrator/tests/hostile"
)

// A few bytes must not stop, blind or fill the daemon: what a server claims is not believed.
func TestServersThatAnswerBadly(t *testing.T) {
	r := begin(t)
	for _, act := range hostile.Answers {
		r.serve(2, nil, act)
	}
	for _, act := range hostile.Greetings {
		r.serve(2, act, hostile.Silent)
	}
	r.failsOver(nil)
}

// Hundreds of servers that all answer as much as they can share the room for long answers.
func TestManyServersThatNeverEnd(t *testing.T) {
	r := begin(t)
	for _, name := range []string{"endless rows", "as many columns as are allowed", "endless answers"} {
		r.serve(60, nil, hostile.Answers[name])
	}
	r.failsOver(nil)
}

// What is within the budget of an answer is kept as long as the server is watched: so each text has a length, whatever
// the server says.
func TestServersThatSayMuchOfThemselves(t *testing.T) {
	r := begin(t)
	r.serve(20, nil, hostile.Wordy(400_000))
	f := r.failsOver(nil)
	longest := 0
	f.Await("one of them has answered", func() bool {
		all, err := f.API.Instances(f.Ctx, "")
		f.Must(err)
		for _, v := range all {
			if v.Instance != nil && len(v.Instance.Channels) > 0 {
				longest = max(longest, len(v.Instance.Channels[0].IOError))
			}
		}
		return longest > 1_000
	})
	if longest > 10_000 {
		t.Errorf("a message of %d bytes is kept", longest)
	}
}

// Hundreds of probes that all last until their deadline blind nobody.
func TestHundredsOfSilentServers(t *testing.T) {
	r := begin(t)
	for _, name := range []string{"silent", "a row longer than its packet", "a slow trickle"} {
		r.serve(233, nil, hostile.Answers[name])
	}
	f := r.failsOver(nil)
	f.Await("it is ready afterwards", func() bool {
		s, err := f.API.Status(f.Ctx)
		return err == nil && s.NotReady == ""
	})
}
