package ace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// CacheConfig says what a Cache gets its tokens from.
type CacheConfig struct {
	// Source gives the tokens.
	Source TokenSource
	// Failed, if set, is told of each request to Source that failed, also of those that were made early enough not to
	// matter yet. It must not block.
	Failed func(error)
	// Clock is the time; nil is the real one.
	Clock Clock
}

// Cache is a TokenSource that keeps a token until four fifths of its lifetime are over (between 78 and 82 %, at
// random), and then asks its Source for another. However many connections share it, one request is under way at a time.
// While the Source fails, the token it has is good until it expires.
type Cache struct {
	source TokenSource
	failed func(error)
	clock  Clock

	mu      sync.Mutex
	token   Token     // zero: none
	retryAt time.Time // the Source has failed; not before this while the token is good
	flight  *flight
}

// flight is a request under way.
type flight struct {
	done    chan struct{} // closed once token and err are set
	token   Token
	err     error
	waiting int
	cancel  context.CancelFunc
}

// longestRequest bounds a request that nobody who waits for it bounds.
const longestRequest = time.Minute

// NewCache returns a Cache. Authenticators of one program that use the same tokens share one.
func NewCache(cfg CacheConfig) (*Cache, error) {
	if cfg.Source == nil {
		return nil, fmt.Errorf("%w: CacheConfig.Source is nil", ErrConfig)
	}
	return &Cache{source: cfg.Source, failed: cfg.Failed, clock: orReal(cfg.Clock)}, nil
}

// Token returns the token that is kept, or a new one. Its errors are those of the Source.
func (c *Cache) Token(ctx context.Context) (Token, error) {
	c.mu.Lock()
	now := c.clock.Now()
	good := c.token.valid(now) == nil
	if good && (now.Before(c.token.renewAt) || now.Before(c.retryAt)) {
		defer c.mu.Unlock()
		return c.token, nil
	}
	f := c.join(ctx)
	c.mu.Unlock()

	var err error
	select {
	case <-f.done:
		err = f.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave(f)
	if err == nil {
		return f.token, nil
	}
	if c.token.valid(c.clock.Now()) == nil {
		return c.token, nil
	}
	return Token{}, err
}

// join returns the request under way, and begins one if there is none. A request ends with the last who waits for it,
// not with the first.
func (c *Cache) join(ctx context.Context) *flight {
	if c.flight == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestRequest)
		c.flight = &flight{done: make(chan struct{}), cancel: cancel}
		go c.fly(ctx, c.flight)
	}
	c.flight.waiting++
	return c.flight
}

func (c *Cache) leave(f *flight) {
	f.waiting--
	if f.waiting > 0 {
		return
	}
	f.cancel()
	if c.flight == f {
		c.flight = nil // the next one begins its own
	}
}

// fly makes the request.
func (c *Cache) fly(ctx context.Context, f *flight) {
	token, err := c.source.Token(ctx)
	now := c.clock.Now()
	if err == nil {
		err = token.valid(now)
	}
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) && c.failed != nil { // else nobody waits for it any more
		c.failed(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		token.renewAt = token.renewalOf(now, rand.Float64())
		c.token, c.retryAt = token, time.Time{}
	} else {
		c.retryAt = now.Add(c.token.patience(now))
	}
	f.token, f.err = token, err
	if c.flight == f {
		c.flight = nil
	}
	close(f.done)
}

// patience is how long to wait after a request has failed while t is still good: an eighth of what is left, so that the
// last requests come as the token ends.
func (t *Token) patience(now time.Time) time.Duration {
	return max(t.Expires.Sub(now)/8, shortestRetry)
}

const shortestRetry = 50 * time.Millisecond

// Format writes the type of the Source, whatever the verb.
func (c *Cache) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "ace.Cache{%T}", c.source) }

// LogValue is Format for slog.
func (c *Cache) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

// drop forgets a token that a broker has refused, so that the next connection begins with another.
func (c *Cache) drop(t *Token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if bytes.Equal(c.token.Raw, t.Raw) {
		c.token = Token{}
	}
}
