package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
)

// lenenc is an integer of 8 bytes as the protocol has it.
func lenenc(n uint64) []byte { return binary.LittleEndian.AppendUint64([]byte{0xfe}, n) }

func TestWhatAServerClaimsIsNotBelieved(t *testing.T) {
	large := strings.Repeat("x", 200)
	for name, c := range map[string]struct {
		answer  func(p *peer, question string)
		failure topology.Failure
		says    string
	}{
		"2^40 columns": {func(p *peer, _ string) {
			p.send(lenenc(1 << 40))
		}, topology.Other, "1099511627776 columns"},
		"2^24 columns":   {func(p *peer, _ string) { p.send(lenenc(1 << 24)) }, topology.Other, "16777216 columns"},
		"4,097 columns":  {func(p *peer, _ string) { p.send([]byte{0xfc, 1, 16}) }, topology.Other, "4097 columns"},
		"2^64-1 columns": {func(p *peer, _ string) { p.send(lenenc(1<<64 - 1)) }, topology.Other, "columns"},
		"2^40 columns in the second answer": {func(p *peer, _ string) {
			p.send([]byte{0, 0, 0, 2 | 8, 0, 0, 0})
			p.send(lenenc(1 << 40))
		}, topology.Other, "columns"},
		"2^40 columns behind rows": {func(p *peer, _ string) {
			p.columns("a")
			p.row("1")
			p.send([]byte{0xfe, 0, 0, 2 | 8, 0})
			p.send(lenenc(1 << 40))
		}, topology.Other, "columns"},
		"a packet of 16 MB": {func(p *peer, _ string) { _, _ = p.Write([]byte{0xfe, 0xff, 0xff, p.seq}) },
			topology.Other, "more than 8388608 bytes"},
		"a file of ours":  {func(p *peer, _ string) { p.send([]byte("\xfb/etc/passwd")) }, topology.Alien, "file"},
		"an empty packet": {func(p *peer, _ string) { p.send(nil) }, topology.Alien, "empty packet"},
		"a row longer than its packet": {func(p *peer, _ string) {
			p.columns("a")
			p.send(append([]byte{0xfd, 0xff, 0xff, 0x7f}, large...))
		}, topology.Alien, "cut short"},
		"a cell of 2^63 bytes": {func(p *peer, _ string) {
			p.columns("a")
			p.send(append(lenenc(1<<63), large...))
			p.send(eof)
		}, topology.Alien, ""},
		"wrong sequence numbers": {func(p *peer, _ string) { p.seq += 7; p.columns("a") }, topology.Alien, ""},
		"half an OK":             {func(p *peer, _ string) { p.send([]byte{0, 0}) }, topology.Alien, ""},
		"half an EOF": {func(p *peer, _ string) {
			p.columns("a")
			p.send([]byte{0xfe, 0})
		}, topology.Alien, ""},
		"an error without a number": {func(p *peer, _ string) { p.send([]byte{0xff}) }, topology.Alien, ""},
		"endless columns": {func(p *peer, _ string) {
			p.send([]byte{0xfc, 0, 16})
			for range 4096 {
				p.send(bytes.Repeat([]byte{0}, 60_000))
			}
		}, topology.Other, "more than 8388608 bytes"},
		"endless answers": {func(p *peer, _ string) {
			for range 1 << 20 {
				if _, err := p.Write([]byte{7, 0, 0, p.seq, 0, 0, 0, 2 | 8, 0, 0, 0}); err != nil {
					return
				}
				p.seq++
			}
		}, topology.Other, "more than 1000 answers"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, listen(t, c.answer), Options{Several: true})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := conn.QueryAll(ctx, question)
			runtime.ReadMemStats(&after)
			if Failure(err) != c.failure || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v; want %s: %s", Failure(err), err, c.failure, c.says)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
				t.Errorf("it cost %d MB", grown>>20)
			}
		})
	}
}

// What a server says in advance is read as the answer to the next question, by the same rules.
func TestAnAnswerInAdvance(t *testing.T) {
	c := dial(t, listen(t, func(p *peer, _ string) {
		_, _ = p.Write(append([]byte{7, 0, 0, p.seq, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 1}, lenenc(1<<40)...))
	}), Options{})
	if _, err := c.Query(t.Context(), question); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Query(t.Context(), question); !errors.Is(err, ErrTooMuch) {
		t.Error(err)
	}
}

func TestAnswersShareARoom(t *testing.T) {
	proceed := make(chan struct{})
	address := listen(t, func(p *peer, q string) {
		p.columns("a")
		for range 10 {
			p.send(append([]byte{0xfd, 0, 0, 2}, make([]byte, 128<<10)...))
		}
		if q == "SELECT 1" {
			<-proceed
		}
		p.send(eof)
	})
	room := NewRoom(2 << 20)
	first, second := dial(t, address, Options{Room: room}), dial(t, address, Options{Room: room})
	done := make(chan error)
	go func() {
		_, err := first.Query(t.Context(), question)
		done <- err
	}()
	for end := time.Now().Add(20 * time.Second); room.left.Load() > 1<<20 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	_, err := second.Query(t.Context(), Statement{Text: "SELECT 2"})
	if !errors.Is(err, ErrTooMuch) || !strings.Contains(err.Error(), "together with other answers") {
		t.Errorf("beside a long answer: %v", err)
	}
	close(proceed)
	if err := <-done; err != nil {
		t.Error(err)
	}
	third := dial(t, address, Options{Room: room})
	if _, err := third.Query(t.Context(), Statement{Text: "SELECT 2"}); err != nil || room.left.Load() != room.size {
		t.Errorf("afterwards: %v, %d of %d bytes left", err, room.left.Load(), room.size)
	}
}

// Above TLS the packets are followed too, and the driver leaves what is ciphered as it is when it is let go.
func TestColumnsAboveTLS(t *testing.T) {
	certificate := selfSigned(t)
	l, err := net.Listen("tcp", "127.0.43.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		p := &peer{Conn: c}
		p.send(greeting(0x800))
		if p.receive() == nil { // the request for TLS
			return
		}
		p.Conn = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}})
		if p.receive() == nil {
			return
		}
		p.send(ok)
		for _, answer := range [][]byte{ok, lenenc(1 << 40)} {
			if p.receive() == nil {
				return
			}
			p.send(answer)
		}
	}()
	c := dial(t, l.Addr().String(), Options{Several: true,
		Security: Security{TLS: &tls.Config{InsecureSkipVerify: true}}})
	if _, err := c.Query(t.Context(), question); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Query(t.Context(), question); !errors.Is(err, ErrTooMuch) {
		t.Error(err)
	}
}

func listener(f *testing.F) net.Listener {
	l, err := net.Listen("tcp", "127.0.43.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = l.Close() })
	return l
}

// accept serves one client, and closes the connection.
func accept(l net.Listener, serve func(p *peer)) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	serve(&peer{Conn: c})
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	its := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, its, its, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// FuzzAnswer sends anything as the answer to a question. It must end, and cost no more than the budget allows.
func FuzzAnswer(f *testing.F) {
	cell := append(text("def"), "\x00\x00\x00\x01a\x01a"...)
	cell = append(cell, 12, 45, 0, 255, 0, 0, 0, 253, 0, 0, 0, 0, 0)
	var full bytes.Buffer
	for n, body := range [][]byte{{1}, cell, eof, text("x"), eof} {
		full.Write(append([]byte{byte(len(body)), 0, 0, byte(n + 1)}, body...))
	}
	for _, seed := range [][]byte{full.Bytes(), append([]byte{7, 0, 0, 1}, ok...), {0xff, 0xff, 0xff, 1},
		append([]byte{9, 0, 0, 1}, lenenc(1<<40)...), {1, 0, 0, 1, 0xfb}, {2, 0, 0, 1, 0xff, 1}} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	l := listener(f)
	f.Fuzz(func(t *testing.T, answer []byte, noEOF bool) {
		can := uint32(0)
		if noEOF {
			can = canNoEOF
		}
		go accept(l, func(p *peer) {
			p.send(greeting(can))
			if p.receive() == nil {
				return
			}
			p.send(ok)
			if p.receive() != nil {
				_, _ = p.Write(answer)
			}
		})
		c := dial(t, l.Addr().String(), Options{Several: true})
		defer c.Close()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := c.QueryAll(ctx, question, question)
		runtime.ReadMemStats(&after)
		if ctx.Err() != nil {
			t.Errorf("it did not end: %v", err)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
			t.Errorf("it cost %d MB: %v", grown>>20, err)
		}
	})
}

// FuzzLogin sends anything as a greeting, and what follows it.
func FuzzLogin(f *testing.F) {
	hello := greeting(0)
	f.Add(append([]byte{byte(len(hello)), 0, 0, 0}, hello...), append([]byte{7, 0, 0, 2}, ok...))
	f.Add([]byte("SSH-2.0-OpenSSH_9.2p1\r\n"), []byte{})
	f.Add([]byte{3, 0, 0, 0, 0xff, 1, 4}, []byte{0xff, 0xff, 0xff, 2})
	l := listener(f)
	f.Fuzz(func(t *testing.T, first, then []byte) {
		go accept(l, func(p *peer) {
			_, _ = p.Write(append(first, then...))
			_ = p.Conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, p)
		})
		began := time.Now()
		if c, err := Dial(t.Context(), l.Addr().String(), Options{Account: Account{"u", "p"}}); err == nil {
			c.Close()
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
