package pair

import (
	"context"
	"time"
)

// Status is the pair at a glance.
type Status struct {
	At      time.Time     `json:"at"`
	Members []Member      `json:"members"`
	Proxy   []ProxyServer `json:"haproxy,omitempty"`
	// ProxyErr and CompareErr say what could not be asked.
	ProxyErr   string        `json:"haproxy_error,omitempty"`
	Compared   *Verification `json:"compared,omitempty"`
	CompareErr string        `json:"compare_error,omitempty"`
	// Choice is whom a daemon that remembers nothing would serve.
	Choice Choice `json:"choice"`
}

// Status looks at everything once. What can't be asked is part of the answer.
func (p *Pair) Status(ctx context.Context) Status {
	s := Status{At: time.Now(), Members: p.Look(ctx)}
	var k Known
	if p.o.Proxy != nil {
		var err error
		if s.Proxy, err = p.o.Proxy.Servers(ctx); err != nil {
			s.ProxyErr = err.Error()
		}
		for _, v := range s.Proxy {
			if v.Up {
				k.Previous = v.Key
			}
		}
	}
	s.Choice = Choose(s.Members, k)
	comparable := len(s.Members) == 2
	for _, m := range s.Members {
		comparable = comparable && m.Up && m.Tables
	}
	if !comparable {
		return s
	}
	v, err := p.Verify(ctx, false)
	if err != nil {
		s.CompareErr = err.Error()
		return s
	}
	s.Compared = &v
	return s
}
