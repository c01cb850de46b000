package pair

import (
	"context"
	"fmt"
	"net"
	"slices"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
	"orchestrator/haproxy"
)

// HAProxy is the proxy behind a runtime socket. Its servers are known by their addresses, whatever sections and servers
// are called there.
func HAProxy(r haproxy.Runtime, members []topology.Key) Proxy { return runtime{r, members} }

type runtime struct {
	haproxy.Runtime
	members []topology.Key
}

// Servers are those that are members.
func (r runtime) Servers(ctx context.Context) ([]ProxyServer, error) {
	var out []ProxyServer
	err := r.each(ctx, topology.Key{}, func(k topology.Key, s haproxy.Server) error {
		out = append(out, ProxyServer{Key: k, Name: s.Backend + "/" + s.Name, Up: s.Serves(), State: s.Status,
			Sessions: s.Sessions})
		return nil
	})
	return out, err
}

// Ready lets checks decide.
func (r runtime) Ready(ctx context.Context, k topology.Key) error {
	return r.state(ctx, k, haproxy.Ready)
}

// Maintain serves nobody there.
func (r runtime) Maintain(ctx context.Context, k topology.Key) error {
	return r.state(ctx, k, haproxy.Maint)
}

func (r runtime) state(ctx context.Context, k topology.Key, state haproxy.State) error {
	return r.each(ctx, k, func(_ topology.Key, s haproxy.Server) error {
		return r.SetState(ctx, s.Backend, s.Name, state)
	})
}

// ShutSessions ends what goes through the proxy to it.
func (r runtime) ShutSessions(ctx context.Context, k topology.Key) error {
	return r.each(ctx, k, func(_ topology.Key, s haproxy.Server) error { return r.Shutdown(ctx, s.Backend, s.Name) })
}

// each calls do for the servers that are a member; or all members, when none is named.
func (r runtime) each(ctx context.Context, only topology.Key, do func(topology.Key, haproxy.Server) error) error {
	servers, err := r.Runtime.Servers(ctx, "")
	if err != nil {
		return err
	}
	found := false
	for _, k := range r.members {
		if !only.IsZero() && k != only {
			continue
		}
		addresses := []string{server.Address(k)}
		if ips, err := net.DefaultResolver.LookupHost(ctx, k.Host); err == nil { // HAProxy shows what it has resolved
			for _, ip := range ips {
				addresses = append(addresses, server.Address(topology.Key{Host: ip, Port: k.Port}))
			}
		}
		for _, s := range servers {
			if slices.Contains(addresses, s.Address) {
				found = true
				if err := do(k, s); err != nil {
					return err
				}
			}
		}
	}
	if !found && !only.IsZero() {
		return fmt.Errorf("HAProxy at %s has no server %v: name it in the configuration as in backend.members",
			r.Socket, only)
	}
	if !found {
		return fmt.Errorf("HAProxy at %s has none of the members %v among its servers", r.Socket, r.members)
	}
	return nil
}
