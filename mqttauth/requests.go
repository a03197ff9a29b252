package mqttauth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
)

// repeatAfter is how long a request waits for its response before it is sent again.
const repeatAfter = time.Second

// requests are those of one session, one at a time.
type requests struct {
	send  func(frame []byte) error
	ended <-chan struct{}
	turn  chan struct{} // holds a value while a request is under way

	mu      sync.Mutex
	session *handshake.ClientSession
	offset  time.Duration // of the authority's clock from ours
	waiting map[uint64]chan<- []byte
}

func newRequests(send func([]byte) error, ended <-chan struct{}) *requests {
	return &requests{send: send, ended: ended, turn: make(chan struct{}, 1), waiting: make(map[uint64]chan<- []byte)}
}

// begin tells of the session, once.
func (r *requests) begin(s *handshake.ClientSession, offset time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session, r.offset = s, offset
}

func (r *requests) established() (*handshake.ClientSession, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.session, r.offset
}

// do has the authority carry out o and returns what came of it. A refusal of all of it is a *RefusedError.
func (r *requests) do(ctx context.Context, o *operation.Operation) (operation.Result, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return operation.Result{}, context.Cause(ctx)
	case <-r.ended:
		return operation.Result{}, ErrNotConnected
	}
	session, _ := r.established()
	if session == nil {
		return operation.Result{}, ErrNotConnected
	}
	encoded, err := o.Encode()
	if err != nil {
		return operation.Result{}, err
	}
	counter, request, err := session.Request(encoded)
	if err != nil {
		return operation.Result{}, err
	}
	defer session.Forget(counter)
	b, err := r.ask(ctx, counter, request)
	if err != nil {
		return operation.Result{}, err
	}
	result, err := operation.ParseResult(b, o.Kind, len(o.Tokens))
	if err != nil {
		return operation.Result{}, err
	}
	return result, refused(o, result.Code)
}

// ask sends a request until its response comes. What a repetition does is up to the authority, which answers it with
// the response that it gave: a counter is carried out once.
func (r *requests) ask(ctx context.Context, counter uint64, request []byte) ([]byte, error) {
	answer := make(chan []byte, 1)
	r.mu.Lock()
	r.waiting[counter] = answer
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.waiting, counter)
	}()
	repeat := time.NewTicker(repeatAfter)
	defer repeat.Stop()
	for {
		if err := r.send(request); err != nil {
			return nil, errors.Join(ErrNotConnected, err)
		}
		select {
		case b := <-answer:
			return b, nil
		case <-repeat.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-r.ended:
			return nil, ErrNotConnected
		}
	}
}

// response takes a response frame. One that does not open, or that nobody waits for, is dropped.
func (r *requests) response(b []byte) {
	session, _ := r.established()
	if session == nil {
		return
	}
	counter, result, err := session.Response(b)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if answer := r.waiting[counter]; answer != nil {
		delete(r.waiting, counter)
		answer <- result // it has room for one
	}
}

// present shows tokens to the authority, and refuse hears of each that it does not accept.
func (r *requests) present(ctx context.Context, tokens []Token, refuse func(Token, error)) error {
	session, _ := r.established()
	if session == nil {
		return ErrNotConnected
	}
	for len(tokens) > 0 {
		o := operation.Operation{Kind: operation.Present}
		size := 0
		for _, t := range tokens {
			p := t.Present(session.Binding())
			size += len(p.Append(nil))
			if len(o.Tokens) == operation.MaxPresented || size > frame.MaxSealed-64 {
				break
			}
			o.Tokens = append(o.Tokens, p)
		}
		batch := tokens[:len(o.Tokens)]
		tokens = tokens[len(o.Tokens):]
		if err := r.presentBatch(ctx, &o, batch, refuse); err != nil {
			return err
		}
	}
	return nil
}

func (r *requests) presentBatch(ctx context.Context, o *operation.Operation, batch []Token, refuse func(Token, error)) error {
	result, err := r.do(ctx, o)
	var all *RefusedError
	if err != nil && !errors.As(err, &all) {
		return err
	}
	for i, t := range batch {
		code := operation.CodeOf(err)
		if err == nil {
			code = result.Tokens[i].Code
		}
		if code != operation.Done {
			refuse(t, &RefusedError{Request: requestNames[operation.Present], Filter: t.Filter(), Err: code})
		}
	}
	return nil
}

// presentWallet shows the wallet's tokens to the authority, which accepts so many of a session.
func (c *Client) presentWallet(ctx context.Context, r *requests, most int) error {
	if c.cfg.Wallet == nil {
		return nil
	}
	tokens, err := c.cfg.Wallet.Tokens()
	if err != nil {
		return fmt.Errorf("mqttauth: wallet: %w", err)
	}
	_, offset := r.established()
	now := c.clock.Now().Add(offset) // at the authority
	refuse := func(t Token, err error) { c.refuse(t, now, err) }
	for _, t := range tokens[min(most, len(tokens)):] {
		refuse(t, &RefusedError{Request: requestNames[operation.Present], Filter: t.Filter(), Err: ErrLimit})
	}
	return r.present(ctx, tokens[:min(most, len(tokens))], refuse)
}

// refuse tells the application of a token that is not accepted, and forgets one that has expired. One whose claim has
// is worth something again when its owner comes back.
func (c *Client) refuse(t Token, now time.Time, err error) {
	if c.cfg.Wallet != nil && errors.Is(err, ErrExpired) && !now.Before(t.Expires()) {
		c.cfg.Wallet.Remove(t.ID()) // if this fails, it is refused again next time
	}
	if c.cfg.Refused != nil {
		c.cfg.Refused(t, err)
	}
}

// use makes l the connection that requests go out on.
func (c *Client) use(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = l
}

func (c *Client) forget(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == l {
		c.current = nil
	}
}

// withRequests calls f with the requests of the latest connection, or of one made for it.
func (c *Client) withRequests(ctx context.Context, f func(*requests) error) error {
	if c.cfg.TwoPhase {
		return c.onOwn(ctx, f)
	}
	c.mu.Lock()
	l := c.current
	c.mu.Unlock()
	if l == nil {
		return ErrNotConnected
	}
	return f(l.requests)
}

// Claim makes the user of this client the owner of the topics that the owner token's filter matches: the authority
// then accepts the tokens that it makes. The first claim wins, and one that overlaps another user's is ErrTaken;
// claiming again with the same owner token prolongs. The lifetime is in whole seconds, and the authority may cut it:
// until is when the claim ends.
//
// An owner who lets a claim end, by Release or by its time, and claims again with the same owner token has the tokens
// made from it valid again. What she had revoked stays so only if nobody else had claimed any of the topics meanwhile
// and it was not released: begin with OwnerToken.Next, or a new owner token, if it matters.
func (c *Client) Claim(ctx context.Context, o OwnerToken, lifetime time.Duration) (until time.Time, err error) {
	roots, err := o.Roots()
	if err != nil {
		return time.Time{}, err
	}
	op := operation.Operation{Kind: operation.Claim, Filter: o.Claim(), Epoch: o.Epoch(), Roots: roots, Lifetime: lifetime}
	return c.until(ctx, &op)
}

// NewEpoch ends all tokens that were made under a claim of this user, at once, and starts anew with next, which
// OwnerToken.Next has made of the old owner token. Store next before the call: afterwards it is the only one that
// counts.
func (c *Client) NewEpoch(ctx context.Context, next OwnerToken) (until time.Time, err error) {
	roots, err := next.Roots()
	if err != nil {
		return time.Time{}, err
	}
	return c.until(ctx, &operation.Operation{Kind: operation.Epoch, Filter: next.Claim(), Epoch: next.Epoch(), Roots: roots})
}

func (c *Client) until(ctx context.Context, o *operation.Operation) (until time.Time, err error) {
	err = c.withRequests(ctx, func(r *requests) error {
		result, err := r.do(ctx, o)
		until = result.Until
		return err
	})
	return until, err
}

// Release ends a claim of this user, and all tokens under it.
func (c *Client) Release(ctx context.Context, claim string) error {
	_, err := c.until(ctx, &operation.Operation{Kind: operation.Release, Filter: claim})
	return err
}

// Revoke ends one token that was made under a claim of this user. [Token.ID] names it, and nothing else of it is
// needed.
func (c *Client) Revoke(ctx context.Context, claim string, id TokenID) error {
	_, err := c.until(ctx, &operation.Operation{Kind: operation.Revoke, Filter: claim, Token: id})
	return err
}

// Present shows a token to the authority on the connection as it is, and keeps it in the wallet, if there is one,
// once it is accepted. With TwoPhase it goes into a new ticket, which counts from the next connection on.
func (c *Client) Present(ctx context.Context, t Token) error {
	if t.IsZero() {
		return fmt.Errorf("%w: the zero Token", token.ErrInvalid)
	}
	err := c.withRequests(ctx, func(r *requests) error {
		var refusal error
		err := r.present(ctx, []Token{t}, func(_ Token, err error) { refusal = err })
		return errors.Join(err, refusal)
	})
	if err == nil && c.cfg.Wallet != nil {
		err = c.cfg.Wallet.Add(t)
	}
	return err
}
