package authbroker

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/pake"
)

// ask has a handler answer a peer with a certificate. The answer is decoded if it is 200.
func ask(t *testing.T, h http.Handler, path string, body []byte, into any) (status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://h/", bytes.NewReader(body))
	require.NoError(t, err)
	r.URL.Path = "/v1/" + path
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{}}}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code == http.StatusOK && into != nil {
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), into))
	}
	return w.Code
}

// FuzzHandler: whatever a peer asks, users and decoys stay, and the store can be read.
func FuzzHandler(f *testing.F) {
	f.Add("read", []byte(`{"b":"users","k":"","prefix":true,"after":"YQ=="}`))
	f.Add("commit", []byte(`{"reads":[{"b":"meta","k":"ZGVjb3lz","d":""}],"writes":[{"b":"claims","k":"YQ==","v":"AQ=="}]}`))
	f.Add("commit", []byte(`{"writes":[{"b":"users","k":"YQ==","v":"AQ=="}]}`))
	f.Add("guesses", []byte(`{"keys":["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],"expected":[{}],"records":[{"Count":1}]}`))
	f.Add("changes", []byte(`{"boot":"x","at":1,"wait":1}`))
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		s := MemoryStore()
		enrolFor(t, s, "alice", "a")
		before := dump(t, s)
		ask(t, s.Handler(), path, body, nil)
		untouched(t, s, before)
	})
}

// records of a store, by bucket and key.
type everything map[string]map[string]string

func dump(t *testing.T, s *Store) everything {
	t.Helper()
	all := everything{}
	require.NoError(t, s.view(func(tx tx) error {
		for _, bucket := range buckets {
			all[bucket] = map[string]string{}
			err := tx.each(bucket, "", func(key string, value []byte) error { all[bucket][key] = string(value); return nil })
			if err != nil {
				return err
			}
		}
		return nil
	}))
	return all
}

// untouched: what only the process with the store changes is as it was.
func untouched(t *testing.T, s *Store, before everything) {
	t.Helper()
	now := dump(t, s)
	require.Equal(t, before[bucketUsers], now[bucketUsers])
	require.Equal(t, before[bucketMeta][decoysKey], now[bucketMeta][decoysKey])
}

// course is what a fuzzer has a peer do.
type course struct{ rest []byte }

func (c *course) next() byte {
	if len(c.rest) == 0 {
		return 0
	}
	b := c.rest[0]
	c.rest = c.rest[1:]
	return b
}

// record is one of a few that requests meet at, in any bucket or in one that is none, with a key that may be none.
func (c *course) record() (bucket string, key []byte) {
	bucket = append(slices.Clone(buckets), "none")[int(c.next())%(len(buckets)+1)]
	keys := []string{"a", "b", "a/#", "a\x00b", "alice", decoysKey, endedPrefix + "alice", "", strings.Repeat("k", maxKey+1)}
	return bucket, []byte(keys[int(c.next())%len(keys)])
}

// FuzzPeer has a peer ask what it may ask, most of the time, about the same few records. A commit changes what it says
// and nothing else, if what it has read is what is there, and else nothing at all; whoever follows hears of it; what is
// read is there; guesses count from what they are.
func FuzzPeer(f *testing.F) {
	const commit, claims, grants, meta, users = 0, 1, 4, 8, 0
	// Made, replaced after a look, and not after a look at something else.
	f.Add([]byte{commit, 0, 1, claims, 2, 7, commit, 1, claims, 2, 0, 0, 1, claims, 2, 9, commit, 1, claims, 2, 0, 1, 1, claims, 2, 5})
	f.Add([]byte{commit, 0, 1, grants, 3, 7, commit, 1, grants, 0, 1, 0, 1, grants, 3, 9, commit, 1, grants, 0, 1, 1, 1, grants, 3, 5})
	f.Add([]byte{commit, 0, 1, claims, 0, 7, commit, 0, 2, claims, 0, 1, grants, 3, 9, commit, 0, 1, claims, 1, 3})
	f.Add([]byte{commit, 1, claims, 2, 0, 2, 1, claims, 2, 7, commit, 1, claims, 2, 1, 2, 1, claims, 2, 9})
	f.Add([]byte{commit, 0, 1, users, 4, 7})
	f.Add([]byte{commit, 0, 1, meta, 5, 7, commit, 0, 1, meta, 6, 7, commit, 0, 1, claims, 7, 7})
	f.Add([]byte{1, users, 7, 1, 1, meta, 5, 0, 1, 9, 0, 0, 1, claims, 8, 0})
	f.Add([]byte{2, 1, 0, 1, 2, 1, 1, 3, 2, 1, 0, 3, 2, 8, 1, 1, 3, 0, 0, 0, 3, 1})
	f.Fuzz(func(t *testing.T, program []byte) {
		s := MemoryStore()
		enrolFor(t, s, "alice", "a")
		h, initial, c := s.Handler(), dump(t, s), &course{program}
		var last heard
		require.Equal(t, http.StatusOK, ask(t, h, "changes", encoded(t, question{}), &last))
		for step := 0; len(c.rest) > 0 && step < 64; step++ {
			switch c.next() % 4 {
			case 0:
				last = committed(t, s, h, c, last)
			case 1:
				looked(t, s, h, c)
			case 2:
				guessed(t, h, c)
			case 3:
				q, next := question{Boot: last.Boot, At: last.At + uint64(c.next()%2)}, heard{}
				require.Equal(t, http.StatusOK, ask(t, h, "changes", encoded(t, q), &next))
				require.Equal(t, q.At != last.At, next.Missed)
				require.Empty(t, next.Changes)
			}
			untouched(t, s, initial)
		}
	})
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

// committed commits, and follows.
func committed(t *testing.T, s *Store, h http.Handler, c *course, last heard) (next heard) {
	t.Helper()
	var q commitRequest
	before, refused, stale := dump(t, s), false, false
	for range c.next() % 4 {
		bucket, key := c.record()
		m := readMark{Bucket: bucket, Key: key, Prefix: c.next()%2 == 1}
		ok := named(bucket, key, m.Prefix)
		refused = refused || !ok
		if ok {
			require.NoError(t, s.view(func(tx tx) (err error) {
				m.Digest, err = digestOf(tx, bucket, string(key), m.Prefix)
				return err
			}))
		}
		switch c.next() % 4 {
		case 1:
			stale = true
			m.Digest = append(m.Digest, 1)
		case 2: // of when there was nothing yet
			m.Digest = newDigest().Sum(nil)
			for k := range before[bucket] {
				stale = stale || k == string(key) || m.Prefix && strings.HasPrefix(k, string(key))
			}
		}
		q.Reads = append(q.Reads, m)
	}
	after, noted := everything{}, []change(nil)
	for bucket, records := range before {
		after[bucket] = maps.Clone(records)
	}
	for range c.next() % 4 {
		bucket, key := c.record()
		w := write{Bucket: bucket, Key: key}
		if v := c.next(); v%2 == 1 {
			w.Remove = v == 1 || v == 3
			if !w.Remove || v == 3 {
				w.Value = []byte{v}
			}
		}
		ended := bucket == bucketMeta && strings.HasPrefix(string(key), endedPrefix)
		reserved := bucket == bucketUsers || bucket == bucketMeta && !ended
		refused = refused || reserved || !named(bucket, key, false) || w.Remove && w.Value != nil
		if q.Writes = append(q.Writes, w); refused {
			continue
		}
		if w.Remove {
			delete(after[bucket], string(key))
		} else {
			after[bucket][string(key)] = string(w.Value)
		}
		if ended || slices.Contains([]string{bucketClaims, bucketRevoked, bucketGrants}, bucket) {
			noted = append(noted, change{bucket, key})
		}
	}
	status := ask(t, h, "commit", encoded(t, q), nil)
	switch {
	case refused:
		require.Contains(t, []int{http.StatusBadRequest, http.StatusForbidden}, status)
	case stale:
		require.Equal(t, http.StatusConflict, status)
	default:
		require.Equal(t, http.StatusOK, status)
	}
	if refused || stale {
		after, noted = before, nil
	}
	require.Equal(t, after, dump(t, s))
	require.Equal(t, http.StatusOK, ask(t, h, "changes", encoded(t, question{Boot: last.Boot, At: last.At}), &next))
	require.False(t, next.Missed)
	require.Equal(t, noted, next.Changes)
	return next
}

// looked reads.
func looked(t *testing.T, s *Store, h http.Handler, c *course) {
	t.Helper()
	bucket, key := c.record()
	q, a := readRequest{Bucket: bucket, Key: key, Prefix: c.next()%2 == 1}, readAnswer{}
	status := ask(t, h, "read", encoded(t, q), &a)
	if !named(bucket, key, q.Prefix) {
		require.Equal(t, http.StatusBadRequest, status)
		return
	}
	require.Equal(t, http.StatusOK, status)
	got, want := map[string]string{}, map[string]string{}
	for _, e := range a.Entries {
		got[string(e.Key)] = string(e.Value)
	}
	for k, v := range dump(t, s)[bucket] {
		if k == string(key) || q.Prefix && strings.HasPrefix(k, string(key)) {
			want[k] = v
		}
	}
	require.Equal(t, want, got)
	require.False(t, a.More)
}

// guessed counts guesses from what they are, or from something else.
func guessed(t *testing.T, h http.Handler, c *course) {
	t.Helper()
	var q guessRequest
	for n := range c.next() % (maxGuessKeys + 2) {
		key := make([]byte, len(pake.GuessKey{})-int(c.next()%8/7))
		key[0] = n
		q.Keys = append(q.Keys, key)
	}
	wrong := len(q.Keys) == 0 || len(q.Keys) > maxGuessKeys ||
		slices.ContainsFunc(q.Keys, func(k []byte) bool { return len(k) != len(pake.GuessKey{}) })
	var before, after guessAnswer
	status := ask(t, h, "guesses", encoded(t, q), &before)
	if wrong {
		require.Equal(t, http.StatusBadRequest, status)
		return
	}
	require.Equal(t, http.StatusOK, status)
	next := q
	next.Expected, next.Records = slices.Clone(before.Records), slices.Clone(before.Records)
	next.Records[0].Count++
	next.Records[0].Expires = time.Now().Add(time.Hour).UTC()
	stale := c.next()%3 == 1
	if stale {
		next.Expected[0].Count++
	}
	status = ask(t, h, "guesses", encoded(t, next), nil)
	require.Equal(t, map[bool]int{true: http.StatusConflict, false: http.StatusOK}[stale], status)
	require.Equal(t, http.StatusOK, ask(t, h, "guesses", encoded(t, q), &after))
	require.Equal(t, stale, sameGuesses(before.Records[0], after.Records[0]))
}
