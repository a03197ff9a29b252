package present

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/internal/plug"
	"github.com/mqttsec/mqttsec/internal/presentseal"
	"github.com/mqttsec/mqttsec/internal/seal"
)

// Overhead is by how many bytes a sealed message is longer than its payload. A
// signature adds SignedOverhead to that, and MQTT v5 properties that move inside add up
// to 4 bytes to their own length.
const (
	Overhead       = 34
	SignedOverhead = 68
)

// Config says what a Sealer seals with and what it accepts. Keys is all that most
// applications set. Each field means what the field of that name in aesmsg.Config does.
type Config struct {
	// Keys are the keys, at least one; for each topic the first that matches seals, and
	// each that matches opens.
	Keys []Key
	// Signer, if set, signs every message (Ed25519).
	Signer crypto.Signer
	// Publishers, if set, are those whose signed messages alone are accepted.
	Publishers []ed25519.PublicKey
	// MaxAge, if not 0, refuses live messages that are older, or as far in the future.
	MaxAge time.Duration
	// MaxSessions bounds the memory of what each client has received; 4096 if it is 0.
	MaxSessions int
	// ClockTolerance is by how much publishers' clocks may be wrong; one minute if it is 0.
	ClockTolerance time.Duration
	// AllowClear accepts empty payloads, which cannot be authentic.
	AllowClear bool
	// PlainProperties leaves MQTT v5 properties outside, readable and changeable.
	PlainProperties bool
	// MaxLevels bounds the levels of a topic; 32 if it is 0.
	MaxLevels int
	// OnlySealed refuses unsealed messages on topics without a key, too, but for PlainTopics.
	OnlySealed bool
	// PlainTopics are filters of topics that OnlySealed leaves alone.
	PlainTopics []string
	// Rejected, if set, hears of each message that a connection withheld. It must not block.
	Rejected func(Rejection)
	// Delivered, if set, hears of each message that a connection opened, and who signed it.
	// It must not block.
	Delivered func(Delivery)

	// InsecureAcceptUnsealed names topics with a key on which unsealed messages are accepted too.
	InsecureAcceptUnsealed []Unsealed
	// InsecureSendUnsealed names topics with a key on which messages are published unsealed.
	InsecureSendUnsealed []Unsealed
	// InsecureSealStored is until when what lies unsealed in the client's own stores is sent, sealed.
	InsecureSealStored time.Time
}

// Unsealed names topics on which messages may pass that are not sealed, until when: the same type as aesmsg.Unsealed,
// which lists its fields.
type Unsealed = seal.Unsealed

// String tells what is set, and nothing that is secret.
func (c Config) String() string { return seal.Config(c).String() }

// GoString is String.
func (c Config) GoString() string { return c.String() }

// Format writes String whatever the verb, for fmt would print the Signer, which may be a private key.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue is String, for slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Sealer seals and opens messages with presentcipher.NewAEAD, end to end from the publisher to every
// holder of the topic's key. It has the face of aesmsg.Sealer, the same keys and the same
// message format but for the cipher, and the same limits of what it protects. It is safe
// for concurrent use and may serve any number of clients.
//
// A message has at most 256 KiB of payload, properties and signature, and its topic at
// most 65,500 bytes. The 64-bit block is made up for by short sessions: a key serves 2^16
// cipher calls, about 2,000 messages of 64 bytes, and is then replaced by another that is
// derived from the topic's.
type Sealer struct {
	core *seal.Sealer
}

// New returns a Sealer, or an error that says what is wrong with the Config. Nothing the
// Config points to but Signer, Rejected and Delivered is kept.
func New(cfg Config) (*Sealer, error) {
	core, err := seal.New(presentseal.Suite(), seal.Config(cfg))
	if err != nil {
		return nil, err
	}
	return &Sealer{core}, nil
}

// Seal returns payload sealed for publication on topic. It fails with ErrNoKey if no key's
// filter matches the topic, ErrTopicName, ErrTooLarge, or the Signer's error.
func (s *Sealer) Seal(topic string, payload []byte) ([]byte, error) {
	return s.core.Seal(topic, payload)
}

// AppendSeal is Seal, appending to dst. It allocates nothing if dst has room for the
// payload and Overhead and there is no Signer, but for a new session's key. The space it fills must not overlap
// payload.
func (s *Sealer) AppendSeal(dst []byte, topic string, payload []byte) ([]byte, error) {
	return s.core.AppendSeal(dst, topic, payload)
}

// NewSession begins a new series of numbers, as a restart does: call it after a program's memory was restored from a
// snapshot, or copied. See aesmsg.Sealer.NewSession.
func (s *Sealer) NewSession() { s.core.NewSession() }

// Open returns the payload of a sealed message that arrived on topic, once. The errors are
// ErrNotSealed, ErrMalformed, ErrTooLarge, ErrNoKey, ErrTopicName, ErrUnknownKey,
// ErrAuthentication, ErrReplay, ErrStale and ErrTooOld.
func (s *Sealer) Open(topic string, message []byte) ([]byte, error) {
	return s.core.Open(topic, message)
}

// AppendOpen is Open, appending to dst. It allocates nothing if dst has room for the message and there are no
// Publishers, but for a session's first message. The space it fills must not overlap the message, but for
// message[26:26] as dst, which decrypts in place.
func (s *Sealer) AppendOpen(dst []byte, topic string, message []byte) ([]byte, error) {
	return s.core.AppendOpen(dst, topic, message)
}

// OpenSigned is Open, and returns whose signature the message bears: one of
// Config.Publishers, or nil if there are none to check it against.
func (s *Sealer) OpenSigned(topic string, message []byte) (payload []byte, publisher ed25519.PublicKey, err error) {
	return s.core.OpenSigned(topic, message)
}

// Wrap returns a copy of cfg, for paho.golang (MQTT v5), whose connections seal what they
// publish and open what they receive, as aesmsg.Sealer.Wrap does.
func (s *Sealer) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	return plug.V5(cfg, s.core)
}

// WrapV3 is Wrap for paho.mqtt.golang (MQTT 3.1.1).
func (s *Sealer) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	return plug.V3(opts, s.core)
}

// Conn returns conn with the payloads of MQTT 3.1, 3.1.1 or 5 sealed on their way out and
// opened on their way in, for any library that takes a net.Conn. ctx bounds the TLS
// handshake if conn is a *tls.Conn that has not done it.
func (s *Sealer) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	return s.core.Conn(ctx, conn)
}
