package main

import (
	"context"

	"github.com/mqttsec/mqttsec/aesmsg"
)

// aesDemo shows aesmsg.
func aesDemo(ctx context.Context, s stage) error { return showSealing(ctx, s, newAES) }

func newAES(key aesmsg.Key, rejected func(aesmsg.Rejection)) (scheme, error) {
	return aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}, Rejected: rejected})
}
