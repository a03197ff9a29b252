package ace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// scripted is a TokenSource that does what its function says; n counts from 1.
type scripted struct {
	mu    sync.Mutex
	n     int
	token func(ctx context.Context, n int) (Token, error)
}

func (s *scripted) Token(ctx context.Context) (Token, error) {
	s.mu.Lock()
	s.n++
	n := s.n
	s.mu.Unlock()
	return s.token(ctx, n)
}

func (s *scripted) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// numbered is a token of an hour, whose text tells which it is.
func numbered(n int) Token {
	now := time.Now()
	return Token{Raw: fmt.Appendf(nil, "token-%d", n), Key: testKey, Obtained: now, Expires: now.Add(time.Hour)}
}

var testKey = must(Secret([]byte("0123456789abcdef0123456789abcdef")))

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func hourly() *scripted {
	return &scripted{token: func(_ context.Context, n int) (Token, error) { return numbered(n), nil }}
}

func newCache(t *testing.T, s TokenSource, failed func(error)) *Cache {
	t.Helper()
	c, err := NewCache(CacheConfig{Source: s, Failed: failed})
	require.NoError(t, err)
	return c
}

func raw(t *testing.T, s TokenSource) string {
	t.Helper()
	token, err := s.Token(t.Context())
	require.NoError(t, err)
	return string(token.Raw)
}

// TestR4CacheRenewsAtFourFifths: not before 78 %, not after 82 % of the lifetime.
func TestR4CacheRenewsAtFourFifths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := hourly()
		c := newCache(t, source, nil)
		require.Equal(t, "token-1", raw(t, c))
		time.Sleep(78*time.Hour/100 - time.Second)
		require.Equal(t, "token-1", raw(t, c))
		time.Sleep(4*time.Hour/100 + 2*time.Second)
		require.Equal(t, "token-2", raw(t, c))
		require.Equal(t, 2, source.requests())
	})
}

// TestRenewalIsSpread: clients that were started together do not renew together.
func TestRenewalIsSpread(t *testing.T) {
	now := time.Now()
	token := Token{Obtained: now, Expires: now.Add(100 * time.Second)}
	require.Equal(t, now.Add(78*time.Second), token.renewalOf(now, 0))
	require.WithinDuration(t, now.Add(82*time.Second), token.renewalOf(now, 0.999), 10*time.Millisecond)
	token.Obtained = time.Time{} // of a source that does not say
	require.Equal(t, now.Add(78*time.Second), token.renewalOf(now, 0))
}

// TestSingleFlight: a thousand who need a token at once make one request.
func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &scripted{token: func(_ context.Context, n int) (Token, error) {
			time.Sleep(time.Second)
			return numbered(n), nil
		}}
		c := newCache(t, source, nil)
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				token, err := c.Token(t.Context())
				if err != nil || string(token.Raw) != "token-1" {
					t.Errorf("%s, %v", token.Raw, err)
				}
			})
		}
		all.Wait()
		require.Equal(t, 1, source.requests())
	})
}

// TestServerDown: the token that there is stays good until it expires, and the server is not asked all the time.
func TestServerDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		var told []error
		source := &scripted{token: func(_ context.Context, n int) (Token, error) {
			if n > 1 {
				return Token{}, down
			}
			return numbered(n), nil
		}}
		c := newCache(t, source, func(err error) { told = append(told, err) })
		require.Equal(t, "token-1", raw(t, c))
		for range 59 {
			time.Sleep(time.Minute)
			require.Equal(t, "token-1", raw(t, c))
		}
		require.Less(t, source.requests(), 12)
		require.Greater(t, source.requests(), 3)
		time.Sleep(time.Minute)
		_, err := c.Token(t.Context())
		require.ErrorIs(t, err, down)
		require.Len(t, told, source.requests()-1)
	})
}

// TestServerSlow: whoever waits for a slow server gets the old token, if it is good, when its own time is over.
func TestServerSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &scripted{token: func(ctx context.Context, n int) (Token, error) {
			if n > 1 {
				<-ctx.Done()
				return Token{}, ctx.Err()
			}
			return numbered(n), nil
		}}
		var told []error
		c := newCache(t, source, func(err error) { told = append(told, err) })
		require.Equal(t, "token-1", raw(t, c))
		time.Sleep(50 * time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		token, err := c.Token(ctx)
		require.NoError(t, err)
		require.Equal(t, "token-1", string(token.Raw))

		time.Sleep(10 * time.Minute)
		begin := time.Now()
		_, err = c.Token(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, longestRequest, time.Since(begin))
		require.Equal(t, []error{context.DeadlineExceeded}, told, "once: for the request that nobody gave up")
	})
}

// TestRequestOutlivesTheFirstWhoAsked, and ends with the last.
func TestRequestOutlivesTheFirstWhoAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		source := &scripted{token: func(ctx context.Context, n int) (Token, error) {
			select {
			case <-time.After(10 * time.Second):
				return numbered(n), nil
			case <-ctx.Done():
				ended = true
				return Token{}, ctx.Err()
			}
		}}
		c := newCache(t, source, func(error) { t.Error("nobody's fault") })
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() { _, _ = c.Token(short) }()
		synctest.Wait()
		require.Equal(t, "token-1", raw(t, c))

		c.drop(&Token{Raw: []byte("token-1")})
		short, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Token(short)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		synctest.Wait()
		require.True(t, ended)
		require.Equal(t, "token-3", raw(t, c))
	})
}

// TestRefusedTokenIsDropped, if it is still the one that is kept.
func TestRefusedTokenIsDropped(t *testing.T) {
	c := newCache(t, hourly(), nil)
	require.Equal(t, "token-1", raw(t, c))
	c.drop(&Token{Raw: []byte("token-0")})
	require.Equal(t, "token-1", raw(t, c))
	c.drop(&Token{Raw: []byte("token-1")})
	require.Equal(t, "token-2", raw(t, c))
}

// TestSourceThatGivesBadTokens is not believed.
func TestSourceThatGivesBadTokens(t *testing.T) {
	for name, tc := range map[string]struct {
		token Token
		want  error
	}{
		"empty":       {Token{Expires: time.Now().Add(time.Hour)}, ErrToken},
		"no lifetime": {Token{Raw: []byte("t")}, ErrToken},
		"expired":     {Token{Raw: []byte("t"), Expires: time.Now().Add(-time.Second)}, ErrTokenExpired},
	} {
		c := newCache(t, Static(tc.token), nil)
		_, err := c.Token(t.Context())
		require.ErrorIs(t, err, tc.want, name)
	}
	_, err := NewCache(CacheConfig{})
	require.ErrorIs(t, err, ErrConfig)
}

// TestNothingPrintsSecrets: neither token nor key nor the client's secret, with any verb.
func TestNothingPrintsSecrets(t *testing.T) {
	cfg := ASConfig{Endpoint: "https://as.example/token", ClientID: "c", ClientSecret: "classified"}
	as, err := NewAS(cfg)
	require.NoError(t, err)
	token := Token{Raw: []byte("classified"), Key: must(Secret([]byte("classified-classified"))), Expires: time.Now()}
	cache := newCache(t, Static(token), nil)
	_, _ = cache.Token(t.Context())
	for _, v := range []any{cache, token, &token, Static(token), cfg, &cfg, as, token.Key, struct{ V any }{token}, struct{ V any }{Static(token)}, struct{ V any }{cfg}, []Token{token}} {
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", v)
		text := log.String()
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text += fmt.Sprintf(verb, v)
		}
		for _, form := range []string{"classified", fmt.Sprintf("%x", "classified"), strings.Trim(fmt.Sprint([]byte("classified")), "[]"), "Y2xhc3NpZmllZ"} {
			require.NotContains(t, strings.ToLower(text), strings.ToLower(form), "%T", v)
		}
	}
}
