// Package aif is the scope of a token of RFC 9431: which topic filters its holder may publish and subscribe to,
// in the Authorization Information Format of RFC 9237 as section 2.3 of RFC 9431 fills it in.
//
//	AIF-MQTT = [* [mqtt-topic-filter, mqtt-permissions]]
//	mqtt-topic-filter = tstr
//	mqtt-permissions = [+ ("pub" / "sub")]
//
// A [Scope] has three encodings: JSON, the same in base64url as the one string that OAuth's "scope" is
// ([Scope.Encode], [Decode]), and CBOR ([Scope.EncodeCBOR], [DecodeCBOR]). All decoders are strict: a permission
// that is not known, a filter that MQTT does not have, anything of another shape or behind the end refuses the
// whole scope (RFC 9200, 5.10.1.1), and what is accepted is bounded.
//
// The package decides what a scope allows. It enforces nothing.
package aif

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mqttsec/mqttsec/internal/topic"
)

// Bounds on a scope. Together with a token's other claims it must fit into 64 KiB of Authentication Data.
const (
	// MaxEntries is how many entries a scope may have.
	MaxEntries = 1024
	// MaxSize is how long a scope may be in bytes, in JSON before base64url and in CBOR.
	MaxSize = 48 << 10
)

// ErrScope is wrapped by every error of this package: not a scope, or not one that is understood.
var ErrScope = errors.New("aif: not a valid scope")

// Entry is one line of a scope. At least one of Publish and Subscribe must be true.
type Entry struct {
	// Filter is an MQTT topic filter, without a "$share/group/" before it: a shared subscription is judged as
	// the filter behind that.
	Filter string
	// Publish is the permission "pub", on every topic that Filter matches.
	Publish bool
	// Subscribe is the permission "sub", on Filter and on every filter that it covers.
	Subscribe bool
}

// Scope is what a token allows. An empty Scope allows to connect, and nothing that needs a permission.
type Scope []Entry

const (
	pub = "pub"
	sub = "sub"
)

// AllowsPublish reports whether an entry lets its holder publish on this topic name (RFC 9431, 3.1). It is meant
// for a client's own messages; it looks at each entry in turn.
func (s Scope) AllowsPublish(name string) bool {
	for _, e := range s {
		if e.Publish && topic.ValidName(name) && topic.Match(e.Filter, name) {
			return true
		}
	}
	return false
}

// AllowsSubscribe reports whether one single entry lets its holder subscribe to this filter: it is the filter or
// covers all that the filter matches (RFC 9431, 3.2).
func (s Scope) AllowsSubscribe(filter string) bool {
	for _, e := range s {
		if e.Subscribe && topic.Contains(e.Filter, filter) {
			return true
		}
	}
	return false
}

// Validate checks what the encoders would refuse and the decoders do: bounds, filters and empty permissions.
func (s Scope) Validate() error {
	if len(s) > MaxEntries {
		return fmt.Errorf("%w: %d entries, more than %d", ErrScope, len(s), MaxEntries)
	}
	for i, e := range s {
		if err := e.validate(); err != nil {
			return fmt.Errorf("%w: entry %d: %w", ErrScope, i, err)
		}
	}
	return nil
}

var (
	errFilter      = errors.New("not an MQTT topic filter")
	errShare       = errors.New("a shared subscription is not a topic filter of a scope")
	errNothing     = errors.New("no permission")
	errPermission  = errors.New(`a permission that is neither "pub" nor "sub"`)
	errShape       = errors.New("not [filter, [permission, ...]]")
	errTooLong     = fmt.Errorf("%w: longer than %d bytes", ErrScope, MaxSize)
	errTooMany     = fmt.Errorf("%w: more than %d entries", ErrScope, MaxEntries)
	errNotBase64   = fmt.Errorf("%w: not base64url without padding", ErrScope)
	errNotArray    = fmt.Errorf("%w: not an array of entries", ErrScope)
	errNotText     = fmt.Errorf("%w: not UTF-8", ErrScope)
	errNotByteText = fmt.Errorf("%w: neither a byte string nor an array", ErrScope)
)

func (e Entry) validate() error {
	switch {
	case !utf8.ValidString(e.Filter) || !topic.ValidFilter(e.Filter):
		return errFilter
	case strings.HasPrefix(e.Filter, "$share/"):
		return errShare
	case !e.Publish && !e.Subscribe:
		return errNothing
	}
	return nil
}

// permissions returns the entry's, in the order of the RFC's example.
func (e Entry) permissions() []string {
	switch {
	case e.Publish && e.Subscribe:
		return []string{pub, sub}
	case e.Publish:
		return []string{pub}
	case e.Subscribe:
		return []string{sub}
	}
	return nil
}

// permit is the inverse of permissions. The grammar does not forbid to name one twice.
func (e *Entry) permit(permissions []string) error {
	for _, p := range permissions {
		switch p {
		case pub:
			e.Publish = true
		case sub:
			e.Subscribe = true
		default:
			return errPermission
		}
	}
	return e.validate()
}
