package soak

import (
	"context"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/mqttauth"
)

// user is whose password and tokens the clients of MQTT-Auth have.
const user = "owner"

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

// passwords is the scheme of a client of MQTT-Auth.
func (r *run) passwords() (scheme, error) {
	auth, err := mqttauth.New(mqttauth.Config{
		User: user, Password: site.Password(user), Server: site.Authority, Stretch: site.Stretch(), Wallet: r.wallet,
	})
	return hop{auth, aesmsg.Session(aesmsg.SessionConfig{})}, err
}

// claim has the user claim the topics of the run, and makes tokens for them.
func (r *run) claim(ctx context.Context) (mqttauth.Wallet, error) {
	const filter = "soak/#"
	owner, err := mqttauth.NewOwnerToken(filter)
	if err != nil {
		return nil, err
	}
	r.wallet = mqttauth.NewWallet()
	s, err := r.passwords()
	if err != nil {
		return nil, err
	}
	c, err := startV5(options{id: "claims", url: r.site.URL(site.Passwords), scheme: s})
	if err != nil {
		return nil, err
	}
	defer c.close()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-c.ready:
	case <-limited.Done():
		return nil, limited.Err()
	}
	if _, err := s.(hop).auth.Claim(limited, owner, 12*time.Hour); err != nil {
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
