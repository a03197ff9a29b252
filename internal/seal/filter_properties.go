package seal

import "github.com/mqttsec/mqttsec/internal/wire"

// movable tells whether a property of a PUBLISH or Will belongs to the message rather
// than to its delivery, and so moves inside.
func movable(id wire.PropertyID) bool {
	switch id {
	case wire.PayloadFormat, wire.ContentType, wire.ResponseTopic, wire.CorrelationData, wire.UserProperty:
		return true
	}
	return false
}

// keep is the size above which a buffer is not kept for the next message.
const keep = 64 << 10

func reuse(b []byte) []byte {
	if cap(b) > keep {
		return nil
	}
	return b[:0]
}

// parted are properties by the side of the seal that they stand on. Its memory serves
// the next message again.
type parted struct{ inside, outside wire.Properties }

// moves tells whether a property of a message moves inside with this Config. One does in any case: what says that the
// payload is text would not be true of a sealed one, and a broker that checks refuses it (MQTT 5, 3.3.2.3.2).
func (s *Sealer) moves(id wire.PropertyID) bool {
	return id == wire.PayloadFormat || movable(id) && !s.config.PlainProperties
}

// part fills to with ps and returns it. Order is kept on either side.
func (s *Sealer) part(to *parted, ps wire.Properties) parted {
	if len(ps) == 0 {
		return parted{nil, ps}
	}
	to.inside, to.outside = reuse(to.inside), reuse(to.outside)
	for id, value := range ps.All() {
		side := &to.outside
		if s.moves(id) {
			side = &to.inside
		}
		*side = append(append(*side, byte(id)), value...)
	}
	return *to
}

func has(ps wire.Properties, id wire.PropertyID) bool {
	for other := range ps.All() {
		if other == id {
			return true
		}
	}
	return false
}

// join returns the properties of an opened message: of those outside, which anyone can
// have put there, only the ones that do not move inside, and then those from inside.
func (s *Sealer) join(outside wire.Properties, inside []byte) (wire.Properties, error) {
	ps := wire.Properties(inside)
	if err := ps.ValidateIn(wire.Publish); err != nil {
		return nil, errContents
	}
	for id := range ps.All() {
		if !movable(id) {
			return nil, errContents
		}
	}
	if len(outside) == 0 {
		return ps, nil
	}
	joined := make(wire.Properties, 0, len(outside)+len(ps))
	for id, value := range outside.All() {
		if !s.moves(id) && !(movable(id) && has(ps, id)) {
			joined = append(append(joined, byte(id)), value...)
		}
	}
	return append(joined, ps...), nil
}
