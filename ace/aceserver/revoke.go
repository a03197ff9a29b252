package aceserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
)

// serveRevoke is the revocation endpoint (RFC 7009). A token that is not known is revoked already.
func (s *Server) serveRevoke(x *exchange) (int, []byte, error) {
	q, err := parseTokenQuery(x.body, x.request)
	if err != nil {
		return 0, nil, err
	}
	client, err := s.client(x, q.credentials)
	if err != nil {
		return 0, nil, err
	}
	var record *tokenRecord
	err = s.store.View(func(tx store.Tx) error {
		_, record, err = lookUp(tx, q.token)
		return err
	})
	if err == nil && record != nil { // else there is nothing to write
		err = s.store.Update(func(tx store.Tx) error { return revoke(tx, client, q.token) })
	}
	if err != nil {
		return 0, nil, err
	}
	s.log.InfoContext(x.r.Context(), "token revoked", "client", client.ID, "from", x.from, "known", record != nil)
	return http.StatusOK, nil, nil
}

// revoke removes a token that is this client's.
func revoke(tx store.Tx, client Client, token []byte) error {
	hash, record, err := lookUp(tx, token)
	switch {
	case err != nil || record == nil:
		return err
	case record.Client != client.ID:
		return refuse(unauthorizedClient, "the token was issued to another client")
	}
	return forget(tx, hash, record)
}

// forget removes a token, and the key that it is bound to from those that may be named again: who revokes a token may
// have lost the key.
func forget(tx store.Tx, hash string, record *tokenRecord) error {
	if record.KeyID != "" {
		if err := tx.Delete(bucketKeys, keyName(record.Client, record.KeyID)); err != nil {
			return err
		}
	}
	return tx.Delete(bucketTokens, hash)
}

// ErrDamaged is about records of the store that cannot be read.
var ErrDamaged = errors.New("aceserver: damaged records in the store")

// Remove ends a registered client: it gets no more tokens, and those that it has count as revoked. A client of the
// configuration keeps its place there, but its tokens are revoked too. That the client does not exist is no error.
//
// It looks at all tokens that are out. Where records of some are damaged, all else is done, and then the error is
// [ErrDamaged] with their number: whose they are cannot be told. A broker that asks about such a token gets no answer.
func (s *Server) Remove(ctx context.Context, clientID string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	revoked, damaged := 0, 0
	err := s.store.Update(func(tx store.Tx) error {
		if err := tx.Delete(bucketClients, clientID); err != nil {
			return err
		}
		var theirs map[string]*tokenRecord
		theirs, damaged = tokensOf(tx, clientID)
		for hash, record := range theirs {
			if err := forget(tx, hash, record); err != nil {
				return err
			}
		}
		revoked = len(theirs)
		return forgetKeys(tx, clientID)
	})
	if err != nil {
		return err
	}
	s.log.InfoContext(ctx, "client removed", "client", clientID, "tokens", revoked, "damaged", damaged)
	if damaged > 0 {
		return fmt.Errorf("%w: %d tokens, of which some may be those of %q", ErrDamaged, damaged, clientID)
	}
	return nil
}

// tokensOf returns a client's tokens by their hashes, and how many records of tokens cannot be read.
func tokensOf(tx store.Tx, clientID string) (theirs map[string]*tokenRecord, damaged int) {
	theirs = map[string]*tokenRecord{}
	tx.Ascend(bucketTokens, func(hash string, _ []byte) bool {
		var record tokenRecord
		if _, err := load(tx, bucketTokens, hash, &record); err != nil {
			damaged++
		} else if record.Client == clientID {
			theirs[hash] = &record
		}
		return true
	})
	return theirs, damaged
}

// forgetKeys removes what is left of a client's keys, those of tokens that have expired.
func forgetKeys(tx store.Tx, clientID string) error {
	var names []string
	tx.Ascend(bucketKeys, func(name string, _ []byte) bool {
		if strings.HasPrefix(name, keyName(clientID, "")) {
			names = append(names, name)
		}
		return true
	})
	for _, name := range names {
		if err := tx.Delete(bucketKeys, name); err != nil {
			return err
		}
	}
	return nil
}
