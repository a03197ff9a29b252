package authbroker

import (
	"context"
	"errors"
	"time"

	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
	"github.com/mqttsec/mqttsec/pake"
)

// take takes a frame. Whatever is wrong with it, nobody hears of it: anybody may publish there.
func (a *Authority) take(ctx context.Context, b []byte) {
	head, err := frame.Parse(b)
	if err != nil {
		a.counters.requestsIgnored.Add(1)
		return
	}
	switch head.Type {
	case frame.Hello:
		a.hello(ctx, head.Session, b)
	case frame.Proof:
		a.proof(ctx, head.Session, b)
	case frame.Request:
		a.request(ctx, head.Session, b)
	}
}

func (a *Authority) hello(ctx context.Context, id frame.ID, b []byte) {
	hello, err := frame.ParseHello(b)
	if err != nil {
		a.counters.requestsIgnored.Add(1)
		return
	}
	if allowed := a.cfg.ClientIdentifier; allowed != nil && !allowed(hello.User, hello.ClientID) {
		a.refused(hello.ClientID, errForeign)
		return
	}
	a.counters.hellos.Add(1)
	ours, fresh := a.expect(id, hello.ClientID)
	if !ours {
		a.refused(hello.ClientID, errOtherRun)
		return
	}
	answer, err := a.authority.Receive(hello.ClientID, b)
	var wait *pake.BackoffError
	if errors.As(err, &wait) {
		a.counters.backedOff.Add(1)
	}
	if err != nil {
		if fresh { // no run: those that there are do not make room for it
			a.mu.Lock()
			delete(a.sources, id)
			a.mu.Unlock()
		}
		a.refused(hello.ClientID, err)
		return
	}
	a.say(ctx, hello.ClientID, answer.Frame)
}

// expect notes where the answers of a run go, unless that is somewhere else already, and whether it has noted it now.
func (a *Authority) expect(id frame.ID, clientID string) (ours, fresh bool) {
	now := a.core.clock.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.sources[id]; ok {
		return known.clientID == clientID, false
	}
	if len(a.sources) >= a.core.maxRuns {
		for other, s := range a.sources {
			if now.Sub(s.since) >= handshake.RunTimeout {
				delete(a.sources, other)
			}
		}
		for other := range a.sources { // under a flood, any; the runs themselves make room by age
			if len(a.sources) < a.core.maxRuns {
				break
			}
			delete(a.sources, other)
		}
	}
	a.sources[id] = source{clientID, now}
	return true, true
}

func (a *Authority) proof(ctx context.Context, id frame.ID, b []byte) {
	a.mu.Lock()
	from, known := a.sources[id]
	if s := a.sessions[id]; !known && s != nil { // the proof again: the welcome has not arrived
		from, known = source{s.ClientID, s.Since}, true
	}
	a.mu.Unlock()
	if !known {
		a.counters.requestsIgnored.Add(1)
		return
	}
	answer, err := a.authority.Receive(from.clientID, b)
	if err != nil {
		if !errors.Is(err, handshake.ErrNoRun) {
			a.counters.proofFailed.Add(1)
		}
		a.refused(from.clientID, err)
		return
	}
	if answer.Session == nil {
		a.say(ctx, from.clientID, answer.Frame)
		return
	}
	welcome, err := answer.Session.Welcome(handshake.Welcome{
		Lifetime: sessionLife, Time: a.core.clock.Now(), MaxTokens: uint16(a.core.limits.tokens), MaxClaim: a.core.maxClaim,
	})
	if err != nil {
		a.core.logger.Error("welcome", "client", from.clientID, "reason", err.Error())
		return
	}
	a.keep(id, answer.Session)
	a.counters.welcomed.Add(1)
	a.core.logger.Info("admitted", "user", answer.User, "client", answer.ClientID)
	a.say(ctx, from.clientID, welcome)
}

func (a *Authority) refused(clientID string, why error) {
	a.core.logger.Warn("login refused", "client", shown(clientID), "reason", shown(why.Error()))
}

// keep keeps a session for its requests. The oldest makes room.
func (a *Authority) keep(id frame.ID, s *handshake.Session) {
	now := a.core.clock.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sources, id)
	if len(a.sessions) >= a.core.maxRuns {
		oldest, since := id, now
		for other, session := range a.sessions {
			if now.Sub(session.Since) >= sessionLife {
				delete(a.sessions, other)
			} else if session.Since.Before(since) {
				oldest, since = other, session.Since
			}
		}
		if len(a.sessions) >= a.core.maxRuns {
			delete(a.sessions, oldest)
		}
	}
	a.sessions[id] = s
}

// session returns an established session, nil if there is none.
func (a *Authority) session(id frame.ID) *handshake.Session {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.sessions[id]
	if s != nil && a.core.clock.Now().Sub(s.Since) >= sessionLife {
		delete(a.sessions, id)
		return nil
	}
	return s
}

func (a *Authority) request(ctx context.Context, id frame.ID, b []byte) {
	s := a.session(id)
	if s == nil {
		a.counters.requestsIgnored.Add(1)
		return
	}
	op, err := s.Request(b)
	if err != nil {
		a.counters.requestsIgnored.Add(1)
		return
	}
	if op.Octets == nil {
		a.say(ctx, s.ClientID, op.Repeat)
		return
	}
	a.counters.requests.Add(1)
	o, err := operation.Parse(op.Octets)
	result := operation.Result{Code: operation.Malformed}
	if err == nil {
		result = a.carryOut(ctx, s, &o)
	}
	a.counters.judged(&o, &result)
	audit(a.core.logger.With("user", s.User, "client", s.ClientID), &o, &result)
	encoded, err := result.Encode(o.Kind)
	var response []byte
	if err == nil {
		response, err = s.Respond(op.Counter, encoded)
	}
	if err != nil {
		a.core.logger.Error("response failed", "client", s.ClientID, "reason", err.Error())
		return
	}
	a.say(ctx, s.ClientID, response)
}

func (a *Authority) carryOut(ctx context.Context, s *handshake.Session, o *operation.Operation) operation.Result {
	var result operation.Result
	var out outcome
	var err error
	if o.Kind == operation.Ticket {
		result, err = a.ticket(ctx, s)
	} else {
		result, out, err = a.registrar.carryOut(holderOf(s), o)
	}
	if err != nil {
		a.core.logger.Error("request failed", "user", s.User, "client", s.ClientID, "reason", err.Error())
		return operation.Result{Code: operation.Unavailable}
	}
	if out.claim != "" {
		// The owner's answer comes when those are cut off who lived by it.
		if err := a.recheck(ctx, func(i *issued) bool { return i.dependsOn(out.claim) }); err != nil {
			a.core.logger.Error("accounts to be removed are left for later", "claim", shown(out.claim), "reason", err.Error())
			a.owe()
		}
	}
	return result
}

// until returns when a ticket ends for which these grants were presented.
func (a *Authority) until(now, grants time.Time) time.Time {
	until := now.Add(a.cfg.Ticket)
	if !grants.IsZero() {
		until = earliest(until, grants)
	}
	return until.Truncate(time.Second)
}
