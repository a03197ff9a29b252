package authbroker

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
)

// recordVersion is the first octet of every record but a verifier's, which has its own.
const recordVersion = 1

// claim is a record of who owns a Topic Filter.
type claim struct {
	owner string
	epoch uint32
	roots token.Roots
	until time.Time
}

// era tells the claims of a filter, and their epochs, apart: what was granted under one is worth nothing under another.
type era [16]byte

func (c *claim) era() (e era) {
	b := binary.BigEndian.AppendUint32([]byte("mqttsec mqttauth era"), c.epoch)
	digest := sha256.Sum256(c.roots.Append(b))
	copy(e[:], digest[:])
	return e
}

func (c *claim) encode() []byte {
	b := codec.AppendV16([]byte{recordVersion}, c.owner)
	b = binary.BigEndian.AppendUint32(b, c.epoch)
	b = c.roots.Append(b)
	return appendTime(b, c.until)
}

func decodeClaim(b []byte) (c claim, err error) {
	r := begin(b)
	c.owner, c.epoch, c.roots, c.until = string(r.V16()), r.Uint32(), token.ReadRoots(r), readTime(r)
	return c, r.End()
}

// grant is what a presented token permits, as long as the claim has the same era.
type grant struct {
	kind   token.Kind
	id     token.ID
	claim  string
	era    era
	filter string
	until  time.Time // of the token; the claim may end before
}

// maxRecordGrants bounds the grants in one record.
const maxRecordGrants = 1024

func appendGrants(b []byte, grants []grant) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(grants)))
	for i := range grants {
		g := &grants[i]
		b = append(append(append(b, byte(g.kind)), g.id[:]...), g.era[:]...)
		b = codec.AppendV16(b, g.claim)
		b = codec.AppendV16(b, g.filter)
		b = appendTime(b, g.until)
	}
	return b
}

func readGrants(r *codec.Reader) (grants []grant) {
	n := int(r.Uint16())
	if n > maxRecordGrants {
		r.Fail(codec.Malformed("%d grants", n))
	}
	for i := 0; i < n && r.Err() == nil; i++ {
		g := grant{kind: token.Kind(r.Uint8())}
		r.Fill(g.id[:])
		r.Fill(g.era[:])
		g.claim, g.filter, g.until = string(r.V16()), string(r.V16()), readTime(r)
		if g.kind != token.Auth1 && g.kind != token.Auth2 {
			r.Fail(codec.Malformed("a grant of kind %d", byte(g.kind)))
		}
		grants = append(grants, g)
	}
	return grants
}

func encodeGrants(grants []grant) []byte { return appendGrants([]byte{recordVersion}, grants) }

func decodeGrants(b []byte) ([]grant, error) {
	r := begin(b)
	grants := readGrants(r)
	return grants, r.End()
}

// use is a record of who has a single-use token.
type use struct {
	user  string
	until time.Time
}

func (u *use) encode() []byte {
	return appendTime(codec.AppendV16([]byte{recordVersion}, u.user), u.until)
}

func decodeUse(b []byte) (u use, err error) {
	r := begin(b)
	u.user, u.until = string(r.V16()), readTime(r)
	return u, r.End()
}

// issued is a record of an account at a broker.
type issued struct {
	user, clientID string
	until          time.Time
	grants         []grant
}

func (a *issued) encode() []byte {
	b := codec.AppendV16([]byte{recordVersion}, a.user)
	b = codec.AppendV16(b, a.clientID)
	return appendGrants(appendTime(b, a.until), a.grants)
}

func decodeIssued(b []byte) (a issued, err error) {
	r := begin(b)
	a.user, a.clientID, a.until = string(r.V16()), string(r.V16()), readTime(r)
	a.grants = readGrants(r)
	return a, r.End()
}

// begin reads the version of a record.
func begin(b []byte) *codec.Reader {
	r := codec.NewReader(b)
	if v := r.Uint8(); v != recordVersion {
		r.Fail(codec.Malformed("a record of version %d", v))
	}
	return r
}

func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(max(t.Unix(), 0)))
}

func readTime(r *codec.Reader) time.Time {
	at := r.Uint64()
	if at > math.MaxInt64/2 {
		r.Fail(codec.Malformed("time %d", at))
		return time.Time{}
	}
	return time.Unix(int64(at), 0)
}

// encodeTime and decodeTime are for records that are a time alone.
func encodeTime(t time.Time) []byte { return appendTime([]byte{recordVersion}, t) }

func decodeTime(b []byte) (time.Time, error) {
	r := begin(b)
	t := readTime(r)
	return t, r.End()
}

// earliest returns the earlier one of two times.
func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// sameGrants tells whether two lists have the same tokens.
func sameGrants(a, b []grant) bool {
	return slices.EqualFunc(a, b, func(a, b grant) bool { return a.id == b.id && a.era == b.era })
}
