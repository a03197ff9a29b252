package wire

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// table24 is MQTT5 table 2-4 as it is printed: identifier, type, and where the property
// may stand.
const table24 = `
1 byte PUBLISH,Will
2 four PUBLISH,Will
3 string PUBLISH,Will
8 string PUBLISH,Will
9 binary PUBLISH,Will
11 varint PUBLISH,SUBSCRIBE
17 four CONNECT,CONNACK,DISCONNECT
18 string CONNACK
19 two CONNACK
21 string CONNECT,CONNACK,AUTH
22 binary CONNECT,CONNACK,AUTH
23 byte CONNECT
24 four Will
25 byte CONNECT
26 string CONNACK
28 string CONNACK,DISCONNECT
31 string CONNACK,PUBACK,PUBREC,PUBREL,PUBCOMP,SUBACK,UNSUBACK,DISCONNECT,AUTH
33 two CONNECT,CONNACK
34 two CONNECT,CONNACK
35 two PUBLISH
36 byte CONNACK
37 byte CONNACK
38 pair CONNECT,CONNACK,PUBLISH,Will,PUBACK,PUBREC,PUBREL,PUBCOMP,SUBSCRIBE,SUBACK,UNSUBSCRIBE,UNSUBACK,DISCONNECT,AUTH
39 four CONNECT,CONNACK
40 byte CONNACK
41 byte CONNACK
42 byte CONNACK`

type row24 struct{ kind, where string }

func readTable24(t *testing.T) map[PropertyID]row24 {
	rows := map[PropertyID]row24{}
	for line := range strings.Lines(strings.TrimSpace(table24)) {
		f := strings.Fields(line)
		require.Len(t, f, 3)
		id := 0
		for _, c := range f[0] {
			id = 10*id + int(c-'0')
		}
		rows[PropertyID(id)] = row24{f[1], f[2]}
	}
	require.Len(t, rows, 27)
	return rows
}

// values has a valid value of each type, as encoded.
var values = map[string]string{
	"byte": "\x01", "two": "\x00\x02", "four": "\x00\x00\x00\x03", "varint": "\x84\x01", "string": "\x00\x01s",
	"binary": "\x00\x02\x00\xff", "pair": "\x00\x01n\x00\x02vw",
}

// places returns the packet that has ps in each place, with a topic alias where an empty
// topic is not wanted.
func places(ps Properties) map[string]packet {
	m := map[string]packet{
		"CONNECT": &connect{ConnectPacket{Version: V5, Properties: ps}},
		"Will":    &connect{ConnectPacket{Version: V5, Will: &Will{Topic: []byte("t"), Properties: ps}}},
		"CONNACK": &ConnackPacket{Properties: ps}, "PUBLISH": &PublishPacket{Topic: []byte("t"), Properties: ps},
		"SUBSCRIBE":   &SubscribePacket{ID: 1, Properties: ps, Subscriptions: []Subscription{{Filter: []byte("t")}}},
		"UNSUBSCRIBE": &UnsubscribePacket{ID: 1, Properties: ps, Filters: [][]byte{[]byte("t")}},
		"SUBACK":      &SubackPacket{Type: Suback, ID: 1, Properties: ps, Codes: []byte{0}},
		"UNSUBACK":    &SubackPacket{Type: Unsuback, ID: 1, Properties: ps, Codes: []byte{0}},
		"DISCONNECT":  &ReasonPacket{Type: Disconnect, Properties: ps}, "AUTH": &ReasonPacket{Type: Auth, Properties: ps},
	}
	for _, typ := range []Type{Puback, Pubrec, Pubrel, Pubcomp} {
		m[typ.String()] = &AckPacket{Type: typ, ID: 1, Properties: ps}
	}
	return m
}

// framed returns what each packet of places would be with ps in it, valid or not: it
// appends the packets with a property that they have, and puts ps into its place.
func framed(t *testing.T, ps Properties) map[string]Packet {
	stand := map[string]Properties{"Will": Properties(nil).AppendUint(WillDelayInterval, 0x5A5A5A5A)}
	all := map[string]Packet{}
	for where := range places(nil) {
		in := stand[where]
		if in == nil {
			in = Properties(nil).AppendPair("stand", "in")
		}
		p, err := places(in)[where].Append(nil, V5)
		require.NoError(t, err)
		old := in.append(nil)
		require.Equal(t, 1, bytes.Count(p, old))
		body := bytes.Replace(Packet(p).Body(), old, ps.append(nil), 1)
		all[where] = frame(Packet(p).Type(), Packet(p).Flags(), body)
	}
	return all
}

// TestPropertyTable tries all 256 identifiers in all places, once and twice, in Parse
// and in Append.
func TestPropertyTable(t *testing.T) {
	rows := readTable24(t)
	for id := range 256 {
		row, known := rows[PropertyID(id)]
		one := Properties(append([]byte{byte(id)}, values[row.kind]...))
		two := slices.Concat(one, one)
		require.Equal(t, known, one.Validate() == nil, "%#x", id)
		anywhereTwice := id == int(UserProperty) || id == int(SubscriptionIdentifier)
		require.Equal(t, anywhereTwice, two.Validate() == nil, "%#x", id)

		for where := range places(nil) {
			allowed := slices.Contains(strings.Split(row.where, ","), where)
			twice := allowed && (id == int(UserProperty) || id == int(SubscriptionIdentifier) && where == "PUBLISH")
			for _, c := range []struct {
				ps Properties
				ok bool
			}{{one, allowed}, {two, twice}} {
				p := framed(t, c.ps)[where]
				_, err := parse(p, V5)
				require.Equal(t, c.ok, err == nil, "%#x in %s: %v", id, where, err)
				if !c.ok {
					require.ErrorIs(t, err, ErrMalformed)
					require.NotErrorIs(t, err, ErrTooLarge)
				}
				appended, err := places(c.ps)[where].Append(nil, V5)
				require.Equal(t, c.ok, err == nil, "%#x in %s: %v", id, where, err)
				if c.ok {
					require.Equal(t, p, Packet(appended))
				}
				if where != "Will" {
					require.Equal(t, c.ok, c.ps.ValidateIn(p.Type()) == nil, "%#x in %s", id, where)
				}
			}
		}
	}
}

func TestPropertyFaults(t *testing.T) {
	for _, raw := range []string{
		"\x01", "\x02\x00\x00\x00", "\x03", "\x03\x00", "\x03\x00\x02a", "\x09\xff\xff", "\x0b", "\x0b\x80", "\x0b\x80\x00",
		"\x0b\xff\xff\xff\xff", "\x0b\x80\x80\x80\x80\x01", "\x21\x00", "\x26", "\x26\x00\x01n", "\x26\x00\x01n\x00",
		"\x26\x00\x01n\x00\x02v", "\x26\xff\xff", "\x26\x00\x00", "\x01\x01\x01\x01", "\x01\x01\x00", "\x81\x00\x01", "\x2b", "\xff",
	} {
		ps := Properties(raw)
		err := ps.Validate()
		require.Error(t, err, "% x", raw)
		// Whatever is asked of faulty properties, it ends.
		for range ps.All() {
		}
		for range ps.Pairs() {
		}
		for id := range PropertyID(255) {
			ps.Uint(id)
			ps.Bytes(id)
			require.LessOrEqual(t, len(ps.Without(id)), len(ps))
		}
		if _, ok := ps.Find(UserProperty); !ok {
			require.Equal(t, ps, ps.Without(UserProperty))
		}
	}
	require.NoError(t, Properties(nil).Validate())
	require.Error(t, Properties("\x26\x00\x00\x00\x00\x01").Without(UserProperty).Validate(), "a fault stays")
}

func TestPropertyAccess(t *testing.T) {
	ps := Properties(nil).AppendUint(PayloadFormat, 255).AppendPair("n", "v").AppendUint(SubscriptionIdentifier, maxRemaining).
		AppendUint(MessageExpiryInterval, math.MaxUint32).AppendBytes(CorrelationData, []byte{0, 1}).
		AppendUint(TopicAlias, 65535).AppendPair("", "").AppendBytes(ContentType, nil).AppendUint(SubscriptionIdentifier, 1)
	require.NoError(t, ps.ValidateIn(Publish))
	require.Error(t, ps.ValidateIn(Connect))

	for id, want := range map[PropertyID]uint32{
		PayloadFormat: 255, SubscriptionIdentifier: maxRemaining, MessageExpiryInterval: math.MaxUint32, TopicAlias: 65535,
	} {
		got, ok := ps.Uint(id)
		require.True(t, ok)
		require.Equal(t, want, got)
		_, ok = ps.Bytes(id)
		require.False(t, ok)
	}
	got, ok := ps.Bytes(CorrelationData)
	require.True(t, ok)
	require.Equal(t, []byte{0, 1}, got)
	got, ok = ps.Bytes(ContentType)
	require.True(t, ok)
	require.Empty(t, got)
	for _, id := range []PropertyID{CorrelationData, UserProperty, ServerKeepAlive, 0, 255} {
		_, ok = ps.Uint(id)
		require.False(t, ok)
	}
	for _, id := range []PropertyID{UserProperty, ResponseTopic, 0, 255} {
		_, ok = ps.Bytes(id)
		require.False(t, ok)
	}
	raw, ok := ps.Find(UserProperty)
	require.True(t, ok)
	require.Equal(t, "\x00\x01n\x00\x01v", string(raw))

	var pairs []string
	for name, value := range ps.Pairs() {
		pairs = append(pairs, name+"="+value)
	}
	require.Equal(t, []string{"n=v", "="}, pairs)
	for range ps.Pairs() {
		break
	}
	var ids []PropertyID
	for id := range ps.All() {
		if ids = append(ids, id); len(ids) == 3 {
			break
		}
	}
	require.Equal(t, []PropertyID{PayloadFormat, UserProperty, SubscriptionIdentifier}, ids)
}

func TestPropertiesWithout(t *testing.T) {
	ps := Properties(nil).AppendPair("a", "1").AppendUint(TopicAlias, 7).AppendPair("b", "2").AppendBytes(ContentType, []byte("c"))
	before := bytes.Clone(ps)

	rest := ps.Without(UserProperty)
	require.Equal(t, Properties(nil).AppendUint(TopicAlias, 7).AppendBytes(ContentType, []byte("c")), rest)
	_ = rest.AppendPair("over", "written")
	rest[0] = 0
	require.Equal(t, Properties(before), ps)

	same := ps.Without(CorrelationData)
	require.Same(t, &ps[0], &same[0])
	require.Empty(t, Properties(nil).AppendUint(TopicAlias, 7).Without(TopicAlias))
	require.Nil(t, Properties(nil).Without(TopicAlias))
}

// TestPropertyOverlong appends what has no encoding; no packet may carry it, and a peer
// that sends the mark is malformed like any other.
func TestPropertyOverlong(t *testing.T) {
	long := bytes.Repeat([]byte{0xEE}, 65536)
	for name, c := range map[string]struct {
		ps    Properties
		where string
		want  error
	}{
		"byte":         {Properties(nil).AppendUint(PayloadFormat, 256), "PUBLISH", ErrTooLarge},
		"two":          {Properties(nil).AppendUint(TopicAlias, 65536), "PUBLISH", ErrTooLarge},
		"varint":       {Properties(nil).AppendUint(SubscriptionIdentifier, maxRemaining+1), "SUBSCRIBE", ErrTooLarge},
		"string":       {Properties(nil).AppendBytes(AuthenticationMethod, long), "AUTH", ErrTooLarge},
		"name":         {Properties(nil).AppendPair(string(long), ""), "Will", ErrTooLarge},
		"value":        {Properties(nil).AppendPair("", string(long)), "CONNECT", ErrTooLarge},
		"no number":    {Properties(nil).AppendUint(UserProperty, 1), "PUBACK", ErrMalformed},
		"unknown":      {Properties(nil).AppendUint(99, 1), "DISCONNECT", ErrMalformed},
		"no contents":  {Properties(nil).AppendBytes(TopicAlias, []byte{1}), "PUBLISH", ErrMalformed},
		"empty":        {Properties(nil).AppendBytes(TopicAlias, nil), "PUBLISH", ErrMalformed},
		"pair":         {Properties(nil).AppendBytes(UserProperty, []byte{1}), "SUBACK", ErrMalformed},
		"behind valid": {Properties(nil).AppendPair("n", "v").AppendPair("", string(long)), "CONNACK", ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, c.ps.Validate(), c.want)
			dst, err := places(c.ps)[c.where].Append([]byte("kept"), V5)
			require.ErrorIs(t, err, c.want)
			require.Equal(t, "kept", string(dst))
			_, err = parse(framed(t, c.ps)[c.where], V5)
			require.ErrorIs(t, err, ErrMalformed)
			require.NotErrorIs(t, err, ErrTooLarge)
		})
	}
	ps := Properties(nil).AppendPair(string(long[:65535]), string(long[:65535])).AppendBytes(ContentType, long[:65535])
	require.NoError(t, ps.ValidateIn(Publish))
}
