package soak

import (
	"context"
	"crypto/tls"
	"errors"
	"net/url"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/relay"
	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/mqttauth"
)

// besideBroker stands for a listener in a pair whose clients reach a broker of its own without a gateway: an unmodified
// mosquitto, over TLS, with an authority of MQTT-Auth beside it.
const besideBroker = "beside"

// startBeside starts what those clients need, and leaves it out where it is not installed.
func (r *run) startBeside(ctx context.Context, texts []string) error {
	beside, err := site.StartBeside(ctx, []string{user}, persistent, func(address string) (string, error) {
		between, err := relay.New(texts, address)
		if err != nil {
			return "", err
		}
		r.relays[besideBroker] = between
		return between.Address(), nil
	})
	if errors.Is(err, site.ErrNoDynamicSecurity) || errors.Is(err, brokers.ErrNoMosquitto) {
		return nil
	}
	r.beside = beside
	return err
}

// besidePairs are those of the authority.
func besidePairs() []*pair {
	return []*pair{newPair("beside", besideBroker, true, false), newPair("beside", besideBroker, false, false)}
}

// besideURL is where they connect.
func (r *run) besideURL() *url.URL {
	return &url.URL{Scheme: "mqtts", Host: r.relays[besideBroker].Address()}
}

// besideTrust is what they dial with.
func (r *run) besideTrust() *tls.Config {
	return &tls.Config{RootCAs: r.beside.Broker.RootCAs(), MinVersion: tls.VersionTLS12}
}

// twoPhase is the scheme of one client.
func (r *run) twoPhase(id string) (*mqttauth.Client, error) {
	return mqttauth.New(mqttauth.Config{
		User: user, Password: site.Password(user), Server: site.Authority, Stretch: site.Stretch(),
		ClientID: id, TwoPhase: true, Bootstrap: site.Bootstrap, Wallet: r.besideWallet,
	})
}

// claimBeside has the user claim the topics of the run at the authority, and makes tokens for them.
func (r *run) claimBeside(ctx context.Context) (err error) {
	r.besideWallet = mqttauth.NewWallet()
	auth, err := r.twoPhase("claims")
	if err != nil {
		return err
	}
	r.besideWallet, err = claim(ctx, auth, options{id: "claims", urls: []*url.URL{r.besideURL()}, trust: r.besideTrust(), scheme: auth})
	return err
}
