package main

import (
	"context"

	"github.com/mqttsec/mqttsec/present"
)

// presentDemo shows present, whose keys and refusals are those of aesmsg.
func presentDemo(ctx context.Context, s stage) error { return showSealing(ctx, s, newPresent) }

func newPresent(key present.Key, rejected func(present.Rejection)) (scheme, error) {
	return present.New(present.Config{Keys: []present.Key{key}, Rejected: rejected})
}
