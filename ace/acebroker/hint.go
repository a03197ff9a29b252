package acebroker

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// hintName is the User Property of CONNACK that says where to get a token (RFC 9431, section 2.4.1).
const hintName = "ace_as_hint"

// Hint is what a v5 client is told whose CONNECT had no valid token: where to get one. It is not protected by
// anything but TLS, and clients must not take it for more than a suggestion.
type Hint struct {
	// AS is the URL of the Authorization Server's token endpoint. Required.
	AS string
	// Audience and KeyID are what to ask for and which key it would be under, if given.
	Audience, KeyID string
	// Scope is what to ask for, if given.
	Scope Scope
}

// hints writes the hint.
type hints struct {
	fixed  map[string]string
	nonces *cnonces
}

func newHints(h *Hint, nonces *cnonces) (*hints, error) {
	if h == nil {
		return nil, nil
	}
	if h.AS == "" {
		return nil, fmt.Errorf("acebroker: a hint without the URL of an authorization server")
	}
	fixed := map[string]string{"AS": h.AS}
	if h.Audience != "" {
		fixed["audience"] = h.Audience
	}
	if h.KeyID != "" {
		fixed["kid"] = base64.RawURLEncoding.EncodeToString([]byte(h.KeyID))
	}
	if h.Scope != nil {
		scope, err := h.Scope.Encode()
		if err != nil {
			return nil, fmt.Errorf("acebroker: scope of the hint: %w", err)
		}
		fixed["scope"] = scope
	}
	return &hints{fixed, nonces}, nil
}

// property returns properties with the hint.
func (h *hints) append(ps wire.Properties, now time.Time) wire.Properties {
	members := make(map[string]string, len(h.fixed)+1)
	for name, value := range h.fixed {
		members[name] = value
	}
	if h.nonces != nil {
		members["cnonce"] = base64.RawURLEncoding.EncodeToString(h.nonces.make(now))
	}
	text, err := json.Marshal(members)
	if err != nil {
		return ps // strings marshal
	}
	return slices.Clip(ps).AppendPair(hintName, string(text))
}

// refusalPacket is the CONNACK for a CONNECT that is refused: on v5 with the hint where the client could do better
// with a token, if there is one and the client takes packets of that size.
func (h *hints) refusalPacket(connect *wire.ConnectPacket, reason byte, code byte, now time.Time) wire.Packet {
	m := wire.ConnackPacket{Code: code}
	if connect.Version == wire.V5 {
		m.Code = reason
		if h != nil && reason == wire.NotAuthorized {
			hinted := m
			hinted.Properties = h.append(nil, now)
			p, err := hinted.Append(nil, wire.V5)
			limit, limited := connect.Properties.Uint(wire.MaximumPacketSize)
			if err == nil && (!limited || len(p) <= int(limit)) {
				return p
			}
		}
	}
	p, err := m.Append(nil, connect.Version)
	if err != nil {
		return nil // a packet without variable parts
	}
	return p
}
