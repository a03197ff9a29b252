package attacks

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// beyond are filters that no client's scope covers, in forms that are to slip through. %s is the attacker's name.
var beyond = []string{
	"#", "+", "+/#", "/#", "$SYS/#", "$SYS/broker/uptime", "site/#", "site/+/x", "site/+", "+/%s/x", "news/#", "news", "news/+/x",
	"site/victim/x", "site//x", "SITE/%s/x", "site/%s /x", "authz-info", "#/", "site/%s#",
}

// TestSubscribeBeyondScope asks for what the token does not cover, alone, among others in one SUBSCRIBE, and shared.
// Each such filter is refused by itself, and nothing of it arrives, live or retained.
func TestSubscribeBeyondScope(t *testing.T) {
	forEachPlace(t, func(t *testing.T, p place) {
		for _, v := range versions {
			t.Run(versionName(v), func(t *testing.T) {
				id := newClientID()
				kept := "site/victim/" + id
				p.injectRetained(t, kept, "retained")
				r := p.dial(t, v)
				require.Zero(t, r.connect(id, p.world.token(t, id, site.Broker)))
				own := "site/" + id + "/x"
				m := wire.SubscribePacket{ID: 1, Subscriptions: []wire.Subscription{{Filter: []byte(own), Options: 1}}}
				for _, filter := range beyond {
					filter = strings.ReplaceAll(filter, "%s", id)
					if !validFilter(filter) {
						continue // a malformed packet, which is another attack
					}
					m.Subscriptions = append(m.Subscriptions, wire.Subscription{Filter: []byte(filter), Options: 1})
					if v == wire.V5 {
						m.Subscriptions = append(m.Subscriptions, wire.Subscription{Filter: []byte("$share/g/" + filter), Options: 1})
					}
				}
				r.write(&m)
				answer := r.receive()
				require.NotNil(t, answer)
				suback, err := wire.ParseSuback(answer, v)
				require.NoError(t, err)
				require.Len(t, suback.Codes, len(m.Subscriptions))
				require.EqualValues(t, 1, suback.Codes[0])
				for i, code := range suback.Codes[1:] {
					require.GreaterOrEqual(t, code, byte(0x80), "%s", m.Subscriptions[i+1].Filter)
				}
				for _, topic := range []string{kept, "site/other/x", "news/a/x", "other", "/a"} {
					p.inject(t, topic, "not for the attacker")
				}
				p.inject(t, own, "last")
				packet := r.receive()
				require.NotNil(t, packet)
				got, err := wire.ParsePublish(packet, v)
				require.NoError(t, err)
				require.Equal(t, own, string(got.Topic))
				require.Equal(t, "last", string(got.Payload))
			})
		}
	})
}

// validFilter tells filters of the list above from those that are none.
func validFilter(f string) bool {
	return f != "#/" && !strings.HasSuffix(f[:len(f)-1], "#") && !sharp(f)
}

func sharp(f string) bool { i := strings.IndexByte(f, '#'); return i > 0 && f[i-1] != '/' }

// TestSubscribeBeyondScopeIsTold: the application hears that it was refused, on either library, and stays connected.
func TestSubscribeBeyondScopeIsTold(t *testing.T) {
	forEachLibrary(t, func(t *testing.T, p place, l library) {
		id := newClientID()
		c := l.must(t, p, bearing(t, p.world.token(t, id, site.Broker)), options{id: id, url: p.url(site.Tokens)})
		for _, filter := range []string{"#", "$SYS/#", "site/+/x", "news/#"} {
			require.ErrorIs(t, c.subscribe(filter, 1), errDenied, filter)
		}
		require.NoError(t, c.subscribe("news/today", 1))
		p.inject(t, "news/today", "fine")
		require.Equal(t, "news/today fine", next(t, c.messages, "a message that is covered"))
	})
}

// TestPublishBeyondScope publishes where the token does not allow to: at each QoS, with DUP, retained, as an empty
// retained message, by a topic alias that is set to something else, and as a Will. The broker sees none of it.
func TestPublishBeyondScope(t *testing.T) {
	forEachPlace(t, func(t *testing.T, p place) {
		for _, v := range versions {
			t.Run(versionName(v), func(t *testing.T) {
				t.Parallel()
				id := newClientID()
				token := p.world.token(t, id, site.Broker)
				own := "site/" + id + "/x"
				target := "site/victim/" + id + "/x" // looks like the attacker's, and is not
				p.injectRetained(t, target, "genuine")
				observer := p.observe(t, "site/#")
				connected := func() *raw {
					r := p.dial(t, v)
					require.Zero(t, r.connect(id, token))
					return r
				}
				for qos := range byte(3) {
					for _, retain := range []bool{false, true} {
						for _, payload := range []string{"forged", ""} {
							r := connected()
							m := wire.PublishPacket{QoS: qos, Retain: retain, Dup: qos > 0 && retain, Topic: []byte(target), Payload: []byte(payload)}
							if qos > 0 {
								m.ID = 7
							}
							r.write(&m)
							if v != wire.V5 || qos == 0 {
								r.ends(wire.NotAuthorized)
								continue
							}
							answer := r.receive()
							require.NotNil(t, answer)
							ack, err := wire.ParseAck(answer, v)
							require.NoError(t, err)
							require.Equal(t, wire.NotAuthorized, ack.Reason)
							_ = r.conn.Close()
						}
					}
				}
				if v == wire.V5 {
					byAlias(t, connected(), own, target)
				}
				r := p.dial(t, v)
				code := r.connect(id, token, func(m *wire.ConnectPacket) {
					m.Will = &wire.Will{Topic: []byte(target), Payload: []byte("forged"), Retain: true, QoS: 1}
				})
				require.Equal(t, r.refused(), code, "a Will")
				for _, name := range []string{"news/today", "$SYS/broker/uptime", "authz-info/x", "site", "site/" + id + "x/y"} {
					r := connected()
					r.write(&wire.PublishPacket{Topic: []byte(name), Payload: []byte("forged")})
					r.ends(wire.NotAuthorized)
				}
				p.inject(t, own, "last")
				for got := ""; got != own+" last"; {
					got = next(t, observer.messages, "the last message")
					_, payload, _ := strings.Cut(got, " ") // another test has topics of that name
					require.NotContains(t, payload, "forged")
				}
				late := p.observe(t, target)
				require.Equal(t, target+" genuine", next(t, late.messages, "the retained message"))
			})
		}
	})
}

// byAlias publishes where it may, with an alias, and gives the alias to another topic.
func byAlias(t *testing.T, r *raw, own, target string) {
	t.Helper()
	alias := wire.Properties(nil).AppendUint(wire.TopicAlias, 1)
	reasons := make([]byte, 0, 4)
	for i, m := range []wire.PublishPacket{
		{Topic: []byte(own), Properties: alias, Payload: []byte("fine")},
		{Topic: []byte(target), Properties: alias, Payload: []byte("forged")},
		{Properties: alias, Payload: []byte("forged behind the alias")},
	} {
		m.QoS, m.ID = 1, uint16(i+1)
		r.write(&m)
		answer := r.receive()
		if r.aliases == 0 {
			require.Nil(t, answer, "an alias at a broker that takes none")
			return
		}
		require.NotNil(t, answer)
		ack, err := wire.ParseAck(answer, r.version)
		require.NoError(t, err)
		reasons = append(reasons, ack.Reason)
	}
	require.Less(t, reasons[0], byte(0x80))
	require.Equal(t, []byte{wire.NotAuthorized, wire.NotAuthorized}, reasons[1:], fmt.Sprintf("%x", reasons))
}

// TestPublishBeyondScopeIsTold: the application hears of it, on v5 by the acknowledgement, on 3.1.1 by the end of the
// connection.
func TestPublishBeyondScopeIsTold(t *testing.T) {
	forEachLibrary(t, func(t *testing.T, p place, l library) {
		id := newClientID()
		c := l.must(t, p, bearing(t, p.world.token(t, id, site.Broker)), options{id: id, url: p.url(site.Tokens)})
		if l.v5 {
			require.ErrorIs(t, c.publish("news/today", 1, false, "forged"), errDenied)
			require.ErrorIs(t, c.publish("news/today", 2, false, "forged"), errDenied)
			require.NoError(t, c.publish("site/"+id+"/x", 2, false, "fine"))
		}
		_ = c.publish("news/today", 0, false, "forged") // there is no answer to it
		next(t, c.lost, "the end of the connection")
	})
}
