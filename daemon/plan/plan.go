// Package plan decides what to do next about what analysis found, and says why, and why not.
//
// It does nothing itself (see recovery and mysql). The one idea: Next is a function of what is known now. It is called
// again after every step, so a first try, a retry, and the continuation by another daemon are the same thing.
package plan
