package authbroker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Where several processes share a store, a Client Identifier belongs to the user who came with it first until this long
// after the MQTT session may have ended, for whichever of the processes she comes to; each process renews it, for its
// connections, with every sweep. A process that dies renews nothing.
const clientMemory = 24 * time.Hour

// clientsOfOne bounds the Client Identifiers that one user has at once.
const clientsOfOne = 10_000

var (
	errHeld    = errors.New("the Client Identifier belongs to another user")
	errTooMany = errors.New("the user has too many Client Identifiers")
)

// bound is what a client hears of what bind returns.
func bound(err error) (reason byte) {
	switch {
	case errors.Is(err, errHeld):
		return wire.ClientIdentifierNotValid
	case errors.Is(err, errTooMany):
		return wire.QuotaExceeded
	}
	return wire.ServerUnavailable
}

// bind notes that a user has a Client Identifier, whose MQTT session outlives the connection for so long, for ever if
// that is negative.
func (r *registrar) bind(user, clientID string, expiry time.Duration) error {
	now := r.now()
	until := time.Unix(1<<40, 0)
	if expiry >= 0 {
		until = now.Add(expiry + clientMemory)
	}
	return r.store.update(func(t tx) error {
		before, err := getUse(t, bucketClients, clientID)
		switch {
		case err != nil:
			return err
		case before == nil:
		case before.user == user:
			if off := until.Sub(before.until); off > -clientMemory/2 && off < clientMemory/2 {
				return nil // no write for each connection
			}
			return putUse(t, bucketClients, clientID, user, until)
		case now.Before(before.until):
			return errHeld
		default:
			if err := countClients(t, before.user, -1); err != nil {
				return err
			}
		}
		if err := countClients(t, user, 1); err != nil {
			return err
		}
		return putUse(t, bucketClients, clientID, user, until)
	})
}

func getUse(t tx, bucket, key string) (*use, error) {
	b := t.get(bucket, key)
	if b == nil {
		return nil, nil
	}
	u, err := decodeUse(b)
	if err != nil {
		return nil, fmt.Errorf("%s, %.80q: %w", bucket, key, err)
	}
	return &u, nil
}

func putUse(t tx, bucket, key, user string, until time.Time) error {
	u := use{user: user, until: until}
	return t.put(bucket, key, u.encode())
}

// countClients changes how many Client Identifiers a user has.
func countClients(t tx, user string, by int) error {
	n := 0
	if b := t.get(bucketOwners, user); b != nil {
		r := begin(b)
		n = int(r.Uint32())
		if err := r.End(); err != nil {
			return fmt.Errorf("%s, %.80q: %w", bucketOwners, user, err)
		}
	}
	switch n += by; {
	case n <= 0:
		return t.remove(bucketOwners, user)
	case n > clientsOfOne:
		return errTooMany
	}
	return t.put(bucketOwners, user, binary.BigEndian.AppendUint32([]byte{recordVersion}, uint32(n)))
}

// forgetClients forgets the Client Identifiers of a user.
func forgetClients(t tx, user string) error {
	return forgetUses(t, func(u *use) bool { return u.user == user })
}

func forgetUses(t tx, over func(*use) bool) error {
	gone := map[string]string{}
	err := t.each(bucketClients, "", func(clientID string, b []byte) error {
		u, err := decodeUse(b)
		if err != nil {
			return fmt.Errorf("%s, %.80q: %w", bucketClients, clientID, err)
		}
		if over(&u) {
			gone[clientID] = u.user
		}
		return nil
	})
	for clientID, user := range gone {
		if err == nil {
			err = errors.Join(t.remove(bucketClients, clientID), countClients(t, user, -1))
		}
	}
	return err
}

// rebind renews the Client Identifiers of the connections that there are.
func (l *Listener) rebind() {
	for _, f := range l.live.every() {
		if err := f.settings.registrar.bind(f.run.User, f.clientID, f.expiry); err != nil {
			l.logger.Error("renewing a Client Identifier", "client", f.clientID, "reason", err.Error())
		}
	}
}
