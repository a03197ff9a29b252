package ace

import (
	"encoding/base64"
	"fmt"

	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/strict"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// Hint is where a broker says that a token can be had (RFC 9431, 2.4.1; RFC 9200, 5.3). Nothing vouches for it but the
// broker itself: whoever asks the server that it names with the client's secret has been told to by the broker alone.
type Hint struct {
	// AS is the URL of the token endpoint.
	AS string
	// Audience is what the broker is called there; it may be empty.
	Audience string
	// Scope is what the broker suggests to ask for; nil if it does not, or not in a form that is understood.
	Scope Scope
	// KeyID names the key of an earlier token; it may be nil.
	KeyID []byte
	// CNonce must go into ASConfig.CNonce if it is not nil: the broker takes only a token that was requested with it.
	CNonce []byte
}

// maxHint bounds the value of the User Property in bytes.
const maxHint = 8 << 10

// parseHint reads the JSON object of the User Property.
func parseHint(text string) (*Hint, error) {
	bad := func(what string) error { return fmt.Errorf("%w: %s", errHint, what) }
	if len(text) > maxHint {
		return nil, bad("too long")
	}
	var m struct {
		AS       string `json:"AS"`
		Audience string `json:"audience"`
		KeyID    string `json:"kid"`
		CNonce   string `json:"cnonce"`
		Scope    string `json:"scope"`
	}
	if strict.Unmarshal([]byte(text), &m) != nil {
		return nil, bad("not JSON of the expected shape")
	}
	if m.AS == "" {
		return nil, bad("it names no server")
	}
	h := &Hint{AS: m.AS, Audience: m.Audience}
	var err error
	if h.KeyID, err = hintBytes(m.KeyID); err != nil {
		return nil, bad("kid is not base64url")
	}
	if h.CNonce, err = hintBytes(m.CNonce); err != nil {
		return nil, bad("cnonce is not base64url")
	}
	if m.Scope != "" {
		h.Scope, _ = aif.Decode(m.Scope)
	}
	return h, nil
}

func hintBytes(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	return base64.RawURLEncoding.Strict().DecodeString(text)
}

// hintIn looks for a hint among the properties of a CONNACK. One that cannot be read is none.
func hintIn(ps wire.Properties) *Hint {
	for name, value := range ps.Pairs() {
		if name != pop.HintProperty {
			continue
		}
		if h, err := parseHint(value); err == nil {
			return h
		}
	}
	return nil
}
