package mysql

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// mostRegistered is how many of those that have registered are read: a server tells of anybody who registers.
const mostRegistered = 10_000

// registered asks for those that have registered. A server takes a while to list more than are read, and a recovery
// asks after each of its steps: then what it has listed stays, until it would be asked without one.
func (p *poll) registered(ctx context.Context) []question {
	n, i := p.known, &p.known.instance
	if n.endless && p.now.Sub(n.listedAt) < readAllEvery {
		return nil
	}
	if i.Registered, i.Registrations = nil, nil; !i.LogBin || p.crowded {
		return nil
	}
	replicas := p.conn.Dialect.Say(server.Replicas)
	replicas.Most = mostRegistered
	return []question{{Statement: replicas, read: func(rows []server.Row) error {
		n.endless, n.listedAt = len(rows) == mostRegistered, p.now
		return n.readRegistered(ctx, p.conn, rows)
	}}}
}

// readRegistered lists the replicas at the addresses that they report, and counts who reads the binary log. A replica
// that reports only its port is looked for where the binary log dump threads' clients come from, where that leaves no
// doubt.
func (n *known) readRegistered(ctx context.Context, c *server.Conn, rows []server.Row) error {
	i := &n.instance
	found, ports, others := map[topology.Registration]bool{}, map[int][]topology.Registration{}, 0
	for _, r := range rows {
		host, port := r.Get("host"), int(r.Uint("port"))
		one := topology.Registration{ServerID: uint32(r.Uint("server_id")), UUID: r.Get("replica_uuid", "slave_uuid")}
		switch k, err := topology.MakeKey(host, port); {
		case port == 0, noServer(r, c.Dialect): // a reader of binary logs that is no server
			others++
		case host == "":
			ports[port] = append(ports[port], one)
		case err != nil:
			i.Unusable = append(i.Unusable, fmt.Sprintf("a replica with server_id %s that registered as %q, port %d",
				r.Get("server_id"), host, port))
		default:
			one.Key = k
			found[one] = true
		}
	}
	if len(ports) > 0 {
		hosts, err := n.dumpHosts(ctx, c)
		if err != nil {
			return err
		}
		if len(ports) == 1 || len(hosts) == 1 {
			for port, all := range ports {
				for host := range hosts {
					for _, one := range all {
						one.Key = topology.Key{Host: host, Port: port}
						found[one] = true
					}
				}
			}
		}
	}
	i.Registrations = slices.SortedFunc(maps.Keys(found), func(a, b topology.Registration) int {
		return cmp.Or(a.Key.Compare(b.Key), cmp.Compare(a.ServerID, b.ServerID), cmp.Compare(a.UUID, b.UUID))
	})
	i.Registered = nil
	for _, one := range i.Registrations {
		if n := len(i.Registered); n == 0 || i.Registered[n-1] != one.Key {
			i.Registered = append(i.Registered, one.Key)
		}
	}
	n.noServers = others
	n.countReaders()
	return nil
}

// countReaders counts those that read the binary log, and did not say themselves that they are no servers.
func (n *known) countReaders() {
	n.instance.Readers = 0
	if len(n.dumps) == looks {
		n.instance.Readers = max(0, slices.Min(n.dumps)-n.noServers)
	}
}

// noServer says that who registered is no server: those of MySQL tell their UUID.
func noServer(r server.Row, d server.Dialect) bool {
	return !d.MariaDB() && r.Get("replica_uuid", "slave_uuid") == "" && (r.Has("replica_uuid") || r.Has("slave_uuid"))
}

// dumpHosts are the hosts that read the binary log.
func (n *known) dumpHosts(ctx context.Context, c *server.Conn) (map[string]bool, error) {
	rows, err := askThreads(ctx, c, n.questions.dumpClients, isDump)
	if err != nil {
		return nil, err
	}
	hosts := map[string]bool{}
	for _, r := range rows {
		if host := clientHost(r.Get("host")); host != "" {
			hosts[host] = true
		}
	}
	return hosts, nil
}

// clientHost is the host in what a process list says of a client: with its port or without, an IPv6 address in
// brackets or not; "" where that is none. What can be read as an IPv6 address with a port behind it is that: a client
// that has an address has a port.
func clientHost(text string) string {
	host := text
	if at := strings.LastIndexByte(text, ':'); at >= 0 {
		_, whole := netip.ParseAddr(text)
		_, before := netip.ParseAddr(text[:at])
		if whole != nil || before == nil {
			host = text[:at]
		}
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	k, err := topology.MakeKey(host, topology.DefaultPort)
	if err != nil {
		return ""
	}
	return k.Host
}
