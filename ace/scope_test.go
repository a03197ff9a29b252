package ace

import (
	"context"
	"encoding/hex"
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"
)

// uncovered is an Authenticator that withholds what the scope "out/#" does not cover, and tells.
func uncovered(t *testing.T, told chan string, scope Scope) *Authenticator {
	t.Helper()
	token := refToken(time.Now(), testKey)
	token.Scope = scope
	return authenticator(t, token, func(c *Config) {
		c.RefuseUncovered = true
		c.Refused = func(topic string) { told <- topic }
	})
}

// TestRefuseUncovered: the broker sees no message on a topic that the token does not cover; the client learns of it
// as of a broker's refusal, where MQTT has a word for it.
func TestRefuseUncovered(t *testing.T) {
	for name, tc := range map[string]struct{ v5, packet, answer string }{
		"v5 QoS 0":     {"5", "3007" + "0003" + "782f61" + "00" + "78", ""},
		"v5 QoS 1":     {"5", "3209" + "0003" + "782f61" + "0007" + "00" + "78", "4003" + "0007" + "87"},
		"v5 QoS 2":     {"5", "3409" + "0003" + "782f61" + "0007" + "00" + "78", "5003" + "0007" + "87"},
		"v5 alias":     {"5", "320c" + "0003" + "782f61" + "0007" + "03" + "230001" + "78", "4003" + "0007" + "87"},
		"v3.1.1 QoS 1": {"3", "3208" + "0003" + "782f61" + "0007" + "78", ""},
		"v3.1.1 QoS 0": {"3", "3006" + "0003" + "782f61" + "78", ""},
	} {
		t.Run(name, func(t *testing.T) {
			seen, told := make(chan string, 4), make(chan string, 4)
			b := newHandBroker(t, func(p *peer) {
				p.packet()
				p.send(unhexBytes(map[bool]string{true: connackAce, false: connackV3}[p.v5])...)
				for {
					seen <- hex.EncodeToString(p.packet())
				}
			})
			conn := connected(t, uncovered(t, told, Scope{{Filter: "out/#", Publish: true}, {Filter: "x/#", Subscribe: true}}), b)
			send(t, conn, map[string]string{"5": connectV5, "3": connectV3}[tc.v5])
			receive(t, conn)
			send(t, conn, tc.packet)
			require.Equal(t, "x/a", <-told)
			if tc.answer != "" {
				require.Equal(t, tc.answer, receive(t, conn))
			}
			if tc.v5 == "5" {
				packet := "3009" + "0005" + "6f75742f61" + "00" + "78"
				send(t, conn, packet)
				require.Equal(t, packet, <-seen, "nothing before it")
			} else {
				send(t, conn, "c000")
				require.Equal(t, "c000", <-seen)
			}
		})
	}
}

// TestM12UncoveredWill keeps the client from connecting, for the broker would refuse it all.
func TestM12UncoveredWill(t *testing.T) {
	b := newHandBroker(t, (*peer).drain)
	conn := connected(t, uncovered(t, nil, Scope{{Filter: "out/#", Publish: true}}), b)
	_, err := conn.Write(unhexBytes("1016" + "00044d51545405" + "06" + "003c" + "00" + "00026331" + "00" + "0001" + "77" + "0001" + "78"))
	require.ErrorIs(t, err, ErrScope)
}

// TestScopeThatIsNotKnown covers all; an empty one covers nothing.
func TestScopeThatIsNotKnown(t *testing.T) {
	for _, tc := range []struct {
		scope  Scope
		answer string
	}{{nil, "4002" + "0007"}, {Scope{}, "4003" + "0007" + "87"}} {
		told := make(chan string, 1)
		b := newHandBroker(t, func(p *peer) { p.packet(); p.send(unhexBytes(connackAce)...); p.mqtt(nil) })
		conn := connected(t, uncovered(t, told, tc.scope), b)
		send(t, conn, connectV5)
		receive(t, conn)
		send(t, conn, "3209"+"0003"+"782f61"+"0007"+"00"+"78")
		require.Equal(t, tc.answer, receive(t, conn))
	}
}

// TestWrongConfig: each mistake gives one sentence, from New and NewBearer.
func TestWrongConfig(t *testing.T) {
	keyed, err := NewAS(ASConfig{Endpoint: "https://as.example/token", ClientID: "c", ClientSecret: "s"})
	require.NoError(t, err)
	bearer, err := NewAS(ASConfig{Endpoint: "https://as.example/token", ClientID: "c", ClientSecret: "s", Bearer: true})
	require.NoError(t, err)
	for want, cfg := range map[string]Config{
		"needs a Source or Discover": {},
		"they are for NewBearer":     {Source: bearer},
		"Refused without":            {Source: keyed, Refused: func(string) {}},
	} {
		_, err := New(cfg)
		require.ErrorIs(t, err, ErrConfig)
		require.ErrorContains(t, err, want)
	}
	for want, cfg := range map[string]BearerConfig{
		"Source is nil":               {},
		"use New":                     {Source: bearer, Method: "ace"},
		"a token stands in one place": {Source: bearer, Method: "OAUTH2-JWT", Username: "u"},
		"are text":                    {Source: bearer, Username: "a\x00"},
		"set ASConfig.Bearer":         {Source: keyed},
	} {
		_, err := NewBearer(cfg)
		require.ErrorIs(t, err, ErrConfig)
		require.ErrorContains(t, err, want)
	}
	_, err = Signer(nil)
	require.ErrorIs(t, err, ErrKey)
	_, err = Secret([]byte("short"))
	require.ErrorIs(t, err, ErrKey)
}

// bearerToken is without a key.
func bearerToken(now time.Time) Token {
	return Token{Raw: []byte("jwt"), Obtained: now, Expires: now.Add(time.Hour)}
}

// TestBearerForms are the places in which a bearer token stands, byte by byte.
func TestBearerForms(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg             BearerConfig
		connect, want   string
		connack, client string
	}{
		"method":                    {BearerConfig{Method: "K8S-SAT"}, connectV5, "101f" + "00044d51545405" + "02" + "003c" + "10" + "15" + "0007" + "4b38532d534154" + "16" + "0003" + "6a7774" + "00026331", "200d" + "0000" + "0a" + "15" + "0007" + "4b38532d534154", connackV5},
		"method that is forgotten":  {BearerConfig{Method: "K8S-SAT"}, connectV5, "", connackV5, connackV5},
		"v5 password alone":         {BearerConfig{}, connectV5, "1014" + "00044d51545405" + "42" + "003c" + "00" + "00026331" + "0003" + "6a7774", connackV5, connackV5},
		"v5 user name and password": {BearerConfig{Username: "u"}, connectV5, "1017" + "00044d51545405" + "c2" + "003c" + "00" + "00026331" + "0001" + "75" + "0003" + "6a7774", connackV5, connackV5},
		"v3.1.1":                    {BearerConfig{Username: "u"}, connectV3, "1016" + "00044d51545404" + "c2" + "003c" + "00026331" + "0001" + "75" + "0003" + "6a7774", connackV3, connackV3},
		"v3.1.1 no user name":       {BearerConfig{Method: "OAUTH2-JWT"}, connectV3, "1015" + "00044d51545404" + "c2" + "003c" + "00026331" + "0000" + "0003" + "6a7774", connackV3, connackV3},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan string, 1)
			b := newHandBroker(t, func(p *peer) {
				got <- hex.EncodeToString(p.packet())
				p.send(unhexBytes(tc.connack)...)
				p.drain()
			})
			tc.cfg.Source = Static(bearerToken(time.Now()))
			bearer, err := NewBearer(tc.cfg)
			require.NoError(t, err)
			conn, err := bearer.Conn(t.Context(), b.dial(t))
			require.NoError(t, err)
			defer conn.Close()
			send(t, conn, tc.connect)
			if want := <-got; tc.want != "" {
				require.Equal(t, tc.want, want)
			}
			require.Equal(t, tc.client, receive(t, conn))
		})
	}
}

// TestBearerRenewal: AUTH 0x19 with the new token and AUTH 0x00; in the password by another connection.
func TestBearerRenewal(t *testing.T) {
	for _, method := range []string{"OAUTH2-JWT", ""} {
		clock := newFakeClock()
		source := &scripted{token: func(_ context.Context, n int) (Token, error) {
			token := bearerToken(clock.Now())
			token.Raw = append(token.Raw, '0'+byte(n))
			return token, nil
		}}
		got := make(chan string, 3)
		b := newHandBroker(t, func(p *peer) {
			p.packet()
			p.send(unhexBytes(connackV5)...)
			for {
				packet := p.packet()
				got <- hex.EncodeToString(packet)
				if packet[0] == 0xf0 {
					p.send([]byte("\xf0\x0f\x00\x0d\x15\x00\x0aOAUTH2-JWT")...)
				}
			}
		})
		renewed := make(chan Token, 1)
		bearer, err := NewBearer(BearerConfig{Source: &Cache{source: source, clock: clock}, Method: method, Renewed: func(token Token, _ error) { renewed <- token }})
		require.NoError(t, err)
		bearer.scheme.clock = clock
		conn, err := bearer.Conn(t.Context(), b.dial(t))
		require.NoError(t, err)
		defer conn.Close()
		send(t, conn, connectV5)
		receive(t, conn)
		var read chan error
		for n := '2'; n < '5'; n++ {
			clock.Advance(50 * time.Minute)
			if method == "" {
				require.Equal(t, "e000", <-got)
				_, err := readPacket(conn)
				require.ErrorIs(t, err, ErrRenewal)
				break
			}
			if read == nil {
				read = make(chan error, 1)
				go func() { _, err := readPacket(conn); read <- err }()
			}
			require.Equal(t, hex.EncodeToString([]byte("\xf0\x16\x19\x14\x15\x00\x0aOAUTH2-JWT\x16\x00\x04jwt"+string(n))), <-got)
			require.Equal(t, "jwt"+string(n), string((<-renewed).Raw))
		}
	}
}

// TestBearerIsNotChallenged, shown without TLS, or used with a token that has a key.
func TestBearerIsNotChallenged(t *testing.T) {
	bearer, err := NewBearer(BearerConfig{Source: Static(bearerToken(time.Now())), Method: "OAUTH2-JWT"})
	require.NoError(t, err)
	b := newHandBroker(t, func(p *peer) {
		p.packet()
		p.send([]byte("\xf0\x1a\x18\x18\x15\x00\x0aOAUTH2-JWT\x16\x00\x0812345678")...)
		p.drain()
	})
	conn, err := bearer.Conn(t.Context(), b.dial(t))
	require.NoError(t, err)
	defer conn.Close()
	send(t, conn, connectV5)
	_, err = readPacket(conn)
	require.ErrorIs(t, err, ErrChallenge)

	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	_, err = bearer.Conn(t.Context(), near)
	require.ErrorIs(t, err, ErrInsecure)

	bearer, err = NewBearer(BearerConfig{Source: Static(refToken(time.Now(), testKey))})
	require.NoError(t, err)
	_, err = bearer.Conn(t.Context(), b.dial(t))
	require.ErrorIs(t, err, ErrToken)
}

// TestBearerUnderBothPahos, as the password.
func TestBearerUnderBothPahos(t *testing.T) {
	b := newHandBroker(t, func(p *peer) {
		p.packet()
		p.send(unhexBytes(map[bool]string{true: connackV5, false: connackV3}[p.v5])...)
		p.mqtt(nil)
	})
	bearer, err := NewBearer(BearerConfig{Source: Static(bearerToken(time.Now())), Username: "u"})
	require.NoError(t, err)
	cm := connectedV5(t, bearer.Wrap(configV5(b, "mqtts")))
	_, err = cm.Publish(t.Context(), &paho.Publish{Topic: "t", QoS: 1})
	require.NoError(t, err)
	client := mqtt.NewClient(bearer.WrapV3(optionsV3(b, "mqtts")))
	require.NoError(t, wait(t, client.Connect()))
	client.Disconnect(0)
	require.ErrorIs(t, failV5(t, bearer.Wrap(configV5(&handBroker{ln: plainListener(t)}, "mqtt"))), ErrInsecure)
}
