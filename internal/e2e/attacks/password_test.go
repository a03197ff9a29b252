package attacks

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/mqttauth"
)

// user is who has a password at the authorities.
const user = "alice"

// login is the scheme of a client with a password.
func login(t testing.TB, password []byte, timeout time.Duration) scheme {
	t.Helper()
	c, err := mqttauth.New(mqttauth.Config{User: user, Password: password, Server: site.Authority, Stretch: site.Stretch(), Timeout: timeout})
	require.NoError(t, err)
	return c
}

// TestPasswords logs in over a connection without TLS, and is listened to: the password is not there. Nobody gets in
// with another password or with none, and a client does not take a broker without an authority for one that has it,
// nor tells it the password.
func TestPasswords(t *testing.T) {
	forEachLibrary(t, func(t *testing.T, p place, l library) {
		right := site.Password(user)
		through := func(listener string) (*relay, options) {
			ears := newRelay(t, p.addresses[listener])
			u := p.url(listener)
			u.Host = ears.address()
			return ears, options{id: newName("alices"), url: u}
		}
		ears, o := through(site.Passwords)
		l.must(t, p, login(t, right, patience), o).close()
		require.Contains(t, ears.capture(), user, "the ears are good")
		require.NotContains(t, ears.capture(), string(right))

		_, o = through(site.Passwords)
		_, err := l.connect(t, p.world, login(t, []byte("a guess"), patience), o)
		require.Error(t, err)
		topic := newName("forged")
		observer := p.observe(t, topic)
		c, err := l.connect(t, p.world, nil, o)
		if l.v5 {
			require.Error(t, err)
		} else { // MQTT 3.1.1 has no room for a handshake but behind CONNACK, and whoever says anything else there is out
			require.NoError(t, err)
			go func() { _ = c.publish(topic, 1, false, "forged") }() // how it ends is for lost to tell
			next(t, c.lost, "the end of the connection")
		}
		p.inject(t, topic, "last")
		require.Equal(t, topic+" last", next(t, observer.messages, "the last message"))

		ears, o = through(site.Plain)
		// A broker of 3.1.1 without an authority says nothing at all.
		_, err = l.connect(t, p.world, login(t, right, time.Second), o)
		require.Error(t, err)
		require.NotContains(t, ears.capture(), string(right))
	})
}
