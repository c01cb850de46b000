package storetest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"orchestrator/backend"
)

const crashDir = "STORETEST_CRASH_DIR"

// RunCrash kills a writing process with SIGKILL, several times, at whatever it is doing then: afterwards every
// acknowledged write is there, and what was written together is there whole or not at all. The child is the test
// program itself, running the same test.
func RunCrash(t *testing.T, open Opener) {
	if dir := os.Getenv(crashDir); dir != "" {
		writeUntilKilled(t, open(t, dir))
		return
	}
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil { // where the store is, is decided here
		t.Fatal(err)
	}
	acknowledged := -1
	for round := range 5 {
		acknowledged = max(acknowledged, killWriter(t, dir, time.Duration(20+37*round)*time.Millisecond))
		s := open(t, dir)
		there := map[string]int{}
		for _, r := range everything(t, s) { // at one moment: a server may still be at what the writer sent last
			there[r.Kind]++
		}
		if there["first"] != there["second"] {
			t.Fatalf("of pairs written together there are %v", there)
		}
		if there["first"] <= acknowledged {
			t.Fatalf("there are %v, and pair number %d was acknowledged", there, acknowledged)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if acknowledged < 0 {
		t.Fatal("the writer was always killed before it had written anything: this test has shown nothing")
	}
}

// Crashing says that this process is the one that RunCrash kills: it is to do nothing but to call RunCrash again.
func Crashing() bool { return os.Getenv(crashDir) != "" }

func writeUntilKilled(t *testing.T, s backend.Store) {
	there, err := s.List(t.Context(), "first")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("\nready")
	for i := len(there); i < len(there)+1_000_000; i++ { // killed long before
		key := strconv.Itoa(i)
		if err := s.Put(t.Context(), rec("first", key, 1, "w"), rec("second", key, 1, "w")); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("wrote %d\n", i)
	}
}

// killWriter returns the last number that the child said it had written, or -1.
func killWriter(t *testing.T, dir string, after time.Duration) int {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	last, ready := -1, false
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var n int
		if _, err := fmt.Sscanf(lines.Text(), "wrote %d", &n); err == nil {
			last = n
		} else if lines.Text() == "ready" {
			ready = true
			time.AfterFunc(after, func() { child.Process.Kill() })
		}
	}
	child.Wait() // it was killed, and says so
	if !ready || ctx.Err() != nil {
		t.Fatalf("the writer did not come to writing (%v)", ctx.Err())
	}
	return last
}
