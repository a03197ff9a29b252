package tlspsk

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrKeyFile is wrapped by what ReadKeys and LoadKeys find wrong with the text of a file.
var ErrKeyFile = errors.New("tlspsk: invalid key file")

const (
	maxLine  = maxIdentity + 1 + 2*maxKey
	maxLines = 1 << 20
)

// ReadKeys reads keys from a text in the format of mosquitto's psk_file: a line for each identity, with a colon and the
// key in hexadecimal behind it. Empty lines and those that begin with # are passed over. An identity in a file has no
// colon.
//
// The error wraps [ErrKeyFile] and names the line: one without identity or key, with another number of colons than one,
// a key that is not hexadecimal or that [CheckKey] refuses, or an identity that was there before. No key is ever part
// of an error.
func ReadKeys(r io.Reader) (map[string][]byte, error) {
	keys := make(map[string][]byte)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 1
	for ; lines.Scan(); n++ {
		line := bytes.TrimSuffix(lines.Bytes(), []byte("\r"))
		if len(bytes.TrimSpace(line)) == 0 || line[0] == '#' {
			continue
		}
		identity, key, err := parseLine(line)
		if err == nil && keys[identity] != nil {
			err = fmt.Errorf("identity %q again", identity)
		}
		if err == nil && n > maxLines {
			err = errors.New("too many lines")
		}
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrKeyFile, n, err)
		}
		keys[identity] = key
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("%w: line %d: longer than any identity and key", ErrKeyFile, n)
	} else if err != nil {
		return nil, err
	}
	return keys, nil
}

func parseLine(line []byte) (identity string, key []byte, err error) {
	colon := bytes.IndexByte(line, ':')
	switch {
	case colon < 0:
		return "", nil, errors.New("no colon between an identity and a key")
	case colon == 0:
		return "", nil, errors.New("no identity before the colon")
	case bytes.Count(line, []byte(":")) > 1:
		return "", nil, errors.New("more than one colon; an identity in a key file has none")
	case colon > maxIdentity:
		return "", nil, fmt.Errorf("identity of %d octets, more than %d", colon, maxIdentity)
	}
	text := bytes.TrimSpace(line[colon+1:])
	if len(text) == 0 {
		return "", nil, errors.New("no key behind the colon")
	}
	key = make([]byte, hex.DecodedLen(len(text)))
	if _, err := hex.Decode(key, text); err != nil {
		return "", nil, errors.New("the key is not hexadecimal, two digits for each octet")
	}
	if err := CheckKey(key); err != nil {
		return "", nil, err
	}
	return string(line[:colon]), key, nil
}

// LoadKeys is ReadKeys for a file, whose name the error has. A key of the result, or the lookup of all, goes into a
// Config:
//
//	keys, err := tlspsk.LoadKeys("psk")
//	client := tlspsk.Config{Identity: "sensor-1", Key: keys["sensor-1"]}
//	server := tlspsk.Config{Keys: func(identity string) []byte { return keys[identity] }}
func LoadKeys(file string) (map[string][]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("tlspsk: %w", err)
	}
	defer f.Close()
	keys, err := ReadKeys(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return keys, nil
}
