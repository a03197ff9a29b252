package authbroker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
	"github.com/mqttsec/mqttsec/pake"
)

// What is in a store, and under which keys.
const (
	bucketUsers    = "users"    // user: verifier
	bucketClaims   = "claims"   // filter: claim
	bucketRevoked  = "revoked"  // filter 0x00 token id: when it was revoked
	bucketUsed     = "used"     // filter 0x00 token id: use
	bucketGrants   = "grants"   // user 0x00 Client Identifier: grants
	bucketAccounts = "accounts" // user name: issued
	bucketClients  = "clients"  // Client Identifier: use, of who has it; only in a store that processes share
	bucketOwners   = "owners"   // user: how many of these are hers
	bucketMeta     = "meta"     // "decoys": the secret behind the verifiers of nobody; "ended" 0x00 user: see Store.end
)

// decoysKey is in bucketMeta.
const decoysKey = "decoys"

// ErrLocked: another process has the store open.
var ErrLocked = errors.New("authbroker: the store is in use by another process")

// Store is what must survive a restart: the users' verifiers, claims with their epochs, revocations, who has used a
// single-use token, what each client was granted, and the accounts that were issued at a broker. Every change is whole
// or not made, and on disk before anybody is told of it. It is safe for concurrent use.
//
// It is secret: with a verifier a password can be guessed, and with the secrets of a claim tokens can be made. The
// keys of payloads are not in it.
type Store struct {
	backend backend
	guesses pake.GuessStore
	hub     *hub        // nil if remote
	remote  *remote     // nil if it is this process's
	shared  atomic.Bool // with other processes
	ctx     context.Context
	cancel  context.CancelFunc // ends what hears of changes

	learning sync.Mutex
	decoys   atomic.Pointer[[decoysSize]byte] // nil until the process that has the store has told it
}

// decoysSize is that of the secret behind the verifiers of nobody.
const decoysSize = 32

// OpenStore opens the store in the file, or creates it, readable for its owner alone. A file that another process has
// open is ErrLocked after a second; [WaitStore] waits.
func OpenStore(path string) (*Store, error) { return WaitStore(path, time.Second) }

// WaitStore is OpenStore for a standby: it waits for so long until the process that has the store ends.
func WaitStore(path string, wait time.Duration) (*Store, error) {
	b, err := openBolt(path, wait)
	if err != nil {
		return nil, err
	}
	return newStore(b)
}

// MemoryStore returns a store that ends with the process, for tests and demonstrations.
func MemoryStore() *Store {
	s, err := newStore(newMemory())
	if err != nil {
		panic(err) // memory does not fail
	}
	return s
}

func newStore(b backend) (*Store, error) {
	s := &Store{backend: b}
	if r, ok := b.(*remote); ok {
		s.remote, s.guesses = r, remoteGuesses{r}
		s.shared.Store(true)
	} else {
		s.hub, s.guesses = newHub(), pake.MemoryGuesses()
		s.backend = telling{b, s.hub}
	}
	if s.remote == nil {
		if err := s.learn(context.Background()); err != nil {
			return nil, errors.Join(fmt.Errorf("authbroker: the store: %w", err), b.close())
		}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// learn finds the secret of decoys, or makes it in a new store.
func (s *Store) learn(ctx context.Context) (err error) {
	s.learning.Lock()
	defer s.learning.Unlock()
	if s.decoys.Load() != nil {
		return nil
	}
	secret := new([decoysSize]byte)
	if s.remote != nil {
		err = s.remote.learn(ctx, secret)
	} else {
		err = s.backend.update(func(t tx) error {
			if b := t.get(bucketMeta, decoysKey); len(b) == decoysSize {
				copy(secret[:], b)
				return nil
			}
			rand.Read(secret[:]) // never fails
			return t.put(bucketMeta, decoysKey, secret[:])
		})
	}
	if err == nil {
		s.decoys.Store(secret)
	}
	return err
}

// Close closes the store. Nothing must use it any more.
func (s *Store) Close() error {
	s.cancel()
	return s.backend.close()
}

// Format writes the type alone.
func (s *Store) Format(f fmt.State, _ rune) { io.WriteString(f, "authbroker.Store{...}") }

// view and update name the store in what fails, and leave this package's verdicts alone.
func (s *Store) view(f func(tx) error) error { return storeError(s.backend.view(f)) }

func (s *Store) update(f func(tx) error) error { return storeError(s.backend.update(f)) }

func storeError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("authbroker: the store: %w", err)
}

// SetUser enrols a user, or gives one another password. The verifier must be one for the server's name.
func (s *Store) SetUser(user string, v *pake.Verifier) error {
	if !frame.ValidName(user) {
		return fmt.Errorf("authbroker: %.80q is no user name: 1 to 255 octets of UTF-8", user)
	}
	if v == nil {
		return errors.New("authbroker: no verifier")
	}
	b, err := v.MarshalBinary()
	if err != nil {
		return fmt.Errorf("authbroker: the verifier of %.80q: %w", user, err)
	}
	return s.update(func(t tx) error { return t.put(bucketUsers, user, b) })
}

// SetUserText is SetUser for a verifier in its text form, one line.
func (s *Store) SetUserText(user, verifier string) error {
	var v pake.Verifier
	if err := v.UnmarshalText([]byte(verifier)); err != nil {
		return fmt.Errorf("authbroker: the verifier of %.80q: %w", user, err)
	}
	return s.SetUser(user, &v)
}

// Verifier returns a user's verifier, nil for a user who does not exist.
func (s *Store) Verifier(user string) (v *pake.Verifier, err error) {
	err = s.view(func(t tx) error {
		b := t.get(bucketUsers, user)
		if b == nil {
			return nil
		}
		v = new(pake.Verifier)
		return v.UnmarshalBinary(b)
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Users returns the names of all users, in order.
func (s *Store) Users() (names []string, err error) {
	err = s.view(func(t tx) error {
		names = nil
		return t.each(bucketUsers, "", func(user string, _ []byte) error {
			names = append(names, user)
			return nil
		})
	})
	return names, err
}

// RemoveUser removes a user, what was granted to her, and her claims, so that the tokens made from them end. It
// reports whether she existed. Connections that she has stay until [Listener.Revoke] or [Authority.Revoke].
func (s *Store) RemoveUser(user string) (existed bool, err error) {
	err = s.update(func(t tx) error {
		existed = t.get(bucketUsers, user) != nil
		if err := t.remove(bucketUsers, user); err != nil {
			return err
		}
		if err := errors.Join(forgetGrants(t, user), forgetClients(t, user), t.remove(bucketMeta, endedPrefix+user)); err != nil {
			return err
		}
		var theirs []string
		err := eachClaim(t, func(filter string, c *claim) error {
			if c.owner == user {
				theirs = append(theirs, filter)
			}
			return nil
		})
		for _, filter := range theirs {
			err = errors.Join(err, removeClaim(t, filter))
		}
		return err
	})
	return existed, err
}

// ForgetGrants forgets what a user's clients were granted, on all Client Identifiers; they may present tokens again.
func (s *Store) ForgetGrants(user string) error {
	return s.update(func(t tx) error { return forgetGrants(t, user) })
}

// end is ForgetGrants, and has every Listener with this store, in this process and in others, end the connections that
// the user has now: they compare what is noted here.
func (s *Store) end(user string) error {
	mark := []byte(rand.Text())
	return s.update(func(t tx) error {
		return errors.Join(forgetGrants(t, user), t.put(bucketMeta, endedPrefix+user, mark))
	})
}

func forgetGrants(t tx, user string) error { return removeAll(t, bucketGrants, user+"\x00") }

// Claim is who owns a Topic Filter, for administrators.
type Claim struct {
	Filter  string    // what is claimed
	Owner   string    // the user who did
	Epoch   uint32    // of the tokens that count
	Expires time.Time // when anybody may claim it
}

// Claims returns all claims, in the order of their filters, those that have expired among them.
func (s *Store) Claims() (claims []Claim, err error) {
	err = s.view(func(t tx) error {
		claims = nil
		return eachClaim(t, func(filter string, c *claim) error {
			claims = append(claims, Claim{Filter: filter, Owner: c.owner, Epoch: c.epoch, Expires: c.until})
			return nil
		})
	})
	return claims, err
}

// RemoveClaim ends a claim, whoever owns it, and with it every token for it. It reports whether there was one.
// Connections that live by it stay until [Listener.Revoke] or [Authority.Revoke].
func (s *Store) RemoveClaim(filter string) (existed bool, err error) {
	err = s.update(func(t tx) error {
		existed = t.get(bucketClaims, filter) != nil
		return removeClaim(t, filter)
	})
	return existed, err
}

func eachClaim(t tx, f func(filter string, c *claim) error) error {
	return t.each(bucketClaims, "", func(filter string, b []byte) error {
		c, err := decodeClaim(b)
		if err != nil {
			return fmt.Errorf("the claim of %.80q: %w", filter, err)
		}
		return f(filter, &c)
	})
}

// getClaim returns a claim, nil if there is none.
func getClaim(t tx, filter string) (*claim, error) {
	b := t.get(bucketClaims, filter)
	if b == nil {
		return nil, nil
	}
	c, err := decodeClaim(b)
	if err != nil {
		return nil, fmt.Errorf("the claim of %.80q: %w", filter, err)
	}
	return &c, nil
}

// removeClaim removes a claim and what is known of tokens in it, which nothing refers to any more.
func removeClaim(t tx, filter string) error {
	if err := t.remove(bucketClaims, filter); err != nil {
		return err
	}
	return forgetTokens(t, filter)
}

// forgetTokens forgets which tokens of a claim were revoked and who used those for one user.
func forgetTokens(t tx, filter string) error {
	if err := removeAll(t, bucketRevoked, filter+"\x00"); err != nil {
		return err
	}
	return removeAll(t, bucketUsed, filter+"\x00")
}

func removeAll(t tx, bucket, prefix string) error {
	var keys []string
	err := t.each(bucket, prefix, func(key string, _ []byte) error {
		keys = append(keys, key)
		return nil
	})
	for _, key := range keys {
		if err == nil {
			err = t.remove(bucket, key)
		}
	}
	return err
}

func tokenKey(filter string, id token.ID) string { return filter + "\x00" + string(id[:]) }

func grantsKey(user, clientID string) string { return user + "\x00" + clientID }
