package authbroker

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mqttsec/mqttsec/pake"
)

// What goes between the process that has a store and those that use it is JSON over HTTPS: POST to
//
//	/v1/read     readRequest, readAnswer: a record, or a page of those with a prefix
//	/v1/commit   commitRequest: changes, if what they hang on is still as it was read; 409 otherwise
//	/v1/guesses  guessRequest, guessAnswer: counts of guesses, in the same way
//	/v1/changes  question, heard: what has changed since
type (
	readRequest struct {
		Bucket string `json:"b"`
		Key    []byte `json:"k"`
		Prefix bool   `json:"prefix,omitempty"` // all that begin with Key
		After  []byte `json:"after,omitempty"`  // of those, the ones behind this
	}
	entry struct {
		Key   []byte `json:"k"`
		Value []byte `json:"v"`
	}
	readAnswer struct {
		Entries []entry `json:"entries,omitempty"`
		More    bool    `json:"more,omitempty"`
	}
	readMark struct {
		Bucket string `json:"b"`
		Key    []byte `json:"k"`
		Prefix bool   `json:"prefix,omitempty"`
		Digest []byte `json:"d"` // of digestOf
	}
	write struct {
		Bucket string `json:"b"`
		Key    []byte `json:"k"`
		Value  []byte `json:"v,omitempty"`
		Remove bool   `json:"remove,omitempty"`
	}
	commitRequest struct {
		Reads  []readMark `json:"reads"`
		Writes []write    `json:"writes"`
	}
	guessRequest struct {
		Keys     [][]byte       `json:"keys"`
		Expected []pake.Guesses `json:"expected,omitempty"` // none: only read
		Records  []pake.Guesses `json:"records,omitempty"`
	}
	guessAnswer struct {
		Records []pake.Guesses `json:"records"`
	}
)

const (
	maxRequest    = 4 << 20   // octets of a request
	maxReply      = 8 << 20   // of an answer
	pageSize      = 256 << 10 // of records in an answer that has more than one
	maxKey        = 8 << 10
	maxGuessKeys  = 8
	maxRequests   = 16  // at once, so that their memory is bounded; others wait
	maxFollowers  = 256 // who wait for changes at once
	endedPrefix   = "ended\x00"
	digestVersion = 1
)

var (
	errConflict  = errors.New("somebody else has changed the store meanwhile")
	errMalformed = errors.New("malformed")
	errReserved  = errors.New("only the process that has the store changes this")
	errStop      = errors.New("enough")
)

// Handler returns what serves this store to other processes, which use it by [RemoteStore]. It answers only those who
// come over TLS with a certificate that has been verified, so that its server needs tls.RequireAndVerifyClientCert and,
// as ClientCAs, an authority that certifies nobody else: who is answered can read verifiers and the secrets of claims,
// and change claims and grants. Users and their passwords change only here. Requests are bounded in size and number;
// bounds on connections and times are the server's.
//
// Call it before [NewListener], so that a Listener in this process, too, minds what others change. A [RemoteStore] is
// not served on.
func (s *Store) Handler() http.Handler {
	if s.remote != nil {
		return http.NotFoundHandler()
	}
	s.shared.Store(true)
	h := &served{store: s, requests: make(chan struct{}, maxRequests), followers: make(chan struct{}, maxFollowers)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/read", h.bounded(h.requests, h.read))
	mux.HandleFunc("POST /v1/commit", h.bounded(h.requests, h.commit))
	mux.HandleFunc("POST /v1/guesses", h.bounded(h.requests, h.guesses))
	mux.HandleFunc("POST /v1/changes", h.bounded(h.followers, h.changes))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			http.Error(w, "a client certificate is required", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

type served struct {
	store               *Store
	requests, followers chan struct{} // a place for each
}

func (h *served) bounded(places chan struct{}, f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			f(w, r)
		case <-r.Context().Done():
		}
	}
}

// decode reads a request.
func decode(w http.ResponseWriter, r *http.Request, limit int64, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit))
	d.DisallowUnknownFields()
	if d.Decode(into) != nil || d.Decode(&struct{}{}) != io.EOF {
		fail(w, errMalformed)
		return false
	}
	return true
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // who has gone does not need it
}

func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, errConflict):
		status = http.StatusConflict
	case errors.Is(err, errMalformed):
		status = http.StatusBadRequest
	case errors.Is(err, errReserved):
		status = http.StatusForbidden
	}
	http.Error(w, err.Error(), status)
}

// named tells whether there can be such a record, or such records.
func named(bucket string, key []byte, prefix bool) bool {
	return slices.Contains(buckets, bucket) && len(key) <= maxKey && (prefix || len(key) > 0)
}

func (h *served) read(w http.ResponseWriter, r *http.Request) {
	var q readRequest
	if !decode(w, r, maxRequest, &q) {
		return
	}
	if !named(q.Bucket, q.Key, q.Prefix) {
		fail(w, errMalformed)
		return
	}
	var a readAnswer
	err := h.store.view(func(t tx) error {
		a = readAnswer{}
		if !q.Prefix {
			if v := t.get(q.Bucket, string(q.Key)); v != nil {
				a.Entries = []entry{{q.Key, bytes.Clone(v)}}
			}
			return nil
		}
		return a.page(t, &q)
	})
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, a)
}

func (a *readAnswer) page(t tx, q *readRequest) error {
	size := 0
	err := t.each(q.Bucket, string(q.Key), func(key string, value []byte) error {
		if q.After != nil && key <= string(q.After) {
			return nil
		}
		if size >= pageSize {
			a.More = true
			return errStop
		}
		size += len(key) + len(value)
		a.Entries = append(a.Entries, entry{[]byte(key), bytes.Clone(value)})
		return nil
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

func (h *served) commit(w http.ResponseWriter, r *http.Request) {
	var q commitRequest
	if !decode(w, r, maxRequest, &q) {
		return
	}
	if err := q.check(); err != nil {
		fail(w, err)
		return
	}
	with := h.store.update
	if len(q.Writes) == 0 {
		with = h.store.view
	}
	if err := with(q.apply); err != nil {
		fail(w, err)
		return
	}
	answer(w, struct{}{})
}

func (q *commitRequest) check() error {
	for i := range q.Reads {
		if m := &q.Reads[i]; !named(m.Bucket, m.Key, m.Prefix) {
			return errMalformed
		}
	}
	for i := range q.Writes {
		m := &q.Writes[i]
		switch {
		case !named(m.Bucket, m.Key, false), m.Remove && len(m.Value) > 0:
			return errMalformed
		case m.Bucket == bucketUsers, m.Bucket == bucketMeta && !strings.HasPrefix(string(m.Key), endedPrefix):
			return errReserved
		}
	}
	return nil
}

func (q *commitRequest) apply(t tx) error {
	for i := range q.Reads {
		m := &q.Reads[i]
		d, err := digestOf(t, m.Bucket, string(m.Key), m.Prefix)
		if err != nil {
			return err
		}
		if !bytes.Equal(d, m.Digest) {
			return errConflict
		}
	}
	for i := range q.Writes {
		m := &q.Writes[i]
		if m.Remove {
			if err := t.remove(m.Bucket, string(m.Key)); err != nil {
				return err
			}
		} else if err := t.put(m.Bucket, string(m.Key), append([]byte{}, m.Value...)); err != nil {
			return err
		}
	}
	return nil
}

// digest is of records, in their order.
type digest struct{ hash.Hash }

func newDigest() digest {
	d := digest{sha256.New()}
	d.Write([]byte{digestVersion})
	return d
}

func (d digest) add(key string, value []byte) {
	var sizes [16]byte
	binary.BigEndian.PutUint64(sizes[:], uint64(len(key)))
	binary.BigEndian.PutUint64(sizes[8:], uint64(len(value)))
	d.Write(sizes[:])
	d.Write([]byte(key))
	d.Write(value)
}

// digestOf tells one record, or all with a prefix, from what is there at another time.
func digestOf(t tx, bucket, key string, prefix bool) ([]byte, error) {
	d := newDigest()
	if !prefix {
		if v := t.get(bucket, key); v != nil {
			d.add(key, v)
		}
		return d.Sum(nil), nil
	}
	err := t.each(bucket, key, func(key string, value []byte) error {
		d.add(key, value)
		return nil
	})
	return d.Sum(nil), err
}

func (h *served) guesses(w http.ResponseWriter, r *http.Request) {
	var q guessRequest
	if !decode(w, r, 64<<10, &q) {
		return
	}
	keys := make([]pake.GuessKey, len(q.Keys))
	wrong := len(keys) == 0 || len(keys) > maxGuessKeys ||
		q.Expected != nil && len(q.Expected) != len(keys) || len(q.Records) != len(q.Expected)
	for i := 0; i < len(keys) && !wrong; i++ {
		wrong = copy(keys[i][:], q.Keys[i]) != len(keys[i]) || len(q.Keys[i]) != len(keys[i])
	}
	if wrong {
		fail(w, errMalformed)
		return
	}
	var a guessAnswer
	conflict := false
	err := h.store.guesses.Update(keys, func(records []pake.Guesses) {
		a.Records = slices.Clone(records)
		if q.Expected == nil {
			return
		}
		if conflict = !slices.EqualFunc(records, q.Expected, sameGuesses); !conflict {
			copy(records, q.Records)
		}
	})
	switch {
	case err != nil:
		fail(w, err)
	case conflict:
		fail(w, errConflict)
	default:
		answer(w, a)
	}
}

func sameGuesses(a, b pake.Guesses) bool {
	same := func(a, b time.Time) bool { return a.Equal(b) }
	return a.Count == b.Count && same(a.Last, b.Last) && same(a.NotBefore, b.NotBefore) &&
		same(a.KnownUntil, b.KnownUntil) && same(a.Expires, b.Expires)
}

func (h *served) changes(w http.ResponseWriter, r *http.Request) {
	var last question
	if !decode(w, r, 1<<10, &last) {
		return
	}
	answer(w, h.store.hub.since(r.Context(), last))
}
