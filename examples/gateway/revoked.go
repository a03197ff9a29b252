package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mqttsec/mqttsec/ace/acebroker"
)

// revocation is a line of a file of revoked tokens.
type revocation struct {
	acebroker.Revocation
	until time.Time // zero for ever
}

// readRevoked reads a file of revoked tokens: lines of "id", "subject" or "hash", a space and which, and perhaps a
// space and a time in the form of RFC 3339, from which on the line counts no more; empty lines and those that begin
// with # are passed over.
func readRevoked(file string) ([]revocation, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var revoked []revocation
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		r, err := parseRevocation(strings.Fields(line))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		revoked = append(revoked, r)
	}
	return revoked, lines.Err()
}

func parseRevocation(words []string) (r revocation, err error) {
	if len(words) < 2 || len(words) > 3 {
		return r, errors.New("want id, subject or hash, a space and which, and perhaps a space and a time")
	}
	switch words[0] {
	case "id":
		r.ID = words[1]
	case "subject":
		r.Subject = words[1]
	case "hash":
		if r.TokenHash, err = hex.DecodeString(words[1]); err != nil || len(r.TokenHash) != 32 {
			return r, fmt.Errorf("%q is no SHA-256 in hexadecimal", words[1])
		}
	default:
		return r, fmt.Errorf("%q is none of id, subject, hash", words[0])
	}
	if len(words) == 3 {
		r.until, err = time.Parse(time.RFC3339, words[2])
	}
	return r, err
}

// revoke has a listener refuse what the file names, and ends the connections that live by it. What has left the file
// stays revoked until the gateway starts again.
func (c *aceConfig) revoke(guarded *acebroker.Listener, k *checker) error {
	if c.Revoked.line == 0 {
		return nil
	}
	revoked, err := readRevoked(k.path(c.Revoked.value))
	if err != nil {
		return fmt.Errorf("%s: %w", c.Revoked.value, err)
	}
	for _, r := range revoked {
		if !r.until.IsZero() && !time.Now().Before(r.until) {
			continue
		}
		_, revokeErr := guarded.Revoke(r.Revocation, r.until)
		err = errors.Join(err, revokeErr)
	}
	return err
}
