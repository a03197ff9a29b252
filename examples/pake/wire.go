package main

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

const (
	// patience is how long a whole login may take.
	patience = 30 * time.Second
	// maxLogins is how many may take place at once.
	maxLogins = 1024
	// maxMessage is more than any name or message needs.
	maxMessage = 256
)

// standard is a connection over a pipe in and a pipe out.
type standard struct {
	io.Reader
	io.Writer
}

// send writes messages, each behind its length in two octets.
func send(conn io.Writer, messages ...[]byte) error {
	var b []byte
	for _, message := range messages {
		if len(message) > maxMessage {
			return fmt.Errorf("a message of %d octets", len(message))
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
		b = append(b, message...)
	}
	_, err := conn.Write(b)
	return err
}

// receive reads one message. The peer does not choose how much is allocated.
func receive(conn io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > maxMessage {
		return nil, fmt.Errorf("a message of %d octets", n)
	}
	message := make([]byte, n)
	_, err := io.ReadFull(conn, message)
	return message, err
}

// fingerprint is a value derived from the key that tells nothing about others
// derived from it: two who see the same one have the same key.
func fingerprint(key []byte) string {
	b, err := hkdf.Expand(sha256.New, key, "examples/pake fingerprint", 8)
	if err != nil {
		panic(err)
	}
	return hex.EncodeToString(b)
}
