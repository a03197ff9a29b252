package wire

import (
	"math/rand/v2"
	"slices"
)

// generator makes random packets from a seed.
type generator struct {
	*rand.Rand

	// paho keeps to what both paho codecs have a form for: UTF-8 text, no empty values
	// of properties, one Subscription Identifier.
	paho bool
}

func newGenerator(seed uint64) generator {
	return generator{Rand: rand.New(rand.NewPCG(seed, 1))}
}

func (g generator) bool() bool { return g.IntN(2) == 0 }

// bytes returns up to n bytes, at least one if paho is set.
func (g generator) bytes(n int) []byte {
	low := 0
	if g.paho {
		low = 1
	}
	b := make([]byte, low+g.IntN(n))
	for i := range b {
		if b[i] = byte(g.Uint32()); g.paho {
			b[i] = 'a' + b[i]%26
		}
	}
	return b
}

// topic returns a topic name, which is a filter too.
func (g generator) topic() []byte {
	b := make([]byte, 1+g.IntN(30))
	for i := range b {
		b[i] = "abc/$x"[g.IntN(6)]
	}
	return b
}

func (g generator) id() uint16 { return uint16(1 + g.IntN(65535)) }

// number returns a number of up to bits bits, all sizes alike.
func (g generator) number(bits int) uint32 { return uint32(g.Uint64() >> (64 - g.IntN(bits+1))) }

// properties returns properties that where has, in any order.
func (g generator) properties(where place) (ps Properties) {
	if g.IntN(4) == 0 {
		return nil
	}
	var ids []PropertyID
	for id := range PropertyID(len(propertyRules)) {
		if id.rule().where&where == 0 || g.bool() {
			continue
		}
		ids = append(ids, id)
		for id == UserProperty && g.bool() || id.repeats(where) && !g.paho && g.bool() {
			ids = append(ids, id)
		}
	}
	g.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, id := range ids {
		switch id.rule().kind {
		case kindByte:
			ps = ps.AppendUint(id, g.number(8))
		case kindTwo:
			ps = ps.AppendUint(id, g.number(16))
		case kindFour:
			ps = ps.AppendUint(id, g.number(32))
		case kindVarint:
			ps = ps.AppendUint(id, g.number(28))
		case kindPair:
			ps = ps.AppendPair(string(g.bytes(9)), string(g.bytes(200)))
		default:
			ps = ps.AppendBytes(id, g.bytes(40))
		}
	}
	return ps
}

// packet returns a packet of type t, with what the version has.
func (g generator) packet(t Type, v Version) packet {
	ps := func(where place) Properties {
		if v != V5 {
			return nil
		}
		return g.properties(where)
	}
	reason := func() byte {
		if v != V5 || g.bool() {
			return 0
		}
		return byte(g.Uint32())
	}
	switch t {
	case Connect:
		return g.connect(v, ps)
	case Connack:
		return &ConnackPacket{SessionPresent: g.bool(), Code: byte(g.Uint32()), Properties: ps(connacks)}
	case Publish:
		m := &PublishPacket{Dup: g.bool(), Retain: g.bool(), QoS: byte(g.IntN(3)), Topic: g.topic(), Payload: g.bytes(300)}
		if m.Properties = ps(1 << Publish); m.QoS > 0 {
			m.ID = g.id()
		}
		if _, ok := m.Properties.Find(TopicAlias); ok && g.bool() {
			m.Topic = nil
		}
		return m
	case Puback, Pubrec, Pubrel, Pubcomp:
		return &AckPacket{t, g.id(), reason(), ps(1 << t)}
	case Subscribe:
		m := &SubscribePacket{ID: g.id(), Properties: ps(1 << t)}
		for range 1 + g.IntN(4) {
			s := Subscription{Filter: g.topic(), Options: byte(g.IntN(3))}
			if v == V5 {
				s.Options |= byte(g.IntN(3)<<4 | g.IntN(4)<<2)
			}
			m.Subscriptions = append(m.Subscriptions, s)
		}
		return m
	case Unsubscribe:
		m := &UnsubscribePacket{ID: g.id(), Properties: ps(1 << t)}
		for range 1 + g.IntN(4) {
			m.Filters = append(m.Filters, g.topic())
		}
		return m
	case Suback, Unsuback:
		m := &SubackPacket{Type: t, ID: g.id(), Properties: ps(1 << t)}
		if t == Suback || v == V5 {
			m.Codes = append(g.bytes(5), 0)
		}
		return m
	case Disconnect, Auth:
		return &ReasonPacket{t, reason(), ps(1 << t)}
	}
	return &bare{t}
}

func (g generator) connect(v Version, ps func(place) Properties) packet {
	c := &connect{ConnectPacket{
		Version: v, CleanStart: g.bool(), KeepAlive: uint16(g.Uint32()), Properties: ps(connects), ClientID: g.bytes(30),
		HasUsername: g.bool(), HasPassword: g.bool(), Bridge: v != V5 && !g.paho && g.bool(),
	}}
	if g.bool() {
		c.Will = &Will{Properties: ps(willPlace), Topic: g.topic(), Payload: g.bytes(50), QoS: byte(g.IntN(3)), Retain: g.bool()}
	}
	if c.HasUsername {
		c.Username = g.bytes(20)
	}
	if c.HasPassword = c.HasPassword && (v == V5 || c.HasUsername); c.HasPassword {
		c.Password = g.bytes(20)
	}
	return c
}

// types returns the packet types that v has.
func types(v Version) (all []Type) {
	for t := Connect; t <= Auth; t++ {
		if t != Auth || v == V5 {
			all = append(all, t)
		}
	}
	return all
}

// sorted returns ps in the order of their identifiers; equal ones keep theirs.
func sorted(ps Properties) (out Properties) {
	type property struct {
		id    PropertyID
		value []byte
	}
	var all []property
	for id, value := range ps.All() {
		all = append(all, property{id, value})
	}
	slices.SortStableFunc(all, func(a, b property) int { return int(a.id) - int(b.id) })
	for _, p := range all {
		out = append(append(out, byte(p.id)), p.value...)
	}
	return out
}
