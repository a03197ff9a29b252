package aceserver

import (
	"crypto"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// The buckets of the store. Everything in them but bucketExpiry and bucketSequence is JSON.
const (
	bucketClients   = "clients"   // by client_id
	bucketTokens    = "tokens"    // by the token's hash
	bucketKeys      = "keys"      // by client_id, a zero byte and key identifier
	bucketInvites   = "invites"   // initial access tokens, by hash
	bucketSequences = "sequences" // by audience: the last number given to a token with exi
	bucketExpiry    = "expiry"    // by time, bucket and key: what may be forgotten then
)

// clientRecord is a registered client in the store.
type clientRecord struct {
	Name        string            `json:"name,omitempty"`
	Group       string            `json:"group,omitempty"`
	Secret      SecretHash        `json:"secret,omitzero"`
	Certificate []byte            `json:"certificate,omitempty"`
	DNSName     string            `json:"dns_name,omitempty"`
	Keys        []json.RawMessage `json:"keys,omitempty"` // JWKs
	Registered  int64             `json:"registered"`
}

func (r clientRecord) client(id string) (Client, error) {
	c := Client{ID: id, Group: r.Group, Credential: Credential{Secret: r.Secret, DNSName: r.DNSName}}
	copy(c.Credential.Certificate[:], r.Certificate)
	for _, raw := range r.Keys {
		jwk, err := pop.ParseJWK(raw)
		if err != nil {
			return Client{}, err
		}
		c.Keys = append(c.Keys, jwk.Public)
	}
	return c, nil
}

// tokenRecord is a token that is out. There is none for one that has been revoked.
type tokenRecord struct {
	Client   string          `json:"client"`
	Audience string          `json:"audience"`
	KeyID    string          `json:"key_id,omitempty"`
	Claims   json.RawMessage `json:"claims"`  // with the secret of a symmetric key
	Expires  int64           `json:"expires"` // seconds since 1970
}

// keyRecord is a key that a token has been issued for and that may be named by its identifier from now on.
type keyRecord struct {
	Audience     string          `json:"audience"`
	Confirmation json.RawMessage `json:"cnf"`
	Expires      int64           `json:"expires"`
}

// inviteRecord is an initial access token (RFC 7591, section 1.2).
type inviteRecord struct {
	Group   string `json:"group,omitempty"`
	Uses    int    `json:"uses"`
	Expires int64  `json:"expires"`
}

// load reads a record; found is false if there is none.
func load(tx store.Tx, bucket, key string, record any) (found bool, err error) {
	raw := tx.Get(bucket, key)
	if raw == nil {
		return false, nil
	}
	if err := json.Unmarshal(raw, record); err != nil {
		return false, fmt.Errorf("aceserver: a damaged record in %q: %w", bucket, err)
	}
	return true, nil
}

func save(tx store.Tx, bucket, key string, record any) error {
	raw, err := json.Marshal(record)
	if err != nil {
		return err
	}
	return tx.Put(bucket, key, raw)
}

// saveUntil saves a record that prune removes some time after it has expired.
func saveUntil(tx store.Tx, bucket, key string, record any, expires time.Time) error {
	if err := save(tx, bucket, key, record); err != nil {
		return err
	}
	due := binary.BigEndian.AppendUint64(nil, uint64(expires.Unix()))
	return tx.Put(bucketExpiry, string(due)+bucket+"\x00"+key, []byte{1})
}

// expiring are the records that prune removes, by what they all have.
type expiring struct {
	Expires int64 `json:"expires"`
}

const (
	pruneEvery = time.Second // between two looks for what has expired
	pruneMost  = 512         // records removed at one look
)

// prune removes records that have expired, a few at a time, so that the store does not grow for ever, and reports
// whether there may be more. One that has been written anew meanwhile, with a later end, stays.
func prune(tx store.Tx, now time.Time) (more bool, err error) {
	var due []string
	tx.Ascend(bucketExpiry, func(key string, _ []byte) bool {
		if len(key) < 8 || int64(binary.BigEndian.Uint64([]byte(key[:8]))) >= now.Unix() {
			return false
		}
		due = append(due, key)
		return len(due) < pruneMost
	})
	for _, entry := range due {
		if err := tx.Delete(bucketExpiry, entry); err != nil {
			return false, err
		}
		bucket, key, ok := cut(entry[8:])
		if !ok {
			continue
		}
		var record expiring
		if found, err := load(tx, bucket, key, &record); err == nil && (!found || record.Expires >= now.Unix()) {
			continue
		} // and one that cannot be read is of no use to anybody
		if err := tx.Delete(bucket, key); err != nil {
			return false, err
		}
	}
	return len(due) == pruneMost, nil
}

// cut splits the end of a key in bucketExpiry; the record's own key may contain zero bytes.
func cut(s string) (bucket, key string, ok bool) {
	for i := range len(s) {
		if s[i] == 0 {
			return s[:i], s[i+1:], true
		}
	}
	return "", "", false
}

// keyName is the key in bucketKeys: a client can name its own keys only.
func keyName(clientID, keyID string) string { return clientID + "\x00" + keyID }

// nextSequence counts the tokens with exi for an audience, across restarts.
func nextSequence(tx store.Tx, audience string) (uint64, error) {
	var last uint64
	if raw := tx.Get(bucketSequences, audience); len(raw) == 8 {
		last = binary.BigEndian.Uint64(raw)
	}
	return last + 1, tx.Put(bucketSequences, audience, binary.BigEndian.AppendUint64(nil, last+1))
}

// encodeKeys writes public keys as the store has them.
func encodeKeys(keys []crypto.PublicKey) (raws []json.RawMessage, err error) {
	for _, key := range keys {
		v, err := pop.PublicKey(key)
		if err != nil {
			return nil, err
		}
		raw, err := pop.NewJWK(v, "").Encode()
		if err != nil {
			return nil, err
		}
		raws = append(raws, raw)
	}
	return raws, nil
}

// confirmationOf reads the key of a record.
func (r keyRecord) confirmation() (claims.Confirmation, error) {
	return claims.ParseConfirmationJSON(r.Confirmation)
}
