package main

import (
	"encoding/json"

	"orchestrator/daemon/topology"
)

// decode reads a saved snapshot.
func decode(data []byte) (topology.Snapshot, error) {
	var s topology.Snapshot
	err := json.Unmarshal(data, &s)
	return s, err
}
