package acebroker

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

	Verified         int64 // tokens validated
	Cached           int64 // tokens found in the cache of valid ones
	Rejected         int64 // tokens that are not valid
	Introspected     int64 // requests to an introspection endpoint
	Unreachable      int64 // tokens refused because no Authorization Server could be asked
	Challenges       int64 // nonces sent
	ProofFailed      int64 // proofs of possession that failed, or were not admissible
	Anonymous        int64 // connections that are for public topics alone
	Reauthenticated  int64 // re-authentications that succeeded
	ReauthRefused    int64 // and that did not
	Uploaded         int64 // tokens accepted at authz-info
	UploadRefused    int64 // and not
	HandshakesFailed int64 // connections that ended before their CONNECT was let through
}

type counters struct {
	verified, cached, rejected, introspected, unreachable, challenges, proofFailed, anonymous, reauthenticated, reauthRefused,
	uploaded, uploadRefused, handshakesFailed atomic.Int64
}

// Counters returns the counts of this moment.
func (l *Listener) Counters() Counters {
	c := &l.counters
	return Counters{
		Counters:         l.guard.Counters(),
		Verified:         c.verified.Load(),
		Cached:           c.cached.Load(),
		Rejected:         c.rejected.Load(),
		Introspected:     c.introspected.Load(),
		Unreachable:      c.unreachable.Load(),
		Challenges:       c.challenges.Load(),
		ProofFailed:      c.proofFailed.Load(),
		Anonymous:        c.anonymous.Load(),
		Reauthenticated:  c.reauthenticated.Load(),
		ReauthRefused:    c.reauthRefused.Load(),
		Uploaded:         c.uploaded.Load(),
		UploadRefused:    c.uploadRefused.Load(),
		HandshakesFailed: c.handshakesFailed.Load(),
	}
}
