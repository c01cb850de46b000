// Package fleet tries the collection in ansible/ as its operator would: on whole Debian hosts, over ssh, from nothing
// to a fleet, and through its nights.
//
// The test is long, and runs in make test-fleet only.
package fleet
