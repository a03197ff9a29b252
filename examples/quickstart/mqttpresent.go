package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
	"github.com/mqttsec/mqttsec/present"
)

// mqttPresentDemo shows the whole of MQTT-PRESENT: AugPAKE to log in, payloads sealed with PRESENT twice, once for the
// way to the broker and once end to end, and signed, so that the publisher cannot deny them.
func mqttPresentDemo(ctx context.Context, s stage) error {
	d, stop, err := newAuthority(s, authbroker.HopPRESENT)
	if err != nil {
		return err
	}
	defer stop()
	owner, err := d.claim(ctx, s.base+"/#")
	if err != nil {
		return err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	versions := []version{d.server.mqtt5(), d.server.mqtt311()}
	for i, v := range versions {
		other := versions[1-i]
		fmt.Fprintf(s.out, "\n%s to %s\n", v.name, other.name)
		token, err := d.invite(ctx, other, owner)
		if err != nil {
			return err
		}
		if err := d.twice(ctx, v, other, owner, token, public, private); err != nil {
			return err
		}
	}
	return d.overheard(d.tokens)
}

// twice lets the sensor publish and bob read, with payloads protected twice on the way.
func (d *authority) twice(ctx context.Context, from, to version, owner mqttauth.OwnerToken, read mqttauth.Token, public ed25519.PublicKey, private ed25519.PrivateKey) error {
	topic := d.base + "/kitchen/door"
	write, err := owner.Issue(mqttauth.Terms{Kind: mqttauth.Auth1, Filter: topic, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		return err
	}
	d.tokens = append(d.tokens, write)
	signers := make(chan ed25519.PublicKey, 1)
	theirs, err := d.protected(bob, read, present.Config{
		Keys: []present.Key{read.Key()}, Publishers: []ed25519.PublicKey{public},
		Delivered: func(m present.Delivery) { signers <- m.Publisher },
	})
	if err != nil {
		return err
	}
	ours, err := d.protected(sensor, write, present.Config{Keys: []present.Key{write.Key()}, Signer: private})
	if err != nil {
		return err
	}
	d.wire.forget()
	received, err := exchange(ctx, from.client(id(sensor), ours), to.client(id(bob), theirs), topic, opening)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  %-38s %s\n", "bob, with the token, reads", received)
	if received != opening {
		return fmt.Errorf("the application received %q", received)
	}
	select {
	case signer := <-signers:
		if !signer.Equal(public) {
			return errors.New("signed by somebody else")
		}
		fmt.Fprintf(d.out, "  %-38s %s\n", "signed by", hex.EncodeToString(signer[:8]))
	case <-ctx.Done():
		return fmt.Errorf("nobody signed: %w", context.Cause(ctx))
	}
	passed := <-d.server.passed
	seen := d.wire.heard()
	switch {
	case bytes.Contains(passed.payload, []byte(opening)):
		return errors.New("the broker could read the message")
	case bytes.Contains(seen, []byte(opening)):
		return errors.New("the message went over the network in the clear")
	case bytes.Contains(seen, passed.payload):
		return errors.New("the message went over the network protected once only")
	}
	fmt.Fprintf(d.out, "  %-38s %s... (%d octets), sealed end to end\n", "the broker sees", hex.EncodeToString(passed.payload[:16]), len(passed.payload))
	fmt.Fprintf(d.out, "  %-38s sealed once more, otherwise for each of them\n", "the network sees")
	return nil
}

// protected is all layers of a user: the handshake, the hop on its keys, and the seal for those who have the token.
func (d *authority) protected(user string, token mqttauth.Token, cfg present.Config) (scheme, error) {
	auth, err := d.user(user, passwordOf(user), token)
	if err != nil {
		return nil, err
	}
	sealer, err := present.New(cfg)
	if err != nil {
		return nil, err
	}
	return stacked{sealer, present.Session(present.SessionConfig{}), auth}, nil
}
