package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/mqttsec/mqttsec/ace"
)

// aceDemo shows tokens that are bound to a key: an authorization server issues them, the broker checks them.
func aceDemo(ctx context.Context, s stage) error {
	w, err := newTokenWorld(s)
	if err != nil {
		return err
	}
	defer w.close()
	fmt.Fprintf(s.out, "server  %s\nbroker  %s\ntokens  live for %v\n", w.issuer, w.server.url, s.lifetime)
	for _, step := range []struct {
		title string
		run   func(context.Context) error
	}{
		{"The application, with tokens", w.application},
		{"A publication that the token does not cover", w.denied},
		{"Clients that may not connect", w.refused},
		{"A client that renews its token, and one that does not", w.time},
	} {
		fmt.Fprintf(s.out, "\n%s\n", step.title)
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.title, err)
		}
	}
	return nil
}

func (w *tokenWorld) print(who, what string) { fmt.Fprintf(w.out, "  %-13s %s\n", who, what) }

// application runs the same code as without tokens, from each version of MQTT to the other.
func (w *tokenWorld) application(ctx context.Context) error {
	five, three := w.server.mqtt5(), w.server.mqtt311()
	for _, way := range [][2]version{{five, three}, {three, five}} {
		sensor, err := ace.New(ace.Config{Source: w.source(sensorName)})
		if err != nil {
			return err
		}
		console, err := ace.New(ace.Config{Source: w.source(consoleName)})
		if err != nil {
			return err
		}
		received, err := exchange(ctx, way[0].client(sensorName, sensor), way[1].client(consoleName, console), w.topic(), opening)
		if err != nil {
			return err
		}
		if received != opening {
			return fmt.Errorf("%q arrived", received)
		}
		w.print(consoleName, fmt.Sprintf("%s   (%s to %s)", received, way[0].name, way[1].name))
	}
	return nil
}

// denied publishes on a topic of others.
func (w *tokenWorld) denied(ctx context.Context) error {
	auth, err := ace.New(ace.Config{Source: w.source(sensorName)})
	if err != nil {
		return err
	}
	conn, err := w.server.v5(sensorName, auth).connect(ctx)
	if err != nil {
		return err
	}
	defer conn.close()
	err = conn.publish(ctx, w.base+"/garden/gate", []byte(opening))
	if err == nil {
		return errors.New("the broker took it")
	}
	w.print(sensorName, err.Error())
	return conn.publish(ctx, w.topic(), []byte(opening)) // the connection is as good as before
}

// refused tries to connect without a token, and with one whose key is not there.
func (w *tokenWorld) refused(ctx context.Context) error {
	if err := w.mustFail(ctx, "no token", nil); err != nil {
		return err
	}
	stolen, err := w.source(sensorName).Token(ctx)
	if err != nil {
		return err
	}
	if stolen.Key, err = ace.Secret([]byte("not the key that the token is bound to")); err != nil {
		return err
	}
	thief, err := ace.New(ace.Config{Source: ace.Static(stolen)})
	if err != nil {
		return err
	}
	return w.mustFail(ctx, "stolen token", thief)
}

func (w *tokenWorld) mustFail(ctx context.Context, who string, with scheme) error {
	conn, err := w.server.v5(id("thief"), with).connect(ctx)
	if err == nil {
		conn.close()
		return fmt.Errorf("%s: the broker let it in", who)
	}
	w.print(who, "refused")
	return nil
}

// time waits until a token has expired. One client has renewed it and hears what is published, the other is cut off.
func (w *tokenWorld) time(ctx context.Context) error {
	renewed := make(chan error, 1)
	auth, err := ace.New(ace.Config{Source: w.source(consoleName), Renewed: func(_ ace.Token, err error) { renewed <- err }})
	if err != nil {
		return err
	}
	console, err := w.server.v5(consoleName, auth).connect(ctx)
	if err != nil {
		return err
	}
	defer console.close()
	if err := console.subscribe(ctx, w.base+"/+/door"); err != nil {
		return err
	}
	cut, err := w.stubborn(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := within(ctx, renewed); err != nil {
		return fmt.Errorf("renewal: %w", err)
	}
	w.print(consoleName, fmt.Sprintf("has a new token after %.1f s, on the same connection", time.Since(begin).Seconds()))
	if err := within(ctx, cut); err != nil {
		return err
	}
	w.print(sensorName, fmt.Sprintf("is cut off after %.1f s: the broker says 0x87, not authorized", time.Since(begin).Seconds()))

	auth, err = ace.New(ace.Config{Source: w.source(sensorName)})
	if err != nil {
		return err
	}
	sensor, err := w.server.v5(sensorName, auth).connect(ctx)
	if err != nil {
		return err
	}
	defer sensor.close()
	if err := sensor.publish(ctx, w.topic(), []byte(opening)); err != nil {
		return err
	}
	m, err := receive(ctx, console)
	if err == nil {
		w.print(consoleName, string(m.payload))
	}
	return err
}

// stubborn connects with a token that it takes to be good for ever. What cuts it off is sent to the channel, nil if it
// is as it should be.
func (w *tokenWorld) stubborn(ctx context.Context) (<-chan error, error) {
	token, err := w.source(sensorName).Token(ctx)
	if err != nil {
		return nil, err
	}
	token.Expires = token.Expires.Add(time.Hour)
	auth, err := ace.New(ace.Config{Source: ace.Static(token)})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	cut := make(chan error, 1)
	client := w.server.v5(sensorName, auth)
	client.OnServerDisconnect = func(d *paho.Disconnect) {
		stop() // do not connect again
		if d.ReasonCode != 0x87 {
			cut <- fmt.Errorf("the broker cut the client off with reason 0x%02x", d.ReasonCode)
		}
		close(cut)
	}
	manager, err := autopaho.NewConnection(ctx, autopaho.ClientConfig(client))
	if err == nil {
		err = manager.AwaitConnection(ctx)
	}
	if err != nil {
		stop()
	}
	return cut, err
}

// within waits for an event that brings an error or none.
func within(ctx context.Context, event <-chan error) error {
	select {
	case err := <-event:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
