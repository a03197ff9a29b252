// Package aesmsg seals MQTT payloads end to end with AES: what a client publishes
// is readable and changeable only for holders of the topic's key, whatever lies
// between (brokers, bridges, queues, disks).
//
// Which function for which need:
//
//   - An application on paho.golang or paho.mqtt.golang wraps its client options
//     once, with [Sealer.Wrap] or [Sealer.WrapV3], and stays as it is otherwise.
//   - Any other MQTT library that takes a net.Conn gets one from [Sealer.Conn].
//   - A program that has payloads and no connection calls [Sealer.Seal] and
//     [Sealer.Open].
//   - Keys come from [GenerateKey] or from configuration ([Key] is an
//     encoding.TextUnmarshaler), and [Key.Sub] narrows one to a branch of topics.
//
// A message is sealed with XAES-256-GCM (https://c2sp.org/XAES-256-GCM) under the
// key of its topic. The topic, the RETAIN flag, the time and a sequence number are
// authenticated with it, so a message that is changed, moved to another topic,
// repeated, or passed off as a retained one or a Will is refused. Sealing adds 42
// bytes, 68 more if the message is signed. Together with topic and properties that
// must fit into an MQTT packet, 256 MiB, and a sealed Will into 65,535 bytes. The
// directory examples/interop of this module has the format in JavaScript, for those
// who implement it elsewhere.
//
// Topics that no key's filter matches are not touched: the filters are the
// boundary of the protection. On the others an unsealed message is always refused. A
// topic counts without what brokers take from its front: $delayed/5/site/7 is site/7.
// With a key for "#" or "+/...", a topic that begins with $ passes unsealed if the client
// has subscribed to it by that first level, and is refused if it has not.
// Never act on what arrives on a topic below $SYS: it is the broker's, whose plaintext
// the clients' routers also give to a handler of "#" or "+/...".
//
// A receiver remembers what each MQTT client was delivered, by its Client Identifier:
//
//   - A message is delivered once. At QoS 1 and 2 it comes again, once for each connection
//     that the client opens, until the client has acknowledged it; not if it was published
//     at QoS 0. A copy comes for each Subscription Identifier that the client asked for;
//     copies that nothing tells apart are one.
//   - One with RETAIN that was not delivered yet is a message like any other. After that it
//     comes once for each SUBSCRIBE that matches, if it is the one shown last; or not older,
//     by more than Config.ClockTolerance, than the latest, and not one that its publisher's
//     session has replaced. Without a clock it is neither older nor newer.
//   - A Will is delivered once, however old its connection.
//   - What is remembered belongs to a topic, a key, a publisher (with Config.Publishers) and
//     its session, in memory that is shared fairly between branches of topics: no holder of
//     one key reaches beyond its topics, and no publisher suppresses another.
//   - What lies in the client's queue, session or store is sent as the frame that it was when
//     it was stored, or not at all. For MaxAge it is as old as it has been stored.
//
// A packet with flags that MQTT forbids, or with packet identifier 0 where there must
// be another, ends the connection, although the clients alone put up with it.
// paho.mqtt.golang with CleanSession off sends a message twice that is published while
// a session resumes. With a store on disk (SetStore, before WrapV3) both are the same
// frame, which receivers take once; with its store in memory they cannot be told from
// two messages, and both are delivered, as they are without sealing.
//
// Not protected: that a message was sent, when, on which topic, how long it is and
// with which QoS; messages that are dropped on the way; from other holders of the
// same key, unless messages are signed; what was sealed before under a key that
// leaks; a program whose memory is restored from a snapshot, until its clock jumps or
// [Sealer.NewSession] is called; and, after a receiver has restarted, against the repetition of what it
// received before, unless Config.MaxAge limits that.
package aesmsg

import (
	"crypto"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/mqttsec/mqttsec/internal/seal"
)

// Overhead is by how many bytes a sealed message is longer than its payload. A
// signature adds SignedOverhead to that, and MQTT v5 properties that move inside
// add up to 4 bytes to their own length.
const (
	Overhead       = 42
	SignedOverhead = 68
)

// Config says what a Sealer seals with and what it accepts. Keys is all that most
// applications set.
type Config struct {
	// Keys are the keys, at least one. For each topic the first key whose filter
	// matches it seals; every key that matches may open. To rotate, put the new
	// key first and keep the old one until nothing sealed with it is under way or
	// retained any more. Two keys that are the same, or of which one is a sub-key
	// of the other, are an error.
	Keys []Key

	// Signer, if set, signs every message, so that its receivers can tell the
	// holders of the key apart. It must be an Ed25519 key (RFC 8032), such as
	// ed25519.PrivateKey or one in a security module. Signing takes about 20 µs.
	Signer crypto.Signer

	// Publishers, if set, are the public keys of those whose messages are
	// accepted; unsigned messages and those of others are refused. Nil means that
	// any holder of the key may publish, and that signatures are not looked at.
	Publishers []ed25519.PublicKey

	// MaxAge, if not 0, refuses live messages that were sealed longer ago than
	// this, as far in the future, or by a device without a clock. It is counted in
	// whole seconds, at least one. Retained messages and Wills are exempt, since
	// they lie at the broker for any time. Set it on receivers that restart and
	// must not be sent the past again; clocks must then agree.
	MaxAge time.Duration

	// MaxSessions bounds the memory of what has been received, for each MQTT
	// client: 4096 if it is 0. It counts publishers (since their last start) that are
	// busy on a topic, in whatever order their messages come; of those that are heard
	// now and then, or in order, some 20 times as many are remembered, and at worst
	// 8 KB are taken for each that MaxSessions counts, which is 32 MB by default.
	//
	// Room is shared fairly between the branches of the topic tree, so that a publisher
	// of many messages or sessions never takes that of others elsewhere. Where it is
	// short, the publisher heard least recently in the branch with the most is forgotten,
	// and from then on a message on its topic from a publisher that is not remembered is
	// refused, with ErrForgotten, unless it was sealed later than what was forgotten.
	//
	// A message may come late, after up to 65,535 others that its publisher sealed
	// later, on whatever topics and at any QoS; beyond, it is refused with ErrStale.
	MaxSessions int

	// ClockTolerance is by how much the clocks of publishers may be wrong, one minute if
	// it is 0. A retained message is shown although one that was sealed later, by up to
	// as much, has been shown; and what is dated further ahead than this never shuts out
	// others.
	ClockTolerance time.Duration

	// AllowClear lets anybody, the broker included, clear a retained message.
	// MQTT does that with an empty payload, which cannot be authentic; without
	// AllowClear such messages are refused on arrival. Publishing one always works.
	AllowClear bool

	// PlainProperties leaves the MQTT v5 properties Payload Format Indicator,
	// Content Type, Response Topic, Correlation Data and User Property outside,
	// readable and changeable on the way, for brokers that route by them. They are
	// sealed together with the payload otherwise.
	PlainProperties bool

	// MaxLevels bounds the levels of a topic on which messages are sealed and opened, 32 if
	// it is 0, since a peer without a key can have them derived by a forged message.
	MaxLevels int

	// OnlySealed refuses every message on a topic that no key's filter matches, too, in
	// both directions, but for PlainTopics. It is for applications that act on all messages
	// in one handler, whatever their topic.
	OnlySealed bool

	// PlainTopics are the topic filters whose topics OnlySealed leaves alone, "$SYS/#" for
	// example.
	PlainTopics []string

	// Rejected, if set, is called for each message that was withheld on a
	// connection, in either direction, and not for what Seal and Open return as
	// errors. Several goroutines may call it at once. The connection waits for it,
	// so it must not block and must not call the client: a Publish from inside
	// would wait for itself. Hand such work to a goroutine.
	Rejected func(Rejection)

	// Delivered, if set, is called for each message that a connection opened, before
	// the client gets it. It tells who signed, which MQTT has no field for. Several
	// goroutines may call it at once, one for each connection. As with Rejected, it
	// must neither block nor call the client.
	Delivered func(Delivery)

	// The Insecure fields are for the time in which a fleet moves over, and protect nothing
	// meanwhile: first its receivers are wrapped, and accept unsealed messages too; then its
	// publishers; and when Delivered hears of no unsealed message any more, the door is
	// closed. Each has an end, after which what is not sealed is refused by itself.

	// InsecureAcceptUnsealed names topics with a key on which messages that are not sealed
	// are accepted too, from anybody. Delivered tells of each, with its topic.
	InsecureAcceptUnsealed []Unsealed

	// InsecureSendUnsealed names topics with a key on which messages are published as they
	// are, while their subscribers are not wrapped yet. In a queue, session or store they
	// lie as they are.
	InsecureSendUnsealed []Unsealed

	// InsecureSealStored is until when messages that lie unsealed in the client's own queue,
	// session or store, from the time before it was wrapped, are sealed and sent. Whoever can
	// write there can publish in the client's name; without it they are given up.
	InsecureSealStored time.Time
}

// Unsealed names topics on which messages may pass that are not sealed. The fields are
//
//	Filter string    // matches the topics; required
//	Until  time.Time // when this ends and unsealed messages are refused again; required
type Unsealed = seal.Unsealed

// String tells what is set, and nothing that is secret.
func (c Config) String() string { return seal.Config(c).String() }

// GoString is String.
func (c Config) GoString() string { return c.String() }

// Format writes String whatever the verb, for fmt would print the Signer, which may be a private key.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue is String, for slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Sealer seals and opens messages. [New] makes one; the zero Sealer is of no use. It
// is safe for concurrent use and may serve any number of clients.
type Sealer struct {
	core *seal.Sealer
}

// New returns a Sealer, or an error that says what is wrong with the Config.
// Nothing the Config points to but Signer, Rejected and Delivered is kept.
func New(cfg Config) (*Sealer, error) {
	core, err := seal.New(seal.XAES(), seal.Config(cfg))
	if err != nil {
		return nil, err
	}
	return &Sealer{core}, nil
}

// Seal returns payload sealed for publication on topic. It fails with ErrNoKey if
// no key's filter matches the topic, ErrTopicName, ErrTooLarge, or the Signer's
// error.
func (s *Sealer) Seal(topic string, payload []byte) ([]byte, error) {
	return s.core.Seal(topic, payload)
}

// AppendSeal is Seal, appending to dst. It allocates nothing if dst has room for
// the payload and the overhead and there is no Signer. The space it fills must not
// overlap payload.
func (s *Sealer) AppendSeal(dst []byte, topic string, payload []byte) ([]byte, error) {
	return s.core.AppendSeal(dst, topic, payload)
}

// NewSession begins a new series of numbers, as a restart does. Call it after the memory of
// the program has been restored from a snapshot, or copied into a second machine: two that
// went on in one series would seal different messages under one nonce, which shows their
// contents, and what one sends after a roll-back is refused as a repetition.
//
// A Sealer does so itself when the wall clock and the monotonic clock have moved apart by
// more than two seconds, as they do once the clock of a restored machine is set. It looks at
// them ten times a second while it seals; what is left to the call is the tenth of a second
// before it looks, and machines whose wall clock is not set after they are restored.
func (s *Sealer) NewSession() { s.core.NewSession() }

// Open returns the payload of a sealed message that arrived on topic. It accepts
// each message once: all that the Sealer has opened directly is remembered as by
// one client, apart from what its connections have. A message published as
// retained is judged like any other, and v5 properties inside are dropped.
//
// The errors are ErrNotSealed, ErrMalformed, ErrTooLarge, ErrNoKey, ErrTopicName,
// ErrUnknownKey, ErrAuthentication, ErrReplay, ErrStale and ErrTooOld.
func (s *Sealer) Open(topic string, message []byte) ([]byte, error) {
	return s.core.Open(topic, message)
}

// AppendOpen is Open, appending to dst. It allocates nothing if dst has room for
// the message and there are no Publishers. The space it fills must not overlap the
// message, but for message[26:26] as dst, which decrypts in place. What it has
// written there is wiped if the message is refused.
func (s *Sealer) AppendOpen(dst []byte, topic string, message []byte) ([]byte, error) {
	return s.core.AppendOpen(dst, topic, message)
}

// OpenSigned is Open, and returns whose signature the message bears: one of
// Config.Publishers, or nil if there are none to check it against.
func (s *Sealer) OpenSigned(topic string, message []byte) (payload []byte, publisher ed25519.PublicKey, err error) {
	return s.core.OpenSigned(topic, message)
}
