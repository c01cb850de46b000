// Package pair lets random schedules loose on real backend pairs: daemons that write, switches, kills, cuts and
// returns. It judges nothing but the end: when all has drained, both members must hold the same, with all that was
// acknowledged in it.
package pair
