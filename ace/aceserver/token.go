package aceserver

import (
	"net/http"
	"time"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/ace/internal/claims"
)

// tokenIDSize is how many random bytes are in a token's jti or cti, before base64url.
const tokenIDSize = 12

// serveToken is the token endpoint (RFC 9200, section 5.8).
func (s *Server) serveToken(x *exchange) (int, []byte, error) {
	q, err := parseTokenRequest(x.body, x.request)
	if err != nil {
		return 0, nil, err
	}
	client, err := s.client(x, q.credentials)
	if err != nil {
		return 0, nil, err
	}
	if q.grantType != "client_credentials" || q.refresh {
		return 0, nil, refuse(unsupportedGrantType, "the only grant type here is client_credentials")
	}
	t, granted, err := s.decide(x, client, q)
	if err != nil {
		return 0, nil, err
	}
	response, err := s.issue(x, client, t, granted, q)
	if err != nil {
		return 0, nil, err
	}
	body, err := response.encode(x.answer)
	return http.StatusOK, body, err
}

// decide settles audience and scope.
func (s *Server) decide(x *exchange, client Client, q tokenRequest) (*target, Scope, error) {
	all := s.rightsOf(client)
	name := q.audience
	if name == "" {
		if len(all) != 1 {
			return nil, nil, refuse(invalidRequest, "no audience, and there is not one that goes without saying")
		}
		for only := range all {
			name = only
		}
	}
	rights, ok := all[name]
	if !ok { // also for an audience that does not exist: which ones do is nobody's business
		return nil, nil, refuse(unauthorizedClient, "this client may not have tokens for this audience")
	}
	if rights.dropped > 0 {
		s.log.WarnContext(x.r.Context(), "policy entries do not count for a client whose ID would change their meaning",
			"client", client.ID, "audience", name, "entries", rights.dropped)
	}
	granted, err := rights.grant(q.scope, q.hasScope)
	return s.targets[name], granted, err
}

// issue makes the token and remembers it before anybody hears of it.
func (s *Server) issue(x *exchange, client Client, t *target, granted Scope, q tokenRequest) (response tokenResponse, err error) {
	var cnf claims.Confirmation
	err = s.store.View(func(tx store.Tx) error {
		cnf, err = s.proofKey(tx, x.r, client, &t.Audience, q.reqCnf)
		return err
	})
	if err != nil {
		return tokenResponse{}, err
	}
	set, expires, err := s.claimsFor(x, client, t, cnf)
	if err != nil {
		return tokenResponse{}, err
	}
	set.Scope, set.CNonce = granted, q.cnonce
	response = tokenResponse{expiresIn: t.Lifetime, scope: granted}
	if response.token, response.text, err = t.token(s.keys.Load(), set); err != nil {
		return tokenResponse{}, err
	}
	if cnf.Key.Symmetric() {
		response.cnf = cnf
	} else {
		response.rsCnf = t.rsCnf
	}
	prunes, more := s.pruneNow(x.now), false
	err = s.store.Update(func(tx store.Tx) error {
		if err := s.unchanged(tx, client, t, q.reqCnf); err != nil {
			return err
		}
		if prunes {
			if more, err = prune(tx, x.now); err != nil {
				return err
			}
		}
		if err := rememberKey(tx, client, &t.Audience, cnf, expires); err != nil {
			return err
		}
		return rememberToken(tx, response.token, set, cnf.ID, expires)
	})
	if err != nil {
		return tokenResponse{}, err
	}
	if more {
		s.pruned.Store(0) // the next token goes on with it: else the store would grow with many tokens a second
	}
	s.log.InfoContext(x.r.Context(), "token issued", "client", client.ID, "from", x.from, "audience", t.Name,
		"format", t.Format.String(), "id", set.ID, "key", string(cnf.Key.Algorithm()), "key_id", cnf.ID,
		"entries", len(granted), "expires", expires)
	return response, nil
}

// claimsFor is what a token says but for what the client asked for.
func (s *Server) claimsFor(x *exchange, client Client, t *target, cnf claims.Confirmation) (set claims.Set, expires time.Time, err error) {
	issued := x.now.Truncate(time.Second)
	expires = x.now.Add(t.Lifetime + time.Second - 1).Truncate(time.Second) // not before expires_in says
	if !cnf.Key.Symmetric() {
		cnf.ID = "" // the key is there itself; a name that the client chose could be another's to the broker
	}
	set = claims.Set{
		Issuer:       s.issuer,
		Subject:      client.ID,
		ClientID:     client.ID,
		Audience:     []string{t.Name},
		IssuedAt:     issued,
		Expires:      expires,
		ID:           randomText(tokenIDSize),
		Confirmation: cnf,
		Profile:      profileName,
	}
	if !t.NoClock {
		return set, expires, nil
	}
	err = s.store.Update(func(tx store.Tx) error {
		number, err := nextSequence(tx, t.Name)
		set.Expires, set.ExpiresIn, set.ID = time.Time{}, t.Lifetime, claims.SequenceID(t.Name, number)
		return err
	})
	return set, expires, err
}

// unchanged refuses to issue if the client, or the key that it has named, has been removed since they were looked up.
func (s *Server) unchanged(tx store.Tx, client Client, t *target, asked claims.Confirmation) error {
	if _, fixed := s.clients[client.ID]; !fixed && tx.Get(bucketClients, client.ID) == nil {
		return errUnauthenticated
	}
	if asked.ID == "" || asked.Key.Algorithm() != "" {
		return nil
	}
	_, err := s.knownKey(tx, client, &t.Audience, asked.ID)
	return err
}

// rememberToken writes down what the token says, under its hash, and what the client may call its key, which is not in
// a token with a public one.
func rememberToken(tx store.Tx, token []byte, set claims.Set, keyID string, expires time.Time) error {
	said, err := set.JSON()
	if err != nil {
		return err
	}
	record := tokenRecord{
		Client:   set.ClientID,
		Audience: set.Audience[0],
		KeyID:    keyID,
		Claims:   said,
		Expires:  expires.Unix(),
	}
	return saveUntil(tx, bucketTokens, hashOf(token), record, expires)
}

// pruneNow reports whether it is time to look for what has expired. It is, too, if the clock has gone back.
func (s *Server) pruneNow(now time.Time) bool {
	last := s.pruned.Load()
	since := now.UnixNano() - last
	return (since <= -int64(pruneEvery) || since >= int64(pruneEvery)) && s.pruned.CompareAndSwap(last, now.UnixNano())
}
