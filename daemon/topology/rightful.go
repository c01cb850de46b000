package topology

import "orchestrator/daemon/gtid"

// Rightful is who is shown as the primary. That is Primary, which counts replicas where no promotion is on record;
// unless the data tell that another server wrote what these replicas have, and that the one they follow only passed it
// on: an intermediate that has lost its data or its source is at the top of a tree, and still no primary.
func (s Snapshot) Rightful() *Server {
	p := s.Primary()
	if p == nil {
		return nil
	}
	if writer := s.Writer(p); writer != nil {
		return writer
	}
	return p
}

// Writer is the server that wrote what the replicas of top have, where top only passed it on; else nil, as where a
// promotion in the cluster is on record, which tells more.
func (s Snapshot) Writer(top *Server) *Server {
	if _, promoted := s.Promoted[top.Cluster]; promoted {
		return nil
	}
	for i := range s.Servers {
		if w := &s.Servers[i]; w.Key != top.Key && w.Stranger == nil && s.passedOn(w, top) != nil {
			return w
		}
	}
	return nil
}

// cameOff says that the tree of one of two roots is a part of the other's. One that takes writes, and has all that its
// replicas have, is none: people have made it a cluster of its own.
func (s Snapshot) cameOff(a, b *Server) bool {
	off := func(top, writer *Server) bool {
		r := s.passedOn(writer, top)
		return r != nil && (top.Instance.ReadOnly || !top.Instance.Executed.Contains(r.Received()))
	}
	return off(a, b) || off(b, a)
}

// passedOn is a replica of top in reach that has from the writer what it has; nil where there is none.
func (s Snapshot) passedOn(writer, top *Server) *Server {
	if !writer.TookWrites() || top.Instance == nil || len(top.Instance.Channels) > 0 {
		return nil
	}
	for i := range s.Servers {
		r := &s.Servers[i]
		if r.Up() && r.Stranger == nil && !r.MultiSource() && r.ChannelFrom(top.Key) != nil &&
			PassedThrough(writer, top, r, Server.Received) {
			return r
		}
	}
	return nil
}

// TookWrites says that a server follows nobody and takes writes, or did when it answered last.
func (s Server) TookWrites() bool {
	return s.Instance != nil && len(s.Instance.Channels) == 0 && !s.Instance.ReadOnly
}

// PassedThrough says that what the replica has was written by the writer and came through top, which is no primary
// itself: it lacks that now, or it has written nothing. One that people opened when the writer was found dead is the
// primary from then on. received is what a server has: see Server.Received.
func PassedThrough(writer, top, replica *Server, received func(Server) gtid.Set) bool {
	if writer.Instance.ServerID == top.Instance.ServerID {
		return false // a copy may have the id of the one that it was made of
	}
	have := replica.Received()
	if writer.wrote(have.Subtract(top.Instance.Executed)) {
		return !writer.Up() || received(*writer).Contains(have)
	}
	opened := !top.Instance.ReadOnly && writer.Probe.Failure.Dead()
	return writer.wrote(have) && !opened && (top.Instance.ReadOnly || !top.wrote(have))
}

// wrote says that some transactions of the set were written at s; of MariaDB's only the last one of each domain tells.
func (s Server) wrote(set gtid.Set) bool {
	if !set.From(s.Instance.UUID).Empty() {
		return true
	}
	for _, writer := range set.LastWriters() {
		if writer == s.Instance.ServerID {
			return true
		}
	}
	return false
}
