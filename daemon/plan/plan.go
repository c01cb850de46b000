// Package plan decides what to do next about what analysis found, and says why, and why not.
//
// It does nothing itself (see recovery and mysql). The one idea: Next is a function of what is known now. It is called
// again after every step, so a first try, a retry, and the continuation by another daemon are the same thing.
//
// Where to look: situation, policy, episode and step (what is known, allowed, recorded, and can be done); kinds, work
// and next (the works of a cluster, and which goes first); view (who follows whom); whole and done (when it is over).
//
// A failover of a primary: begin and challenge (is it dead); gate and overruled (what forbids it); fitness, weigh, rank
// and order (who is promoted); holdings, bound and semisync (what each server has, and what may be lost); promotion,
// reopening, opened and fence (one is opened, the others are not); move, names and named (the rest follows);
// adoption, rightful and undo (another server takes writes, or the failed one lives); blocked (why it stands still).
// intermediate_failover and aftercare are the other works.
//
// permit, transfer, voters and peers say whether this daemon may act now; preview and paper, what would be done if.
package plan
