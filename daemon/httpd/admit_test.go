package httpd

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/daemon/crowd"
)

func root(t *testing.T, o Options, mounts ...Mount) *Root {
	t.Helper()
	mounts = append(mounts, Mount{Method: "POST", Path: "/change", Access: Administer, Handler: nothing},
		Mount{Method: "GET", Path: "/read", Access: Read, Handler: nothing},
		Mount{Method: "GET", Path: "/health", Access: Open, Handler: nothing})
	h, err := New(o, mounts...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// status sends a request as a client at an address would, with a token where there is one.
func status(h *Root, from, method, url, token string) int {
	r := httptest.NewRequest(method, url, nil)
	r.RemoteAddr = from + ":4711"
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

func TestWhoGuessesTokensIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const right = "a token that nobody guesses"
		h := root(t, Options{Credentials: Credentials{Token: right}})
		change := func(from, token string) int { return status(h, from, "POST", "http://x/change", token) }
		want := func(what string, got, want int) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %d, want %d", what, got, want)
			}
		}
		want("the right one", change("10.0.0.1", right), 204)
		for i := range guessesAtFirst {
			want("a wrong one", change("10.0.0.1", fmt.Sprint("wrong", i)), 401)
			want("a wrong one", change("10.0.0.2", fmt.Sprint("wrong", i)), 401)
			want("the same wrong one, as of a program that was not told", change("10.0.0.4", "old"), 401)
			want("the same wrong one, as of a program that was not told", change("10.0.0.4", "old"), 401)
		}
		want("one too many", change("10.0.0.1", "wrong"), 429)
		want("the right one, where a wrong one was repeated", change("10.0.0.4", right), 204)
		want("without any", change("10.0.0.1", ""), 401)
		want("one that was right before", change("10.0.0.1", right), 204)
		want("the right one, at last", change("10.0.0.2", right), 429)
		want("of another client", change("10.0.0.3", right), 204)
		time.Sleep(guessEvery)
		want("after a while", change("10.0.0.2", right), 204)
		h.SetCredentials(Credentials{Token: "another token that nobody guesses"})
		want("what is right no more", change("10.0.0.1", right), 401)
	})
}

func TestGuessersThatComeFromEverywhereAreForgotten(t *testing.T) {
	g := newGuesses()
	now := time.Unix(1, 0)
	for i := range 2 * guessers {
		g.compared(crowd.Client(fmt.Sprintf("[2001:db8:%x::1]:1", i)), digest{}, false, now.Add(time.Duration(i)))
	}
	if len(g.by) > guessers {
		t.Errorf("%d are remembered", len(g.by))
	}
}

func TestARequestForAnotherNameIsRefused(t *testing.T) {
	h := root(t, Options{Hosts: []string{"localhost", "orc.example.com"}})
	for host, want := range map[string]int{"localhost:3000": 204, "LOCALHOST.": 204, "orc.example.com": 204,
		"127.0.0.1:3000": 204, "[::1]:3000": 204, "10.1.1.1": 204,
		"evil.example.com:3000": 421, "localhost.evil": 421} {
		if got := status(h, "127.0.0.1", "GET", "http://"+host+"/read", ""); got != want {
			t.Errorf("%s: %d, want %d", host, got, want)
		}
		if got := status(h, "127.0.0.1", "GET", "http://"+host+"/health", ""); got != 204 {
			t.Errorf("%s: a health check is answered with %d", host, got)
		}
	}
}

// One client that asks for more than its half waits, and is told so; another one and health checks don't.
func TestOneClientTakesHalfOfTheTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		hangs := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-end })
		h := root(t, Options{Requests: 4}, Mount{Method: "GET", Path: "/hangs", Access: Read, Handler: hangs})
		codes := make(chan int, 8)
		get := func(from, path string) { codes <- status(h, from, "GET", "http://x"+path, "") }
		for range 3 {
			go get("10.0.0.1", "/hangs")
		}
		synctest.Wait()
		if code := status(h, "10.0.0.2", "GET", "http://x/read", ""); code != 204 {
			t.Errorf("another client: %d", code)
		}
		time.Sleep(patience)
		if code := <-codes; code != http.StatusTooManyRequests {
			t.Errorf("the third at the same time: %d", code)
		}
		for range 2 {
			go get("10.0.0.2", "/hangs")
		}
		synctest.Wait()
		if code := status(h, "10.0.0.3", "GET", "http://x/health", ""); code != 204 {
			t.Errorf("a health check: %d", code)
		}
		if code := status(h, "10.0.0.3", "GET", "http://x/read", ""); code != http.StatusServiceUnavailable {
			t.Errorf("when all turns are taken: %d", code)
		}
		close(end)
		for range 4 {
			if code := <-codes; code != 200 {
				t.Errorf("one that had its turn: %d", code)
			}
		}
		if len(h.turns.by) != 0 {
			t.Errorf("%d clients are remembered", len(h.turns.by))
		}
	})
}

func TestWhatStrangersSendDoesNotFillTheLog(t *testing.T) {
	var log bytes.Buffer
	h := root(t, Options{Credentials: Credentials{Token: "a token that nobody guesses"},
		Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 1000 {
		status(h, "10.0.0.1", "POST", "http://x/change?"+strings.Repeat("x", 5000), "")
		status(h, "10.0.0.1", strings.Repeat("M", 5000), "http://x/"+strings.Repeat("x", 5000), "")
	}
	if log.Len() > 40*burst*20 {
		t.Errorf("%d bytes were logged", log.Len())
	}
	r := httptest.NewRequest(strings.Repeat("M", 5000), "http://x/change", nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Body.Len() > 1000 {
		t.Errorf("%d bytes came back", w.Body.Len())
	}
}
