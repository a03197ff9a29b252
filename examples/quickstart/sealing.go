package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/mqttsec/mqttsec/aesmsg"
)

// A maker makes values of one payload scheme. rejected, if not nil, hears of
// what a value refuses. Keys and refusals are the same for all such schemes.
type maker func(key aesmsg.Key, rejected func(aesmsg.Rejection)) (scheme, error)

// Sealing runs the application beside an eavesdropper and prints what each of
// them saw. What is to be seen and is not ends it with an error.
type sealing struct {
	stage
	versions []version // one or two
	scheme   maker
	key      aesmsg.Key

	eavesdropper connection // an ordinary client that has subscribed to everything
}

// showSealing shows both directions, plain and sealed, and then attacks.
func showSealing(ctx context.Context, s stage, scheme maker) error {
	key, err := aesmsg.GenerateKey(s.base + "/#")
	if err != nil {
		return err
	}
	versions, err := s.server.versions(ctx)
	if err != nil {
		return err
	}
	if len(versions) == 1 {
		fmt.Fprintf(s.out, "\nThis broker takes %s only, so all clients here speak that.\n", versions[0].name)
	}
	eavesdropper, err := versions[0].client(id("eavesdropper"), nil).connect(ctx)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.server.url.Redacted(), err)
	}
	defer eavesdropper.close()
	if err := eavesdropper.subscribe(ctx, s.base+"/#"); err != nil {
		return fmt.Errorf("the eavesdropper cannot subscribe: %w", err)
	}
	d := &sealing{stage: s, versions: versions, scheme: scheme, key: key, eavesdropper: eavesdropper}
	if err := d.listen(ctx); err != nil {
		return err
	}
	return d.tamper(ctx)
}

// listen runs the application in every direction that there is, plain and sealed.
func (d *sealing) listen(ctx context.Context) error {
	ours, err := d.scheme(d.key, nil) // the publisher's side
	if err != nil {
		return err
	}
	theirs, err := d.scheme(d.key, nil) // the subscriber's side: only the key is common
	if err != nil {
		return err
	}
	for i, publisher := range d.versions {
		subscriber := d.versions[len(d.versions)-1-i]
		topic := d.base + []string{"/kitchen/door", "/garden/gate"}[i]
		way := publisher.name + " to " + subscriber.name
		fmt.Fprintf(d.out, "\n%s, plain\n", way)
		if err := d.show(ctx, publisher.client(id("a"), nil), subscriber.client(id("b"), nil), topic, false); err != nil {
			return fmt.Errorf("%s, plain: %w", way, err)
		}
		fmt.Fprintf(d.out, "\n%s, sealed\n", way)
		if err := d.show(ctx, publisher.client(id("a"), ours), subscriber.client(id("b"), theirs), topic, true); err != nil {
			return fmt.Errorf("%s, sealed: %w", way, err)
		}
	}
	return nil
}

// tamper attacks a subscriber of each version.
func (d *sealing) tamper(ctx context.Context) error {
	for _, v := range d.versions {
		fmt.Fprintf(d.out, "\nThe eavesdropper publishes to a sealed subscriber, %s\n", v.name)
		if err := d.attack(ctx, v); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	return nil
}

const opening = "open at 21.5 °C"

// show runs the application once and prints what it, the eavesdropper and the
// broker saw.
func (d *sealing) show(ctx context.Context, publisher, subscriber client, topic string, sealed bool) error {
	received, err := exchange(ctx, publisher, subscriber, topic, opening)
	if err != nil {
		return err
	}
	d.print("application", []byte(received))
	if received != opening {
		return fmt.Errorf("the application received %q", received)
	}
	overheard, err := receive(ctx, d.eavesdropper)
	if err != nil {
		return fmt.Errorf("eavesdropper: %w", err)
	}
	d.print("eavesdropper", overheard.payload)
	if err := check(overheard, topic, sealed); err != nil {
		return fmt.Errorf("eavesdropper: %w", err)
	}
	if d.server.passed == nil {
		return nil // nobody can look into the user's own broker
	}
	passed, err := d.passed(ctx)
	if err != nil {
		return err
	}
	d.print("broker", passed.payload)
	if err := check(passed, topic, sealed); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	return nil
}

// check says whether somebody in the middle saw what he was to see: the text,
// or nothing of it.
func check(m message, topic string, sealed bool) error {
	switch readable := bytes.Contains(m.payload, []byte(opening)); {
	case m.topic != topic:
		return fmt.Errorf("saw topic %q, not %q", m.topic, topic)
	case sealed && readable:
		return errors.New("could read a sealed message")
	case !sealed && !readable:
		return errors.New("did not see the plain message")
	}
	return nil
}

func (d *sealing) passed(ctx context.Context) (message, error) {
	select {
	case m := <-d.server.passed:
		return m, nil
	case <-ctx.Done():
		return message{}, fmt.Errorf("the broker saw nothing: %w", context.Cause(ctx))
	}
}

// print shows a payload: as text if it is the text, else its first bytes.
func (d *sealing) print(who string, payload []byte) {
	text := string(payload)
	if text != opening {
		text = fmt.Sprintf("%s... (%d bytes)", hex.EncodeToString(payload[:min(34, len(payload))]), len(payload))
	}
	fmt.Fprintf(d.out, "  %-13s %s\n", who, text)
}

// attack lets the eavesdropper publish what he has overheard: changed, moved,
// unsealed and again. The subscriber's scheme must refuse each by name, and the
// application must see nothing but what the publisher has sealed.
func (d *sealing) attack(ctx context.Context, v version) error {
	rejections := make(chan aesmsg.Rejection, 16)
	theirs, err := d.scheme(d.key, func(r aesmsg.Rejection) { rejections <- r })
	if err != nil {
		return err
	}
	ours, err := d.scheme(d.key, nil)
	if err != nil {
		return err
	}
	publisher, err := v.client(id("a"), ours).connect(ctx)
	if err != nil {
		return err
	}
	defer publisher.close()

	// The first message reaches the eavesdropper only: had the subscriber
	// received it, everything that bears its number would be a replay.
	topic := d.base + "/kitchen/door"
	if err := publisher.publish(ctx, topic, []byte(opening)); err != nil {
		return err
	}
	unseen, err := receive(ctx, d.eavesdropper)
	if err != nil {
		return err
	}
	victim, err := v.client(id("b"), theirs).connect(ctx)
	if err != nil {
		return err
	}
	defer victim.close()
	if err := victim.subscribe(ctx, d.base+"/#"); err != nil {
		return err
	}

	tries := []attempt{
		{"one bit flipped", message{topic, flip(unseen.payload)}, aesmsg.ErrAuthentication, "ErrAuthentication"},
		{"sent to another topic", message{d.base + "/garden/gate", unseen.payload}, aesmsg.ErrUnknownKey, "ErrUnknownKey"},
		{"not sealed at all", message{topic, []byte(opening)}, aesmsg.ErrNotSealed, "ErrNotSealed"},
	}
	for _, try := range tries {
		if err := d.try(ctx, try, victim, rejections); err != nil {
			return fmt.Errorf("%s: %w", try.what, err)
		}
	}
	seen, err := d.deliver(ctx, publisher, victim, topic)
	if err != nil {
		return fmt.Errorf("after the attacks: %w", err)
	}
	fmt.Fprintf(d.out, "  %-23s received, nothing before it\n", "the next real message")
	again := attempt{"that message once more", message{topic, seen}, aesmsg.ErrReplay, "ErrReplay"}
	if err := d.try(ctx, again, victim, rejections); err != nil {
		return fmt.Errorf("%s: %w", again.what, err)
	}
	if _, err := d.deliver(ctx, publisher, victim, topic); err != nil {
		return fmt.Errorf("after the replay: %w", err)
	}
	fmt.Fprintf(d.out, "  %-23s received, nothing before it\n", "the next real message")
	return nil
}

// An attempt is a message that must be refused, and the name of the error that
// says why.
type attempt struct {
	what string
	message
	want error
	name string
}

// try publishes the attempt and waits for its refusal.
func (d *sealing) try(ctx context.Context, a attempt, victim connection, rejections <-chan aesmsg.Rejection) error {
	if err := d.eavesdropper.publish(ctx, a.topic, a.payload); err != nil {
		return err
	}
	if _, err := receive(ctx, d.eavesdropper); err != nil { // his own copy
		return err
	}
	select {
	case r := <-rejections:
		if !errors.Is(r.Err, a.want) || r.Topic != a.topic {
			return fmt.Errorf("refused on %q with %q, not with %s", r.Topic, r.Err, a.name)
		}
		fmt.Fprintf(d.out, "  %-23s refused: %s (%v)\n", a.what, a.name, r.Err)
		return nil
	case m := <-victim.messages():
		return fmt.Errorf("the application received %q", m.payload)
	case <-ctx.Done():
		return fmt.Errorf("no refusal: %w", context.Cause(ctx))
	}
}

// deliver publishes a real message, sees to it that it is the next one that
// the application receives, and returns what went over the wire.
func (d *sealing) deliver(ctx context.Context, publisher, subscriber connection, topic string) ([]byte, error) {
	if err := publisher.publish(ctx, topic, []byte(opening)); err != nil {
		return nil, err
	}
	m, err := receive(ctx, subscriber)
	if err != nil {
		return nil, err
	}
	if string(m.payload) != opening {
		return nil, fmt.Errorf("the application received %q", m.payload)
	}
	overheard, err := receive(ctx, d.eavesdropper)
	return overheard.payload, err
}

// flip returns a copy with one bit of the ciphertext changed.
func flip(sealed []byte) []byte {
	changed := bytes.Clone(sealed)
	changed[len(changed)/2+13] ^= 1
	return changed
}

// id makes a client identifier that no other client on a shared broker has.
func id(name string) string { return "mqttsec-" + name + "-" + rand.Text()[:8] }
