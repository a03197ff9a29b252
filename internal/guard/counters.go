package guard

import "sync/atomic"

// Counters count since the Guard was made.
type Counters struct {
	Active            int64 // sessions now
	Admitted          int64 // sessions begun
	Refused           int64 // CONNECTs refused by Admit
	Published         int64 // PUBLISH that a client was permitted
	PublishDenied     int64 // and that it was not
	Subscribed        int64 // filters that a client was permitted
	SubscribeDenied   int64 // and that it was not
	Delivered         int64 // PUBLISH forwarded to a client
	DeliveryDenied    int64 // that ended a connection
	RetainedWithheld  int64 // retained PUBLISH that had outlived its publisher's grant
	RetainedForgotten int64 // PUBLISH that lost its RETAIN because too many topics are remembered
	Renewed           int64 // grants replaced
	Expired           int64 // connections ended because their grant ran out
	Revoked           int64 // and by Revoke
	TakenOver         int64 // and by another connection with their Client Identifier
}

type counters struct {
	active, admitted, refused, published, publishDenied, subscribed, subscribeDenied, delivered, deliveryDenied,
	retainedWithheld, retainedForgotten, renewed, expired, revoked, takenOver atomic.Int64
}

// Counters returns the counts of this moment.
func (g *Guard) Counters() Counters {
	c := &g.counters
	return Counters{
		Active:            c.active.Load(),
		Admitted:          c.admitted.Load(),
		Refused:           c.refused.Load(),
		Published:         c.published.Load(),
		PublishDenied:     c.publishDenied.Load(),
		Subscribed:        c.subscribed.Load(),
		SubscribeDenied:   c.subscribeDenied.Load(),
		Delivered:         c.delivered.Load(),
		DeliveryDenied:    c.deliveryDenied.Load(),
		RetainedWithheld:  c.retainedWithheld.Load(),
		RetainedForgotten: c.retainedForgotten.Load(),
		Renewed:           c.renewed.Load(),
		Expired:           c.expired.Load(),
		Revoked:           c.revoked.Load(),
		TakenOver:         c.takenOver.Load(),
	}
}
