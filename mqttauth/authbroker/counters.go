package authbroker

import (
	"sync/atomic"

	"github.com/mqttsec/mqttsec/internal/guard"
)

// Counters count since the Listener was made.
type Counters struct {
	// Counters of what clients were permitted and denied; each is an int64:
	//
	//	Active, Admitted, Refused         sessions now, begun, and refused at CONNECT
	//	Published, PublishDenied          PUBLISH permitted, and not
	//	Subscribed, SubscribeDenied       filters permitted, and not
	//	Delivered, DeliveryDenied         PUBLISH forwarded to a client, and those that ended a connection instead
	//	RetainedWithheld                  retained PUBLISH that had outlived its publisher's grant
	//	RetainedForgotten                 PUBLISH that lost RETAIN because too many topics are remembered
	//	Renewed, Expired, Revoked         grants replaced; connections ended by time, and by Revoke
	//	TakenOver                         connections ended by another one with their Client Identifier
	guard.Counters

	Hellos           int64 // handshakes begun
	Welcomed         int64 // handshakes that succeeded
	ProofFailed      int64 // proofs that were wrong, for users who exist or not
	BackedOff        int64 // handshakes refused because too many guesses came before
	Requests         int64 // operations carried out: claims, presentations and so on
	RequestsIgnored  int64 // requests that did not open, or were out of order
	Presented        int64 // tokens accepted
	PresentRefused   int64 // tokens refused
	Claimed          int64 // claims given, renewed or moved to another epoch
	ClaimRefused     int64 // and refused
	HandshakesFailed int64 // connections that ended before their CONNECT was let through
	Tickets          int64 // accounts made, by an Authority
	AccountsRemoved  int64 // and removed
	Dropped          int64 // messages to an Authority that was busy
}

type counters struct {
	hellos, welcomed, proofFailed, backedOff, requests, requestsIgnored, presented, presentRefused, claimed, claimRefused,
	handshakesFailed, tickets, accountsRemoved, dropped atomic.Int64
}

// Counters returns the counts of this moment.
func (l *Listener) Counters() Counters {
	counts := l.counters.read()
	counts.Counters = l.guard.Counters()
	return counts
}

func (c *counters) read() Counters {
	return Counters{
		Hellos:           c.hellos.Load(),
		Welcomed:         c.welcomed.Load(),
		ProofFailed:      c.proofFailed.Load(),
		BackedOff:        c.backedOff.Load(),
		Requests:         c.requests.Load(),
		RequestsIgnored:  c.requestsIgnored.Load(),
		Presented:        c.presented.Load(),
		PresentRefused:   c.presentRefused.Load(),
		Claimed:          c.claimed.Load(),
		ClaimRefused:     c.claimRefused.Load(),
		HandshakesFailed: c.handshakesFailed.Load(),
		Tickets:          c.tickets.Load(),
		AccountsRemoved:  c.accountsRemoved.Load(),
		Dropped:          c.dropped.Load(),
	}
}
