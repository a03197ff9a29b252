package soak

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/mqttauth"
)

// user is whose password and tokens the clients of MQTT-Auth have. stranger has a password, and no tokens.
const (
	user     = "owner"
	stranger = "stranger"
)

// hop is MQTT-Auth with messages sealed between client and gateway, under keys of the handshake.
type hop struct {
	auth *mqttauth.Client
	seal *aesmsg.SessionSealer
}

// Wrap implements scheme.
func (h hop) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	return h.seal.Wrap(h.auth.Wrap(cfg))
}

// WrapV3 implements scheme.
func (h hop) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	return h.seal.WrapV3(h.auth.WrapV3(opts))
}

// passwords is the scheme of a client of MQTT-Auth that has tokens.
func (r *run) passwords(user string, wallet mqttauth.Wallet) (hop, error) {
	auth, err := mqttauth.New(mqttauth.Config{
		User: user, Password: site.Password(user), Server: site.Authority, Stretch: site.Stretch(), Wallet: wallet,
	})
	return hop{auth, aesmsg.Session(aesmsg.SessionConfig{})}, err
}

// claimPasswords has the user claim the topics of the run at the gateway, and makes tokens for them.
func (r *run) claimPasswords(ctx context.Context) error {
	s, err := r.passwords(user, mqttauth.NewWallet())
	if err != nil {
		return err
	}
	r.wallet, err = claim(ctx, s.auth, options{id: "claims", urls: []*url.URL{r.site.URL(site.Passwords)}, scheme: s})
	return err
}

// claim connects, has the user claim the topics of the run, and makes tokens for them.
func claim(ctx context.Context, auth *mqttauth.Client, o options) (mqttauth.Wallet, error) {
	const filter = "soak/#"
	owner, err := mqttauth.NewOwnerToken(filter)
	if err != nil {
		return nil, err
	}
	c, err := startV5(o)
	if err != nil {
		return nil, err
	}
	defer c.close()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-c.ready:
	case <-limited.Done():
		return nil, fmt.Errorf("soak: the owner of the topics does not connect: %w", limited.Err())
	}
	if _, err := auth.Claim(limited, owner, 12*time.Hour); err != nil {
		return nil, err
	}
	var tokens []mqttauth.Token
	for _, kind := range []mqttauth.Kind{mqttauth.Auth1, mqttauth.Auth2} {
		token, err := owner.Issue(mqttauth.Terms{Kind: kind, Filter: filter, Expires: time.Now().Add(12 * time.Hour)})
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, token)
	}
	return mqttauth.NewWallet(tokens...), nil
}
