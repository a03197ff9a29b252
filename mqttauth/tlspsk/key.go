package tlspsk

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

const (
	minKey      = 16
	maxKey      = 1<<16 - 1
	minDistinct = 8
)

// CheckKey refuses what cannot be a good pre-shared key, with an error that wraps [ErrWeakKey]: fewer than 16 octets or
// more than 65535, a text, or a few octets over and over.
//
// Whoever sits between a client and its server, or plays the server, can try guesses at the key against one handshake,
// as often as he likes (RFC 9257 section 4.2): only a key of high entropy, 16 random octets or more, withstands that. A
// text is a password or a key in hexadecimal that somebody forgot to decode. For passwords there is package pake. Of
// random keys with 16 octets one in millions is taken for a text, of those with 32 none.
func CheckKey(key []byte) error {
	switch {
	case len(key) < minKey:
		return fmt.Errorf("%w: %d octets, fewer than %d", ErrWeakKey, len(key), minKey)
	case len(key) > maxKey:
		return fmt.Errorf("%w: %d octets, more than %d", ErrWeakKey, len(key), maxKey)
	case isText(key):
		return fmt.Errorf("%w: it is a text; decode it if it is hexadecimal or base64, and use package pake if it is a password", ErrWeakKey)
	case distinct(key) < minDistinct:
		return fmt.Errorf("%w: it repeats a few octets", ErrWeakKey)
	}
	return nil
}

func isText(key []byte) bool {
	for len(key) > 0 {
		r, n := utf8.DecodeRune(key)
		if r == utf8.RuneError || !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return false
		}
		key = key[n:]
	}
	return true
}

// distinct counts the values among the octets, no further than is of interest.
func distinct(key []byte) int {
	var seen [256]bool
	n := 0
	for _, b := range key {
		if !seen[b] {
			seen[b] = true
			n++
		}
		if n == minDistinct {
			break
		}
	}
	return n
}
