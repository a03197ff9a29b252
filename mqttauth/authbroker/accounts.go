package authbroker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
)

// AccountPrefix is what the user names of all accounts begin with that an Authority makes. A broker must have no others
// of that kind: an Authority removes those that it does not know.
const AccountPrefix = "mqttauth-"

// Account is a short-lived account at a broker.
type Account struct {
	// Username begins with AccountPrefix. No other account ever has the same.
	Username string
	// Password has 43 characters of base64url.
	Password string
	// ClientID is the only Client Identifier that may use the account.
	ClientID string
	// Publish and Subscribe are the Topic Filters of what it may do, and it may do nothing else: publish on a topic
	// that a filter matches, subscribe to a filter that one covers, receive what one matches.
	Publish, Subscribe []string
	// Expires is when the Authority will remove it.
	Expires time.Time
}

// Format writes all but the password.
func (a Account) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "authbroker.Account(%q, client %q, publish %q, subscribe %q)", a.Username, a.ClientID, a.Publish, a.Subscribe)
}

// Provisioner makes and removes accounts at a broker. Its methods are called by one goroutine at a time. What fails is
// tried again later; so each must come to the same result when it is repeated, also after a crash in the midst of it.
type Provisioner interface {
	// Provision makes an account. When it returns the account can be used.
	Provision(ctx context.Context, a Account) error
	// Remove removes an account and what belongs to it, and ends the connections that use it. One that does not exist
	// is no error.
	Remove(ctx context.Context, username string) error
	// Accounts returns the user names of the accounts at the broker that begin with AccountPrefix, and of those of
	// which a part is left.
	Accounts(ctx context.Context) ([]string, error)
}

// accountsEach is how many accounts a user's client keeps when it gets another one: those before may be in use still.
const accountsEach = 4

// retry is how long after a failure the accounts are looked after again.
const retry = 5 * time.Second

func (i *issued) dependsOn(claim string) bool {
	for _, g := range i.grants {
		if g.claim == claim {
			return true
		}
	}
	return false
}

// ticket makes an account for what was presented in this session and, by the same client, before.
func (a *Authority) ticket(ctx context.Context, s *handshake.Session) (operation.Result, error) {
	a.accounts.Lock()
	defer a.accounts.Unlock()
	h := holderOf(s)
	var refusal operation.Code
	if err := a.core.store.view(h.enrolled); errors.As(err, &refusal) {
		return operation.Result{Code: refusal}, nil
	} else if err != nil {
		return operation.Result{}, err
	}
	now := a.core.clock.Now()
	grants, end, err := a.registrar.granted(s.User, s.ClientID)
	if err != nil {
		return operation.Result{}, err
	}
	username := AccountPrefix + strings.ToLower(rand.Text())
	password, err := s.TicketPassword(username)
	if err != nil {
		return operation.Result{}, err
	}
	made := issued{user: s.User, clientID: s.ClientID, until: a.until(now, end), grants: grants}
	if !made.until.After(now) {
		return operation.Result{Code: operation.Expired}, nil
	}
	if err := a.makeRoom(ctx, s.User, s.ClientID); err != nil {
		return operation.Result{}, err
	}
	// Noted before it is made, so that whatever happens next it will be removed.
	if err := a.core.store.update(func(t tx) error { return t.put(bucketAccounts, username, made.encode()) }); err != nil {
		return operation.Result{}, err
	}
	account := Account{Username: username, Password: password, ClientID: s.ClientID, Expires: made.until}
	for _, rule := range a.cfg.Public {
		account.permit(rule.Filter, rule.Publish, rule.Subscribe)
	}
	for _, g := range grants {
		account.permit(g.filter, g.kind == token.Auth1, g.kind == token.Auth2)
	}
	limited, cancel := context.WithTimeout(ctx, a.cfg.Provision)
	defer cancel()
	if err := a.cfg.Provisioner.Provision(limited, account); err != nil {
		note(a.wake) // the account is looked after as one that nobody knows the password of
		return operation.Result{}, fmt.Errorf("authbroker: making an account: %w", errors.Join(err, a.doom(username)))
	}
	a.counters.tickets.Add(1)
	note(a.wake)
	return operation.Result{Username: username, Until: made.until}, nil
}

func (a *Account) permit(filter string, publish, subscribe bool) {
	if publish {
		a.Publish = append(a.Publish, filter)
	}
	if subscribe {
		a.Subscribe = append(a.Subscribe, filter)
	}
}

// doom has an account removed as soon as possible.
func (a *Authority) doom(username string) error {
	return a.core.store.update(func(t tx) error {
		i := issued{until: time.Unix(0, 0)}
		return t.put(bucketAccounts, username, i.encode())
	})
}

// makeRoom removes the oldest accounts of a client that has many, and of a user whose clients have.
func (a *Authority) makeRoom(ctx context.Context, user, clientID string) error {
	err := a.keepFewer(ctx, accountsEach, func(i *issued) bool { return i.user == user && i.clientID == clientID })
	if err != nil {
		return err
	}
	return a.keepFewer(ctx, clientsEach, func(i *issued) bool { return i.user == user })
}

// keepFewer removes the accounts that end first until fewer than limit match.
func (a *Authority) keepFewer(ctx context.Context, limit int, match func(*issued) bool) error {
	all, err := a.issued(match)
	if err != nil || len(all) < limit {
		return err
	}
	sort.Slice(all, func(i, j int) bool { return all[i].until.Before(all[j].until) })
	for _, old := range all[:len(all)-limit+1] {
		if err := a.remove(ctx, old.username); err != nil {
			return err
		}
	}
	return nil
}

type namedAccount struct {
	username string
	issued
}

// issued returns the accounts in the store that match.
func (a *Authority) issued(match func(*issued) bool) (all []namedAccount, err error) {
	err = a.core.store.view(func(t tx) error {
		all = nil
		return t.each(bucketAccounts, "", func(username string, b []byte) error {
			i, err := decodeIssued(b)
			if err != nil {
				return fmt.Errorf("the account %.80q: %w", username, err)
			}
			if match(&i) {
				all = append(all, namedAccount{username, i})
			}
			return nil
		})
	})
	return all, err
}

// remove removes an account from the broker, and then from the store.
func (a *Authority) remove(ctx context.Context, username string) error {
	limited, cancel := context.WithTimeout(ctx, a.cfg.Provision)
	defer cancel()
	if err := a.cfg.Provisioner.Remove(limited, username); err != nil {
		return fmt.Errorf("authbroker: removing an account: %w", err)
	}
	a.counters.accountsRemoved.Add(1)
	a.core.logger.Info("account removed", "account", username)
	return a.core.store.update(func(t tx) error { return t.remove(bucketAccounts, username) })
}

// recheck removes the accounts among those that match of which a grant is not worth anything any more: the client comes
// back for another one, with what it still has.
func (a *Authority) recheck(ctx context.Context, match func(*issued) bool) error {
	a.accounts.Lock()
	defer a.accounts.Unlock()
	all, err := a.issued(match)
	if err != nil {
		return err
	}
	now := a.core.clock.Now()
	var gone []namedAccount
	for _, account := range all {
		over := !now.Before(account.until)
		if !over {
			err := a.core.store.view(func(t tx) error {
				kept, err := valid(t, account.grants, now, nil)
				over = len(kept) < len(account.grants)
				return err
			})
			if err != nil {
				return err
			}
		}
		if over {
			gone = append(gone, account)
		}
	}
	return a.removeEach(ctx, gone)
}

// removeEach removes accounts. One that the broker refuses to remove does not save the others; a broker that does not
// answer ends it.
func (a *Authority) removeEach(ctx context.Context, accounts []namedAccount) (failed error) {
	for _, account := range accounts {
		err := a.remove(ctx, account.username)
		failed = errors.Join(failed, err)
		if errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			break
		}
	}
	return failed
}

// reconcile removes the accounts at the broker that are not in the store, and those that should not be any more.
func (a *Authority) reconcile(ctx context.Context) error {
	if err := a.strangers(ctx); err != nil {
		return err
	}
	return a.recheck(ctx, func(*issued) bool { return true })
}

func (a *Authority) strangers(ctx context.Context) error {
	a.accounts.Lock()
	defer a.accounts.Unlock()
	limited, cancel := context.WithTimeout(ctx, a.cfg.Provision)
	defer cancel()
	names, err := a.cfg.Provisioner.Accounts(limited)
	if err != nil {
		return fmt.Errorf("authbroker: looking for accounts: %w", err)
	}
	known, err := a.issued(func(*issued) bool { return true })
	if err != nil {
		return err
	}
	ours := make(map[string]bool, len(known))
	for _, account := range known {
		ours[account.username] = true
	}
	for _, name := range names {
		if !ours[name] && strings.HasPrefix(name, AccountPrefix) {
			if err := a.remove(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookAfter removes accounts when their time is over, and reconciles whenever the broker has come up.
func (a *Authority) lookAfter(ctx context.Context, up <-chan struct{}) {
	timer := make(chan struct{}, 1)
	stop := func() bool { return false }
	defer func() { stop() }()
	whole := false // nothing is known of the broker's accounts before it was up
	for {
		select {
		case <-ctx.Done():
			return
		case <-up:
			whole = true
		case <-a.wake:
		case <-timer:
		}
		next, err := a.lookNow(ctx, &whole)
		if err != nil && ctx.Err() == nil {
			a.core.logger.Error("looking after accounts", "reason", shown(err.Error()))
			next = a.core.clock.Now().Add(retry)
		}
		stop()
		if !next.IsZero() {
			stop = a.core.clock.AfterFunc(max(next.Sub(a.core.clock.Now()), 0), func() { note(timer) })
		}
	}
}

// lookNow does what is to be done now and returns when to look again.
func (a *Authority) lookNow(ctx context.Context, whole *bool) (next time.Time, err error) {
	if *whole {
		if err := a.reconcile(ctx); err != nil {
			return next, err
		}
		*whole = false
		a.once.Do(func() { close(a.ready) })
	}
	now := a.core.clock.Now()
	owed := a.owed.Swap(false)
	if err := a.recheck(ctx, func(i *issued) bool { return owed || !now.Before(i.until) }); err != nil {
		if owed {
			a.owed.Store(true)
		}
		return next, err
	}
	left, err := a.issued(func(*issued) bool { return true })
	for _, account := range left {
		if next.IsZero() || account.until.Before(next) {
			next = account.until
		}
	}
	return next, err
}

// owe has accounts that could not be removed looked for again, whatever their time.
func (a *Authority) owe() {
	a.owed.Store(true)
	note(a.wake)
}

// Revoke takes something back: a user's accounts are removed, or those that live by a claim, which cuts their
// connections off, and what is in the store. It returns how many accounts it removed.
func (a *Authority) Revoke(ctx context.Context, r Revocation) (removed int, err error) {
	if r == (Revocation{}) {
		return 0, errors.New("authbroker: a revocation of nothing")
	}
	before := a.counters.accountsRemoved.Load()
	if r.User != "" {
		if err := a.core.store.ForgetGrants(r.User); err != nil {
			return 0, err
		}
		if err := a.removeAccounts(ctx, func(i *issued) bool { return i.user == r.User }); err != nil {
			return 0, err
		}
	}
	if r.Claim != "" {
		if _, err := a.core.store.RemoveClaim(r.Claim); err != nil {
			return 0, err
		}
		if err = a.recheck(ctx, func(i *issued) bool { return i.dependsOn(r.Claim) }); err != nil {
			a.owe()
		}
	}
	a.core.logger.Info("revoked", "user", r.User, "claim", r.Claim)
	return int(a.counters.accountsRemoved.Load() - before), err
}

// removeAccounts removes accounts now or, if the broker does not, as soon as it does: their time is over.
func (a *Authority) removeAccounts(ctx context.Context, match func(*issued) bool) error {
	a.accounts.Lock()
	defer a.accounts.Unlock()
	defer note(a.wake)
	all, err := a.issued(match)
	if err != nil {
		return err
	}
	err = a.core.store.update(func(t tx) error {
		for _, account := range all {
			over := account.issued
			over.until = time.Unix(0, 0)
			if err := t.put(bucketAccounts, account.username, over.encode()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.removeEach(ctx, all)
}
