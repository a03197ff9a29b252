package frame

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
)

// HelloFrame begins a run.
type HelloFrame struct {
	Session  ID
	Groups   []byte // numbers of package pake, the preferred one first
	ClientID string
	User     string
	Elements [][]byte // X in each of Groups
}

// ValidClientID reports whether id can be the Client Identifier of a run: 1 to 64 of letters, digits, "." "_" and "-",
// which are safe in a topic and in every broker's access lists.
func ValidClientID(id string) bool {
	if id == "" || len(id) > MaxClientID {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// ValidName reports whether name can be that of a user or a server: 1 to 255 octets of UTF-8 without U+0000.
func ValidName(name string) bool {
	return name != "" && len(name) <= MaxName && utf8.ValidString(name) && !strings.ContainsRune(name, 0)
}

func (f *HelloFrame) check() error {
	switch {
	case len(f.Groups) == 0, len(f.Groups) > MaxGroups, len(f.Elements) != len(f.Groups):
		return codec.Malformed("%d groups and %d elements", len(f.Groups), len(f.Elements))
	case !ValidClientID(f.ClientID):
		return codec.Malformed("Client Identifier %.80q", f.ClientID)
	case !ValidName(f.User):
		return codec.Malformed("user name %.80q", f.User)
	}
	for i, g := range f.Groups {
		if g == 0 || bytes.IndexByte(f.Groups[:i], g) >= 0 {
			return codec.Malformed("groups %v", f.Groups)
		}
	}
	for _, x := range f.Elements {
		if err := checkElement(x); err != nil {
			return err
		}
	}
	return nil
}

func checkElement(e []byte) error {
	if len(e) == 0 || len(e) > maxElement {
		return codec.Malformed("an element of %d octets", len(e))
	}
	return nil
}

// Append appends the frame to dst.
func (f *HelloFrame) Append(dst []byte) ([]byte, error) {
	if err := f.check(); err != nil {
		return dst, err
	}
	dst = Header(dst, Hello, f.Session)
	dst = codec.AppendV8(dst, f.Groups)
	dst = codec.AppendV16(dst, f.ClientID)
	dst = codec.AppendV16(dst, f.User)
	for _, x := range f.Elements {
		dst = codec.AppendV16(dst, x)
	}
	return dst, nil
}

// ParseHello takes a hello apart.
func ParseHello(b []byte) (HelloFrame, error) {
	session, r, err := open(b, Hello)
	if err != nil {
		return HelloFrame{}, err
	}
	f := HelloFrame{Session: session, Groups: r.V8(), ClientID: string(r.V16()), User: string(r.V16())}
	for range min(len(f.Groups), MaxGroups) {
		f.Elements = append(f.Elements, r.V16())
	}
	if err := r.End(); err != nil {
		return HelloFrame{}, err
	}
	if err := f.check(); err != nil {
		return HelloFrame{}, err
	}
	return f, nil
}

// Context is what a run authenticates besides the names of user and server (pake.Config.Context): the groups that were
// offered, the session and the Client Identifier.
func (f *HelloFrame) Context() []byte {
	b := []byte("mqttauth v1")
	b = codec.AppendV8(b, f.Groups)
	b = append(b, f.Session[:]...)
	return codec.AppendV16(b, f.ClientID)
}

// ChallengeFrame answers a hello.
type ChallengeFrame struct {
	Session ID
	Group   byte
	Server  string
	Stretch []byte // StretchSize octets, as in package pake
	Element []byte // Y
}

func (f *ChallengeFrame) check() error {
	switch {
	case f.Group == 0:
		return codec.Malformed("group 0")
	case !ValidName(f.Server):
		return codec.Malformed("server name %.80q", f.Server)
	case len(f.Stretch) != StretchSize:
		return codec.Malformed("stretching of %d octets", len(f.Stretch))
	}
	return checkElement(f.Element)
}

// Append appends the frame to dst.
func (f *ChallengeFrame) Append(dst []byte) ([]byte, error) {
	if err := f.check(); err != nil {
		return dst, err
	}
	dst = append(Header(dst, Challenge, f.Session), f.Group)
	dst = codec.AppendV16(dst, f.Server)
	dst = codec.AppendV16(dst, f.Stretch)
	return codec.AppendV16(dst, f.Element), nil
}

// ParseChallenge takes a challenge apart.
func ParseChallenge(b []byte) (ChallengeFrame, error) {
	session, r, err := open(b, Challenge)
	if err != nil {
		return ChallengeFrame{}, err
	}
	f := ChallengeFrame{Session: session, Group: r.Uint8(), Server: string(r.V16()), Stretch: r.V16(), Element: r.V16()}
	if err := r.End(); err != nil {
		return ChallengeFrame{}, err
	}
	if err := f.check(); err != nil {
		return ChallengeFrame{}, err
	}
	return f, nil
}

// ProofFrame shows that the client knows the password.
type ProofFrame struct {
	Session ID
	Proof   [ProofSize]byte // V_U
}

// Append appends the frame to dst.
func (f *ProofFrame) Append(dst []byte) []byte {
	return append(Header(dst, Proof, f.Session), f.Proof[:]...)
}

// ParseProof takes a proof apart.
func ParseProof(b []byte) (ProofFrame, error) {
	session, r, err := open(b, Proof)
	if err != nil {
		return ProofFrame{}, err
	}
	f := ProofFrame{Session: session}
	r.Fill(f.Proof[:])
	if err := r.End(); err != nil {
		return ProofFrame{}, err
	}
	return f, nil
}

// WelcomeFrame shows that the authority has the user's verifier, and carries what is sealed under the new keys.
type WelcomeFrame struct {
	Session ID
	Proof   [ProofSize]byte // V_S
	Sealed  []byte
}

// Append appends the frame to dst.
func (f *WelcomeFrame) Append(dst []byte) ([]byte, error) {
	if len(f.Sealed) < minSealed || len(f.Sealed) > MaxSealed-ProofSize {
		return dst, codec.Malformed("a sealed welcome of %d octets", len(f.Sealed))
	}
	dst = append(Header(dst, Welcome, f.Session), f.Proof[:]...)
	return codec.AppendV16(dst, f.Sealed), nil
}

// ParseWelcome takes a welcome apart.
func ParseWelcome(b []byte) (WelcomeFrame, error) {
	session, r, err := open(b, Welcome)
	if err != nil {
		return WelcomeFrame{}, err
	}
	f := WelcomeFrame{Session: session}
	r.Fill(f.Proof[:])
	f.Sealed = r.V16()
	if err := r.End(); err != nil {
		return WelcomeFrame{}, err
	}
	if len(f.Sealed) < minSealed || len(f.Sealed) > MaxSealed-ProofSize {
		return WelcomeFrame{}, codec.Malformed("a sealed welcome of %d octets", len(f.Sealed))
	}
	return f, nil
}
