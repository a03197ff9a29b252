package seal

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqttsec/mqttsec/internal/key"
	"github.com/mqttsec/mqttsec/internal/replay"
)

// Config is what a Sealer is made of. The schemes mirror it field by field and
// document it there, for that is where applications meet it.
type Config struct {
	Keys            []Key
	Signer          crypto.Signer
	Publishers      []ed25519.PublicKey
	MaxAge          time.Duration
	MaxSessions     int
	ClockTolerance  time.Duration
	AllowClear      bool
	PlainProperties bool
	MaxLevels       int
	OnlySealed      bool
	PlainTopics     []string
	Rejected        func(Rejection)
	Delivered       func(Delivery)

	InsecureAcceptUnsealed []Unsealed
	InsecureSendUnsealed   []Unsealed
	InsecureSealStored     time.Time
}

// DefaultMaxLevels is the MaxLevels of a Config that leaves it zero.
const DefaultMaxLevels = 32

// DefaultMaxSessions is the MaxSessions of a Config that leaves it zero.
const DefaultMaxSessions = 4096

// DefaultClockTolerance is the ClockTolerance of a Config that leaves it zero.
const DefaultClockTolerance = time.Minute

// Sealer seals and opens messages with one suite and one set of keys. It is safe
// for concurrent use.
type Sealer struct {
	suite      Suite
	config     Config
	trees      []*key.Tree
	filters    filterTree // of trees, by their numbers
	hop        bool       // see hop.go
	signer     *signer
	publishers publishers

	topics    *topics
	boxes     *cache[box]
	scratches sync.Pool
	clock     clock

	session  atomic.Pointer[session]
	queued   atomic.Pointer[session] // of messages in queues
	token    [16]byte                // before the payload of what comes from a store
	rollover sync.Mutex

	own  *replay.Memory // judges what Open is given
	mqtt *mqttSessions  // judge what connections are given
}

// New returns a Sealer, or an error that names what is wrong with cfg.
func New(suite Suite, cfg Config) (*Sealer, error) {
	keys := cfg.Keys
	sig, err := newSigner(cfg.Signer)
	if err != nil {
		return nil, err
	}
	pubs, err := newPublishers(cfg.Publishers)
	if err != nil {
		return nil, err
	}
	if cfg.MaxAge != 0 && cfg.MaxAge < time.Second {
		return nil, fmt.Errorf("mqttsec: MaxAge is %v: it must be at least one second, or 0 for no limit", cfg.MaxAge)
	}
	if cfg.MaxAge/time.Second > math.MaxUint32 {
		return nil, fmt.Errorf("mqttsec: MaxAge is %v: the clock of a message has %d seconds", cfg.MaxAge, uint32(math.MaxUint32))
	}
	if cfg.ClockTolerance < 0 || cfg.ClockTolerance/time.Second > math.MaxInt32 {
		return nil, fmt.Errorf("mqttsec: ClockTolerance is %v: it must be between 0, for the default, and 68 years", cfg.ClockTolerance)
	}
	if cfg.ClockTolerance == 0 {
		cfg.ClockTolerance = DefaultClockTolerance
	}
	if cfg.MaxSessions < 0 {
		return nil, fmt.Errorf("mqttsec: MaxSessions is negative: %d", cfg.MaxSessions)
	}
	if cfg.MaxSessions == 0 {
		cfg.MaxSessions = DefaultMaxSessions
	}
	if cfg.MaxLevels < 0 {
		return nil, fmt.Errorf("mqttsec: MaxLevels is negative: %d", cfg.MaxLevels)
	}
	if cfg.MaxLevels == 0 {
		cfg.MaxLevels = DefaultMaxLevels
	}
	if err := cfg.checkTopics(); err != nil {
		return nil, err
	}
	cfg.PlainTopics = slices.Clone(cfg.PlainTopics)
	cfg.InsecureAcceptUnsealed = slices.Clone(cfg.InsecureAcceptUnsealed)
	cfg.InsecureSendUnsealed = slices.Clone(cfg.InsecureSendUnsealed)
	cfg.Keys, cfg.Signer, cfg.Publishers = nil, nil, nil // they are in the fields below

	s := &Sealer{
		suite:      suite,
		config:     cfg,
		signer:     sig,
		publishers: pubs,
		topics:     newTopics(),
		boxes:      newCache[box](boxRows),
	}
	if err := s.setKeys(keys); err != nil {
		return nil, err
	}
	s.scratches.New = func() any { return newScratch() }
	s.session.Store(newSession())
	s.queued.Store(newSession())
	rand.Read(s.token[:]) // never fails
	s.clock.jumped = s.NewSession
	s.own = s.newMemory()
	s.mqtt = newMQTTSessions(s)
	// A platform that does not have the cipher says so now, not at the first message.
	if _, err := suite.New(new([32]byte), new([12]byte)); err != nil {
		return nil, fmt.Errorf("mqttsec: suite %d: %w", suite.ID, err)
	}
	return s, nil
}

// Format writes the type's name whatever the verb: with %s, fmt would follow the
// pointers that lead to secrets.
func (s *Sealer) Format(f fmt.State, _ rune) { io.WriteString(f, "mqttsec.Sealer") }

// Seal returns payload sealed for topic.
func (s *Sealer) Seal(topic string, payload []byte) ([]byte, error) {
	return s.AppendSeal(nil, topic, payload)
}

// AppendSeal appends payload, sealed for topic, to dst.
func (s *Sealer) AppendSeal(dst []byte, topic string, payload []byte) ([]byte, error) {
	ln, known := lineFor(&s.scratch().sealing, topic)
	l, err := ln.leaves, error(nil)
	if known {
		if out, ok := s.sealNext(ln, dst, 0, payload); ok {
			s.scratches.Put(ln.of)
			return out, nil
		}
	} else if l = s.topics.findString(topic); l == nil {
		if l, err = s.learn(topic); err != nil {
			s.release(ln)
			return nil, fmt.Errorf("%w: %.256q", err, topic)
		}
	}
	out, err := s.sealWith(ln, dst, l, &Message{Payload: payload})
	s.release(ln)
	return out, err
}

// Open returns the payload of a message that arrived on topic. It is judged as
// a live one.
func (s *Sealer) Open(topic string, message []byte) ([]byte, error) {
	return s.AppendOpen(nil, topic, message)
}

// AppendOpen appends the payload of a message that arrived on topic to dst.
func (s *Sealer) AppendOpen(dst []byte, topic string, message []byte) ([]byte, error) {
	ln, known := lineFor(&s.scratch().opening, topic)
	if known {
		if out, ok, err := s.openNext(dst, ln, message, &direct, s.own); ok {
			s.scratches.Put(ln.of)
			return out, err
		}
	}
	var o opened
	out, err := s.openString(ln, dst, topic, message, &o)
	s.release(ln)
	if err != nil {
		return nil, err
	}
	if n := len(dst); len(out)-n != len(o.Payload) {
		out = append(out[:n], o.Payload...) // what stood before the payload goes
	}
	return out, nil
}

// OpenSigned is Open, and names who signed: nil if the message is not signed or
// the Config has no Publishers to check it against.
func (s *Sealer) OpenSigned(topic string, message []byte) ([]byte, ed25519.PublicKey, error) {
	var o opened
	ln, _ := lineFor(&s.scratch().opening, topic)
	defer s.release(ln)
	if _, err := s.openString(ln, nil, topic, message, &o); err != nil {
		return nil, nil, err
	}
	return o.Payload, o.Publisher, nil
}

func (s *Sealer) openString(ln *line, dst []byte, topic string, message []byte, o *opened) ([]byte, error) {
	if err := s.inspect(message); err != nil {
		return nil, err
	}
	l := s.topics.findString(topic)
	if l == nil {
		var err error
		if l, err = s.derive(topic); err != nil {
			return nil, err
		}
	}
	return s.openFrame(dst, ln, l, message, &direct, s.own, o)
}
