package server

import (
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"reflect"
)

// deciphered is a connection above TLS: there the packets can be read.
type deciphered struct {
	net.Conn
	wire *wire
}

func (d *deciphered) Read(p []byte) (int, error) { return d.wire.follow(p, d.Conn.Read) }

// Write is no part of what is ciphered where the driver must not be heard.
func (d *deciphered) Write(p []byte) (int, error) {
	if d.wire.muted.Load() {
		return len(p), nil
	}
	return d.Conn.Write(p)
}

// decipher follows the packets above TLS, and returns what questions are sent to and answered by. The driver begins
// TLS itself, in the middle of the login, and has no place for anything between that and its buffer: so the
// connection that it reads from is replaced, by the name of its field.
func (w *wire) decipher(opened driver.Conn) (io.ReadWriter, error) {
	if !w.secured {
		return w, nil
	}
	conn := reflect.ValueOf(opened)
	if conn.Kind() == reflect.Pointer && conn.Elem().Kind() == reflect.Struct {
		field := conn.Elem().FieldByName("netConn")
		if field.IsValid() && field.Type() == reflect.TypeFor[net.Conn]() {
			reads := (*net.Conn)(field.Addr().UnsafePointer())
			above := &deciphered{*reads, w}
			*reads = above
			return above, nil
		}
	}
	return nil, errors.New("the driver keeps its connection in another place than this program knows: answers have " +
		"no bound")
}
