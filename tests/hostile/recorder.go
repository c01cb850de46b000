package hostile

import (
	"bytes"
	"net"
)

// recorder keeps what is written.
type recorder struct {
	net.Conn
	to *bytes.Buffer
}

func (r recorder) Write(p []byte) (int, error) { return r.to.Write(p) }
