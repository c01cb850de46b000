package httpd

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How many wrong tokens a client may try at first, and how often it may try another after that.
const (
	guessesAtFirst = 10
	guessEvery     = 5 * time.Second
	// guessers is how many clients are remembered. When there are more, the one that guessed longest ago is forgotten.
	guessers = 4096
	// remembered is how many tokens of a client are.
	remembered = 64
)

type digest [sha256.Size]byte

// guesses slows down clients that try one wrong token after the other. To try the same one again is no guess: a program
// that was not told of a new token does that. And a token that was right before from the same address still may be:
// behind a proxy, nobody is locked out because a neighbour guesses.
type guesses struct {
	mu sync.Mutex
	by map[netip.Addr]*guesser
}

type guesser struct {
	allowed *rate.Limiter
	last    time.Time
	known   map[digest]bool // what it sent before
}

func newGuesses() *guesses { return &guesses{by: map[netip.Addr]*guesser{}} }

// may says whether a token is compared at all.
func (g *guesses) may(client netip.Addr, token digest, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	one := g.by[client]
	return one == nil || one.known[token] || one.allowed.TokensAt(now) >= 1
}

// compared remembers a token that was. One that is new and wrong counts as a guess.
func (g *guesses) compared(client netip.Addr, token digest, right bool, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	one := g.guesser(client, now)
	if one.known[token] {
		return
	}
	if !right {
		one.last = now
		one.allowed.AllowN(now, 1)
	}
	if len(one.known) < remembered {
		one.known[token] = true
	}
}

func (g *guesses) guesser(client netip.Addr, now time.Time) *guesser {
	one := g.by[client]
	if one != nil {
		return one
	}
	if len(g.by) >= guessers {
		var oldest netip.Addr
		for a, other := range g.by {
			if o := g.by[oldest]; o == nil || other.last.Before(o.last) {
				oldest = a
			}
		}
		delete(g.by, oldest)
	}
	one = &guesser{allowed: rate.NewLimiter(rate.Every(guessEvery), guessesAtFirst), last: now,
		known: map[digest]bool{}}
	g.by[client] = one
	return one
}
