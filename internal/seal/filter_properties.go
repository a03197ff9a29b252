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

// part fills to with ps and returns it. Order is kept on either side.
func (s *Sealer) part(to *parted, ps wire.Properties) parted {
	if len(ps) == 0 || s.config.PlainProperties {
		return parted{nil, ps}
	}
	to.inside, to.outside = reuse(to.inside), reuse(to.outside)
	for id, value := range ps.All() {
		side := &to.outside
		if movable(id) {
			side = &to.inside
		}
		*side = append(append(*side, byte(id)), value...)
	}
	return *to
}

// join returns the properties of an opened message: of those outside, which anyone can
// have put there, only the ones that are not moved inside, and then those from inside.
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
	if s.config.PlainProperties && len(ps) == 0 {
		return outside, nil
	}
	joined := make(wire.Properties, 0, len(outside)+len(ps))
	for id, value := range outside.All() {
		if !movable(id) {
			joined = append(append(joined, byte(id)), value...)
		}
	}
	return append(joined, ps...), nil
}
