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
