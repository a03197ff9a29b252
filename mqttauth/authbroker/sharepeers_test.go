package authbroker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/pake"
)

// TestStrangersGetNothing: without a certificate of the right authority, over TLS, nobody reads or writes, and nobody
// with another one passes for the store.
func TestStrangersGetNothing(t *testing.T) {
	s := share(t, MemoryStore())
	enrolFor(t, s.store, "alice", "a")
	other, err := ca.New()
	require.NoError(t, err)
	secret := s.store.decoys.Load()[:]
	for name, config := range map[string]*tls.Config{"no certificate": certified(t, nil, s.authority), "another's": certified(t, other, s.authority)} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
		response, err := client.Post(s.server.URL+"/v1/read", "", strings.NewReader(`{"b":"meta","k":"ZGVjb3lz"}`))
		if err == nil {
			response.Body.Close()
		}
		require.Error(t, err, name)
	}
	plain := httptest.NewServer(s.store.Handler())
	defer plain.Close()
	response, err := http.Post(plain.URL+"/v1/read", "", strings.NewReader(`{"b":"meta","k":"ZGVjb3lz"}`))
	require.NoError(t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, errors.Join(err, response.Body.Close()))
	require.Equal(t, http.StatusForbidden, response.StatusCode)
	require.NotContains(t, string(text), string(secret))

	for name, auth := range map[string]tls.ClientAuthType{"unasked": tls.NoClientCert, "unverified": tls.RequireAnyClientCert} {
		secure, err := s.authority.ServerConfig()
		require.NoError(t, err)
		secure.ClientAuth = auth
		server := httptest.NewUnstartedServer(s.store.Handler())
		server.TLS = secure
		server.StartTLS()
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: certified(t, other, s.authority)}}
		response, err := client.Post(server.URL+"/v1/read", "", strings.NewReader(`{"b":"meta","k":"ZGVjb3lz"}`))
		require.NoError(t, err, name)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusForbidden, response.StatusCode, "a certificate that is %s", name)
		server.Close()
	}

	ctx, cancel := context.WithTimeout(t.Context(), sharePatience)
	cancel() // one attempt
	elsewhere, err := RemoteStore(ctx, RemoteConfig{URL: s.server.URL, TLS: certified(t, s.authority, other)})
	require.NoError(t, err)
	require.ErrorIs(t, elsewhere.Available(), ErrUnavailable, "a server that is not trusted")
	require.Nil(t, elsewhere.decoys.Load())
	require.NoError(t, elsewhere.Close())
	right := certified(t, s.authority, s.authority)
	for _, wrong := range []RemoteConfig{
		{URL: strings.Replace(s.server.URL, "https", "http", 1), TLS: right},
		{URL: s.server.URL}, {URL: s.server.URL + "/path", TLS: right}, {URL: s.server.URL, TLS: certified(t, nil, s.authority)},
		{URL: s.server.URL, TLS: &tls.Config{Certificates: right.Certificates}},
		{URL: s.server.URL, TLS: &tls.Config{Certificates: right.Certificates, RootCAs: right.RootCAs, InsecureSkipVerify: true}},
		{URL: s.server.URL, TLS: right, Grace: 1}, {URL: "https://", TLS: right}, {URL: "https://user:word@host", TLS: right},
		{URL: s.server.URL + "?query", TLS: right}, {URL: s.server.URL + "#fragment", TLS: right},
	} {
		_, err = RemoteStore(t.Context(), wrong)
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrUnavailable, "found before anything is sent")
	}
}

// TestPeersEnrolNobody: users, passwords and the secret of decoys change only where the store is.
func TestPeersEnrolNobody(t *testing.T) {
	s := share(t, MemoryStore())
	enrolFor(t, s.store, "alice", "a")
	remote := s.join(t)
	before := s.store.decoys.Load()
	require.ErrorIs(t, remote.SetUser("eve", verifier(t, "eve")), errReserved)
	_, err := remote.RemoveUser("alice")
	require.ErrorIs(t, err, errReserved)
	require.ErrorIs(t, remote.update(func(t tx) error { return t.put(bucketMeta, "decoys", make([]byte, 32)) }), errReserved)
	client := s.client(t)
	for _, body := range []string{
		`{"writes":[{"b":"users","k":"ZXZl","v":"eA=="}]}`, `{"writes":[{"b":"users","k":"YWxpY2U=","remove":true}]}`,
	} {
		response, err := client.Post(s.server.URL+"/v1/commit", "", strings.NewReader(body))
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusForbidden, response.StatusCode)
	}
	users, err := s.store.Users()
	require.NoError(t, err)
	require.Equal(t, []string{"alice"}, users)
	again, err := newStore(s.store.backend.(telling).backend)
	require.NoError(t, err)
	require.Equal(t, before, again.decoys.Load())
}

func (s *sharing) client(t testing.TB) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: certified(t, s.authority, s.authority), ForceAttemptHTTP2: true}}
}

// endless writes for as long as somebody reads.
func endless(w io.Writer, what string) {
	block := []byte(strings.Repeat(what, 1000))
	for {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// TestPeersAreBounded: neither a request without an end nor such an answer takes memory, and wrong ones come to
// nothing.
func TestPeersAreBounded(t *testing.T) {
	used := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := used()
	t.Run("request", func(t *testing.T) {
		s := share(t, MemoryStore())
		for _, path := range []string{"/v1/read", "/v1/commit", "/v1/guesses", "/v1/changes"} {
			r, w := io.Pipe()
			go endless(w, `{"b":"aaaaaaaaaaaaaaaaaaaaaaaa`)
			response, err := s.client(t).Post(s.server.URL+path, "", r)
			if err == nil {
				require.NoError(t, response.Body.Close())
				require.Equal(t, http.StatusBadRequest, response.StatusCode)
			}
			require.NoError(t, r.Close())
			for _, body := range []string{"", "null and more", `{"b":"none","k":"YQ=="}`, `{"x":1}`, `[]`, `{"keys":["YQ=="]}`, `{"wait":1e99}`} {
				response, err := s.client(t).Post(s.server.URL+path, "", strings.NewReader(body))
				require.NoError(t, err)
				require.NoError(t, response.Body.Close())
				require.Equal(t, http.StatusBadRequest, response.StatusCode, "%s %s", path, body)
			}
		}
		key := `"` + base64.StdEncoding.EncodeToString(make([]byte, sha256.Size)) + `"`
		long := `"` + base64.StdEncoding.EncodeToString(make([]byte, sha256.Size+1)) + `"`
		for path, bodies := range map[string][]string{
			"/v1/commit": {`{"reads":[{"b":"none","k":"YQ=="}],"writes":[]}`, `{"writes":[{"b":"claims","k":"YQ==","v":"YQ==","remove":true}]}`},
			"/v1/guesses": {
				`{"keys":[]}`, `{"keys":[` + strings.Repeat(key+",", maxGuessKeys) + key + `]}`, `{"keys":[` + long + `]}`,
				`{"keys":[` + key + `],"expected":[{},{}],"records":[{},{}]}`, `{"keys":[` + key + `],"expected":[{}]}`,
				`{"keys":[` + key + `],"records":[{}]}`, `{"keys":[` + key + `],"expected":[{}],"records":[{},{}]}`,
			},
		} {
			for _, body := range bodies {
				response, err := s.client(t).Post(s.server.URL+path, "", strings.NewReader(body))
				require.NoError(t, err)
				require.NoError(t, response.Body.Close())
				require.Equal(t, http.StatusBadRequest, response.StatusCode, "%s %s", path, body)
			}
		}
	})
	t.Run("answer", func(t *testing.T) {
		authority, err := ca.New()
		require.NoError(t, err)
		page, err := json.Marshal(readAnswer{Entries: []entry{{[]byte("k"), bytes.Repeat([]byte("v"), 1<<20)}}, More: true})
		require.NoError(t, err)
		for name, serve := range map[string]http.HandlerFunc{
			"without an end":  func(w http.ResponseWriter, _ *http.Request) { endless(w, " ") },
			"always the same": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) },
			"another record": func(w http.ResponseWriter, _ *http.Request) {
				answer(w, readAnswer{Entries: []entry{{[]byte("q"), nil}}})
			},
			"no JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("no")) },
			"somewhere else": func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/v1/read", http.StatusTemporaryRedirect)
			},
			"nothing for you":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) },
			"not served":       func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
			"pages for always": pages(),
		} {
			server := quietly(t, serve, authority)
			r := &remote{url: server.URL}
			require.NoError(t, r.connectBy(certified(t, authority, authority)))
			r.ctx, r.cancel = context.WithCancel(t.Context())
			err := r.view(func(tx tx) error {
				require.ErrorIs(t, tx.each(bucketUsed, "k", func(string, []byte) error { return nil }), ErrUnavailable, name)
				return nil
			})
			require.ErrorIs(t, err, ErrUnavailable, name)
			require.NoError(t, r.close())
		}
	})
	require.Less(t, used(), before+64<<20)
}

// TestAnswersOfNoStore: what answers but is no store gives no secret for decoys, no record for another one, no count
// for too few, and no page without an end; nor does a transaction read without one.
func TestAnswersOfNoStore(t *testing.T) {
	authority, err := ca.New()
	require.NoError(t, err)
	says := func(v any) *remote {
		r := &remote{url: quietly(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, v) }), authority).URL}
		require.NoError(t, r.connectBy(certified(t, authority, authority)))
		r.ctx, r.cancel = context.WithCancel(t.Context())
		t.Cleanup(func() { require.NoError(t, r.close()) })
		return r
	}
	decoys := entry{[]byte(decoysKey), bytes.Repeat([]byte{7}, decoysSize)}
	var secret [decoysSize]byte
	for _, entries := range [][]entry{nil, {decoys, decoys}, {{decoys.Key, decoys.Value[1:]}}, {{[]byte("other"), decoys.Value}}} {
		require.ErrorIs(t, says(readAnswer{Entries: entries}).learn(t.Context(), &secret), errUnasked)
		require.Zero(t, secret)
	}
	require.NoError(t, says(readAnswer{Entries: []entry{decoys}}).learn(t.Context(), &secret))
	require.Equal(t, decoys.Value, secret[:])

	err = says(readAnswer{Entries: []entry{{[]byte("kk"), nil}}}).view(func(tx tx) error {
		require.Nil(t, tx.get(bucketUsed, "k"))
		return nil
	})
	require.ErrorIs(t, err, errUnasked)
	for _, records := range [][]pake.Guesses{nil, make([]pake.Guesses, 3)} {
		err := remoteGuesses{says(guessAnswer{records})}.Update(make([]pake.GuessKey, 2), func([]pake.Guesses) { t.Error("there are no two") })
		require.ErrorIs(t, err, errUnasked)
	}
	asked := 0
	require.NoError(t, says(readAnswer{More: true}).view(func(tx tx) error {
		err := tx.each(bucketUsed, "k", func(string, []byte) error { return nil })
		asked = tx.(*remoteTx).calls
		return err
	}))
	require.Equal(t, 1, asked)

	full := &remoteTx{reads: map[readKey]*records{}}
	for i := range maxReads {
		full.reads[readKey{key: fmt.Sprint(i)}] = &records{}
	}
	require.ErrorIs(t, full.each(bucketUsed, "one more", nil), ErrUnavailable)
}

// pages has always another page.
func pages() http.HandlerFunc {
	var mu sync.Mutex
	n := uint64(0)
	return func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		n++
		key := binary.BigEndian.AppendUint64([]byte("k"), n)
		mu.Unlock()
		answer(w, readAnswer{Entries: []entry{{key, make([]byte, 1<<20)}}, More: true})
	}
}
