package authbroker

import (
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
)

// take is shown what a client publishes on the authentication topic once it is connected: requests. What is none, or
// not this session's, is acknowledged and comes to nothing; it may be somebody else's who can write on the wire.
func (f *connection) take(_ string, m *wire.PublishPacket) (reason byte) {
	if m.Retain || len(m.Payload) > frame.MaxSize {
		f.l.counters.requestsIgnored.Add(1)
		return wire.Success
	}
	response, out := f.carryOut(m.Payload)
	if out.granted {
		f.refresh()
	}
	if response != nil {
		f.mu.Lock()
		c := f.conn
		f.mu.Unlock()
		_ = f.say(c, response) // a connection that takes nothing any more ends by itself
	}
	return wire.Success
}

// carryOut opens a request and does what it asks for, unless it is a repetition. It returns the response.
func (f *connection) carryOut(b []byte) (response []byte, out outcome) {
	op, err := f.run.Request(b)
	if err != nil {
		f.l.counters.requestsIgnored.Add(1)
		return nil, out
	}
	if op.Octets == nil {
		return op.Repeat, out
	}
	f.l.counters.requests.Add(1)
	o, err := operation.Parse(op.Octets)
	result := operation.Result{Code: operation.Malformed}
	switch {
	case err != nil:
	case o.Kind == operation.Ticket:
		result.Code = operation.Unavailable // tickets are for those who log in beside a broker
	default:
		h := holderOf(f.run)
		if result, out, err = f.l.current.Load().registrar.carryOut(h, &o); err != nil {
			f.l.logger.Error("request failed", "user", h.user, "client", h.clientID, "reason", err.Error())
			result, out = operation.Result{Code: operation.Unavailable}, outcome{}
		}
	}
	f.l.audit(f.run.User, f.clientID, &o, &result)
	encoded, err := result.Encode(o.Kind)
	if err == nil {
		response, err = f.run.Respond(op.Counter, encoded)
	}
	if err != nil {
		f.l.logger.Error("response failed", "client", f.clientID, "reason", err.Error())
	}
	if out.claim != "" {
		f.l.changed(out.claim)
	}
	return response, out
}

// changed has every connection that lives by a claim look at its grants anew.
func (l *Listener) changed(claim string) {
	for _, f := range l.live.all(claimName(claim)) {
		f.refresh()
	}
}

func (l *Listener) audit(user, clientID string, o *operation.Operation, result *operation.Result) {
	l.counters.judged(o, result)
	logger := l.logger.With("user", user, "client", clientID)
	audit(logger, o, result)
}
