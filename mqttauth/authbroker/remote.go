package authbroker

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqttsec/mqttsec/pake"
)

// ErrUnavailable: the store is another process's, which cannot be reached or does not answer as it should.
var ErrUnavailable = errors.New("authbroker: the store is not available")

// DefaultGrace is how long connections go on without the store that they hang on.
const DefaultGrace = 30 * time.Second

// RemoteConfig says where a store is that another process serves with [Store.Handler]. URL and TLS are required.
type RemoteConfig struct {
	// URL is https://HOST:PORT.
	URL string
	// TLS has the certificate to show there, and in RootCAs those who may certify the other side; the system's are
	// not trusted.
	TLS *tls.Config
	// Grace is after how long without the store a Listener ends its connections, since nobody then knows what they may
	// do; at least a second, DefaultGrace if 0. It is also the longest time that a revocation can take to be heard.
	Grace time.Duration
}

// RemoteStore returns a store that another process has. It tries to reach it until ctx ends, and then returns it all
// the same: [Store.Available] says what is wrong, and a Listener with it refuses everybody until the other process
// answers. An error is one of cfg.
//
// Every operation asks that process, and is an error when it cannot be reached, so that nobody logs in and nothing is
// claimed or granted meanwhile; it comes back by itself. A transaction hangs on all that it has read: if any of that
// has changed when it is to be committed, it is done again. Guesses at passwords are counted in that process, and a
// Listener hears of what others change. A [NewAuthority] beside a broker needs the store itself.
func RemoteStore(ctx context.Context, cfg RemoteConfig) (*Store, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil, u.Scheme != "https", u.Host == "", u.User != nil, strings.Trim(u.Path, "/") != "", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("authbroker: RemoteConfig.URL %.80q: want https://HOST:PORT", cfg.URL)
	case cfg.Grace != 0 && cfg.Grace < time.Second:
		return nil, fmt.Errorf("authbroker: RemoteConfig.Grace of %v, less than a second", cfg.Grace)
	}
	r := &remote{url: "https://" + u.Host, grace: cmp.Or(cfg.Grace, DefaultGrace)}
	if err := r.connectBy(cfg.TLS); err != nil {
		return nil, err
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	store, err := newStore(r)
	if err != nil {
		return nil, err
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := store.learn(ctx)
		r.heard(err)
		if err == nil || !sleep(ctx, pause) {
			return store, nil
		}
	}
}

// SetTLS is for another certificate than that of RemoteConfig.TLS, or other RootCAs: what is asked from then on goes
// over a new connection. Connections of clients stay. Nothing has changed if SetTLS returns an error, which one of a
// store of this process's always does.
func (s *Store) SetTLS(config *tls.Config) error {
	if s.remote == nil {
		return errors.New("authbroker: no connection leads to a store of this process's")
	}
	return s.remote.connectBy(config)
}

// connectBy has what is asked from then on go over connections of their own.
func (r *remote) connectBy(config *tls.Config) error {
	if config == nil || config.RootCAs == nil || config.InsecureSkipVerify ||
		len(config.Certificates) == 0 && config.GetClientCertificate == nil {
		return errors.New("authbroker: RemoteConfig.TLS needs a certificate and RootCAs")
	}
	config = config.Clone()
	config.MinVersion = tls.VersionTLS13
	transport := &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true, TLSHandshakeTimeout: callTimeout, IdleConnTimeout: time.Minute,
		MaxResponseHeaderBytes: 16 << 10, DisableCompression: true,
		HTTP2: &http.HTTP2Config{SendPingTimeout: callTimeout, PingTimeout: callTimeout},
	}
	next := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if before := r.client.Swap(next); before != nil {
		before.CloseIdleConnections()
	}
	return nil
}

// learn asks for the secret of decoys.
func (r *remote) learn(ctx context.Context, secret *[decoysSize]byte) error {
	var a readAnswer
	err := r.call(ctx, "/v1/read", callTimeout, readRequest{Bucket: bucketMeta, Key: []byte(decoysKey)}, &a)
	if err == nil && (len(a.Entries) != 1 || string(a.Entries[0].Key) != decoysKey || len(a.Entries[0].Value) != decoysSize) {
		err = errUnasked
	}
	if err == nil {
		copy(secret[:], a.Entries[0].Value)
	}
	return err
}

// errUnasked is an answer of whatever is not a store.
var errUnasked = fmt.Errorf("%w: it answers what was not asked", ErrUnavailable)

// heard notes what came of the last question that tells whether the store is there.
func (r *remote) heard(err error) {
	if err == nil {
		r.away.Store(nil)
	} else {
		r.away.Store(&err)
	}
}

const (
	callTimeout = 5 * time.Second
	workTimeout = 10 * time.Second // of a transaction with all that it asks
	maxAttempts = 64               // at a transaction that others come before
	maxReads    = 16384            // records and prefixes of one
	maxRead     = 64 << 20         // octets of one
	firstPause  = 50 * time.Millisecond
	lastPause   = time.Second
)

// sleep reports whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// remote is a backend that another process has.
type remote struct {
	url    string
	grace  time.Duration
	client atomic.Pointer[http.Client]
	ctx    context.Context
	cancel context.CancelFunc

	again             sync.Mutex            // held by what others came before, so that this process's own do not do so again
	away              atomic.Pointer[error] // why the last question about changes had no answer; nil if it had one
	failed, conflicts atomic.Int64
}

// call asks one question.
func (r *remote) call(ctx context.Context, path string, limit time.Duration, question, answer any) error {
	err := r.post(ctx, path, limit, question, answer)
	switch {
	case err == nil, errors.Is(err, errReserved):
		return err
	case errors.Is(err, errConflict):
		r.conflicts.Add(1)
		return err
	}
	r.failed.Add(1)
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func (r *remote) post(ctx context.Context, path string, limit time.Duration, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := r.client.Load().Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch status := response.StatusCode; {
	case status == http.StatusOK:
	case status == http.StatusConflict:
		return errConflict
	case status == http.StatusForbidden && path == "/v1/commit":
		return errReserved
	default:
		return fmt.Errorf("it answers %s", response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxReply+1))
	switch {
	case err != nil:
		return err
	case len(text) > maxReply:
		return fmt.Errorf("an answer of more than %d octets", maxReply)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(text, answer)
}

func (r *remote) close() error {
	r.cancel()
	r.client.Load().CloseIdleConnections()
	return nil
}

func (r *remote) view(f func(tx) error) error { return r.transact(f, false) }

func (r *remote) update(f func(tx) error) error { return r.transact(f, true) }

func (r *remote) transact(f func(tx) error, writes bool) error {
	return r.repeat(func(ctx context.Context) error {
		t := &remoteTx{remote: r, ctx: ctx, readOnly: !writes, reads: map[readKey]*records{}, writes: map[string]map[string]written{}}
		verdict := f(t)
		if t.err != nil {
			return t.err
		}
		if verdict != nil {
			clear(t.writes)
		}
		if len(t.writes) > 0 || t.calls > 1 { // one answer is of one moment
			if err := r.call(ctx, "/v1/commit", callTimeout, t.commit(), nil); err != nil {
				return err
			}
		}
		return verdict
	})
}

// repeat does something until nobody comes before it.
func (r *remote) repeat(f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(r.ctx, workTimeout)
	defer cancel()
	for attempt := range maxAttempts {
		if attempt == 1 {
			r.again.Lock()
			defer r.again.Unlock()
		}
		if attempt > 0 && !sleep(ctx, rand.N(time.Millisecond<<min(attempt, 6))) {
			break
		}
		if err := f(ctx); !errors.Is(err, errConflict) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, errConflict)
}

type readKey struct {
	bucket, key string
	prefix      bool
}

// records are what was read for a readKey.
type records struct {
	values map[string][]byte
	digest []byte
}

// written is what is to become of a record.
type written struct {
	value  []byte
	remove bool
}

// remoteTx is a transaction: what it has read, and what it is to write.
type remoteTx struct {
	*remote
	ctx      context.Context
	readOnly bool
	reads    map[readKey]*records
	writes   map[string]map[string]written // by bucket and key
	calls    int
	size     int   // octets read
	err      error // which get cannot return, and which decides whatever comes of the transaction
}

func (t *remoteTx) get(bucket, key string) []byte {
	if w, ok := t.writes[bucket][key]; ok {
		return w.value
	}
	got, err := t.fetch(readKey{bucket, key, false})
	if err != nil {
		return nil
	}
	return got.values[key]
}

func (t *remoteTx) put(bucket, key string, value []byte) error {
	return t.write(bucket, key, written{value: append([]byte{}, value...)})
}

func (t *remoteTx) remove(bucket, key string) error {
	return t.write(bucket, key, written{remove: true})
}

func (t *remoteTx) write(bucket, key string, w written) error {
	switch {
	case t.readOnly:
		return errors.New("a write in a view")
	case bucket == bucketUsers:
		return errReserved
	case t.writes[bucket] == nil:
		t.writes[bucket] = map[string]written{}
	}
	t.writes[bucket][key] = w
	return t.err
}

func (t *remoteTx) each(bucket, prefix string, f func(string, []byte) error) error {
	got, err := t.fetch(readKey{bucket, prefix, true})
	if err != nil {
		return err
	}
	values := maps.Clone(got.values)
	for key, w := range t.writes[bucket] {
		switch {
		case !strings.HasPrefix(key, prefix):
		case w.remove:
			delete(values, key)
		default:
			values[key] = w.value
		}
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if err := f(key, values[key]); err != nil {
			return err
		}
	}
	return nil
}

// fetch reads a record or those with a prefix, once.
func (t *remoteTx) fetch(k readKey) (got *records, err error) {
	if t.err != nil {
		return nil, t.err
	}
	if got := t.reads[k]; got != nil {
		return got, nil
	}
	defer func() { t.err = err }()
	if len(t.reads) >= maxReads {
		return nil, fmt.Errorf("%w: a transaction with too many reads", ErrUnavailable)
	}
	got = &records{values: map[string][]byte{}}
	d := newDigest()
	question := readRequest{Bucket: k.bucket, Key: []byte(k.key), Prefix: k.prefix}
	for more := true; more; {
		var page readAnswer
		t.calls++
		if err := t.call(t.ctx, "/v1/read", callTimeout, question, &page); err != nil {
			return nil, err
		}
		for _, e := range page.Entries {
			key := string(e.Key)
			asked := key == k.key || k.prefix && strings.HasPrefix(key, k.key)
			if !asked || question.After != nil && key <= string(question.After) {
				return nil, errUnasked
			}
			question.After = e.Key
			if t.size += len(key) + len(e.Value); t.size > maxRead {
				return nil, fmt.Errorf("%w: more than %d octets in one transaction", ErrUnavailable, maxRead)
			}
			got.values[key] = append([]byte{}, e.Value...)
			d.add(key, e.Value)
		}
		more = page.More && k.prefix && len(page.Entries) > 0
	}
	got.digest = d.Sum(nil)
	t.reads[k] = got
	return got, nil
}

func (t *remoteTx) commit() (q commitRequest) {
	for k, got := range t.reads {
		q.Reads = append(q.Reads, readMark{k.bucket, []byte(k.key), k.prefix, got.digest})
	}
	for bucket, all := range t.writes {
		for key, w := range all {
			q.Writes = append(q.Writes, write{bucket, []byte(key), w.value, w.remove})
		}
	}
	return q
}

// remoteGuesses counts guesses where the store is, so that many gateways allow no more of them than one.
type remoteGuesses struct{ *remote }

// Update implements pake.GuessStore.
func (g remoteGuesses) Update(keys []pake.GuessKey, edit func([]pake.Guesses)) error {
	q := guessRequest{}
	for i := range keys {
		q.Keys = append(q.Keys, keys[i][:])
	}
	return g.repeat(func(ctx context.Context) error {
		var a guessAnswer
		q.Expected, q.Records = nil, nil
		if err := g.call(ctx, "/v1/guesses", callTimeout, q, &a); err != nil {
			return err
		}
		if len(a.Records) != len(keys) {
			return errUnasked
		}
		q.Expected, q.Records = a.Records, slices.Clone(a.Records)
		edit(q.Records)
		if slices.EqualFunc(q.Records, q.Expected, sameGuesses) {
			return nil
		}
		return g.call(ctx, "/v1/guesses", callTimeout, q, nil)
	})
}
