package acebroker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/wire"
)

var (
	errNoMethod   = errors.New("re-authentication on a connection that did not authenticate by this method")
	errUnderWay   = errors.New("re-authentication while one is under way")
	errNoRenewal  = errors.New("an answer without a challenge")
	errWithProof  = errors.New("a proof over the exporter in a re-authentication")
	errTooOften   = errors.New("re-authentication too often")
	errNoAnswer   = errors.New("no answer to the challenge")
	errIdentities = errors.New("a token for another identity")
)

// renewal is a re-authentication under way (RFC 9431, section 4). The old rights apply until it has succeeded.
type renewal struct {
	running bool
	access  *access // validated; nil before
	nonce   pop.Nonce
	cancel  context.CancelFunc
	timer   func() bool
	due     time.Time // see spend
}

// stop ends what runs for the renewal.
func (r *renewal) stop() {
	if r.cancel != nil {
		r.cancel()
	}
	if r.timer != nil {
		r.timer()
	}
	r.running, r.access, r.cancel, r.timer = false, nil, nil, nil
}

// reauthenticate takes an AUTH of a client whose CONNECT has been let through.
func (f *connection) reauthenticate(c *layer.Conn, p wire.Packet) error {
	m, err := wire.ParseReason(p, c.Version())
	if err != nil {
		return err
	}
	method, _ := m.Properties.Bytes(wire.AuthenticationMethod)
	switch {
	case !f.method || string(method) != pop.Method:
		// Only a client that has proved possession on this connection may do it again.
		return f.deny(errNoMethod)
	case m.Reason == wire.ReAuthenticate:
		data, _ := m.Properties.Bytes(wire.AuthenticationData)
		return f.beginRenewal(c, data)
	case m.Reason == wire.ContinueAuthentication:
		return f.finishRenewal(c, p)
	}
	return f.deny(ErrProtocol)
}

// deny ends the connection: a re-authentication that fails does that (RFC 9431, section 4).
func (f *connection) deny(why error) error {
	if f.guarded().End(wire.NotAuthorized, fmt.Errorf("%w: %w", ErrRefused, why)) {
		f.l.counters.reauthRefused.Add(1)
	}
	return nil
}

// beginRenewal looks at the new token, in the background: the client's messages go on meanwhile.
func (f *connection) beginRenewal(c *layer.Conn, data []byte) error {
	auth, err := pop.ParseAuthData(bytes.Clone(data))
	switch {
	case err != nil:
		return f.deny(err)
	case auth.Token == nil:
		return f.deny(errNoToken)
	case auth.Proof != nil:
		return f.deny(errWithProof)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &f.renewal
	if f.closed {
		return nil
	}
	if r.running {
		go f.deny(errUnderWay)
		return nil
	}
	ok, due := spend(r.due, f.l.clock.Now())
	if !ok {
		go f.deny(errTooOften)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), f.l.current.Load().Timeout)
	r.running, r.cancel, r.due = true, cancel, due
	identity := f.access.identity
	go func() {
		a, err := f.l.current.Load().verifier.verify(ctx, auth.Token)
		if err == nil && a.identity != identity {
			err = errIdentities
		}
		if err == nil {
			err = f.challengeRenewal(c, a)
		}
		if err != nil {
			_ = f.deny(err)
		}
	}()
	return nil
}

// challengeRenewal asks for the proof that belongs to the new token.
func (f *connection) challengeRenewal(c *layer.Conn, a *access) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &f.renewal
	if f.closed || !r.running {
		return nil
	}
	r.access, r.nonce = a, pop.NewNonce()
	r.timer = f.l.clock.AfterFunc(f.l.current.Load().Timeout, func() { f.unanswered(a) })
	return f.l.sendChallenge(c, r.nonce)
}

// unanswered denies a renewal whose challenge was not answered in time.
func (f *connection) unanswered(a *access) {
	f.mu.Lock()
	open := f.renewal.running && f.renewal.access == a && !f.closed
	f.mu.Unlock()
	if open {
		_ = f.deny(errNoAnswer)
	}
}

// finishRenewal takes the answer to the challenge.
func (f *connection) finishRenewal(c *layer.Conn, p wire.Packet) error {
	f.mu.Lock()
	a, nonce := f.renewal.access, f.renewal.nonce
	f.renewal.stop()
	f.mu.Unlock()
	if a == nil {
		return f.deny(errNoRenewal)
	}
	reply, err := parseReply(p)
	if err != nil {
		return f.deny(err)
	}
	if err := a.key.Verify(pop.ChallengeInput(nonce, reply.Nonce), reply.Proof); err != nil {
		f.l.counters.proofFailed.Add(1)
		return f.deny(fmt.Errorf("%w: %w", ErrProof, err))
	}
	ctx, cancel := context.WithTimeout(context.Background(), f.l.current.Load().Timeout)
	defer cancel()
	if err := f.renew(ctx, a); err != nil {
		f.l.counters.reauthRefused.Add(1)
		return nil // the guard has ended the connection
	}
	f.l.counters.reauthenticated.Add(1)
	return sendAuth(c, wire.Success, nil)
}

// renew makes a the token that the connection lives by. ctx bounds what is asked about those that are stored.
func (f *connection) renew(ctx context.Context, a *access) error {
	session := f.guarded()
	f.renewing.Lock()
	defer f.renewing.Unlock()
	if err := session.Renew(a.grant()); err != nil {
		return err
	}
	f.mu.Lock()
	f.replace(a)
	f.mu.Unlock()
	now := f.l.clock.Now()
	f.l.remember(ctx, session.ClientID(), a, now)
	if err := f.l.revoked.check(a, now); err != nil {
		session.End(wire.NotAuthorized, err)
		return err
	}
	return nil
}
