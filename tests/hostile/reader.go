package hostile

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/go-sql-driver/mysql"

	"orchestrator/tests/lab"
)

// Reader is a client of a real server with the account of its replicas. It says what a replica says, and is none.
type Reader struct {
	conn   net.Conn
	logged io.Closer
	in     *bufio.Reader
}

// LogIn has a reader log in: the driver does that, and after it has the connection no more.
func LogIn(ctx context.Context, s *lab.Server) (*Reader, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Addr = lab.ReplicationUser, lab.ReplicationPassword, s.Key.String()
	conns := make(chan net.Conn, 1)
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			conns <- conn
		}
		return conn, err
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	logged, err := connector.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("log in to %v as a replica: %w", s.Key, err)
	}
	conn := <-conns
	return &Reader{conn, logged, bufio.NewReader(conn)}, nil
}

// Close ends the session, and what it has registered.
func (r *Reader) Close() {
	_ = r.conn.Close()
	_ = r.logged.Close()
}

// Register registers a replica, see Registration.
func (r *Reader) Register(id uint32, host string, port uint16) error {
	return r.Command(Registration(id, host, port))
}

// Dump asks for a binary log from its beginning, and drops what comes.
func (r *Reader) Dump(id uint32, file string) error {
	dump := binary.LittleEndian.AppendUint32([]byte{comBinlogDump}, 4)
	dump = binary.LittleEndian.AppendUint16(dump, 0)
	dump = append(binary.LittleEndian.AppendUint32(dump, id), file...)
	if err := r.send(string(dump)); err != nil {
		return err
	}
	go func() { _, _ = io.Copy(io.Discard, r.in) }()
	return nil
}

// Commands sends them all at once. Each must be answered by OK.
func (r *Reader) Commands(all []string) error {
	sent := make(chan error, 1)
	go func() {
		for _, c := range all {
			if err := r.send(c); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for range all {
		if err := r.answered(); err != nil {
			return err
		}
	}
	return <-sent
}

// Command must be answered by OK.
func (r *Reader) Command(command string) error { return r.Commands([]string{command}) }

func (r *Reader) send(command string) error {
	n := len(command)
	_, err := r.conn.Write(append([]byte{byte(n), byte(n >> 8), byte(n >> 16), 0}, command...))
	return err
}

func (r *Reader) answered() error {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r.in, head); err != nil {
		return err
	}
	answer := make([]byte, int(head[0])|int(head[1])<<8)
	if _, err := io.ReadFull(r.in, answer); err != nil {
		return err
	}
	if len(answer) == 0 || answer[0] != 0 {
		return fmt.Errorf("the server answers %q", answer)
	}
	return nil
}

// The commands of the protocol by which a replica asks for the binary log, and registers.
const (
	comBinlogDump      = 0x12
	comRegisterReplica = 0x15
)

// Registration is the command by which a replica says its server id, and where it can be found.
func Registration(id uint32, host string, port uint16) string {
	b := binary.LittleEndian.AppendUint32([]byte{comRegisterReplica}, id)
	b = append(append(b, byte(len(host))), host...)
	b = append(b, 0, 0) // no user, no password
	b = binary.LittleEndian.AppendUint16(b, port)
	return string(binary.LittleEndian.AppendUint64(b, 0))
}
