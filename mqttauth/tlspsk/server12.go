package tlspsk

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/message"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/record"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/schedule"
)

// serve12 goes on from ClientHello to the end of the handshake.
func (h *serverHandshake) serve12() (*ConnectionState, error) {
	if err := h.check12(); err != nil {
		return nil, err
	}
	serverRandom, err := h.answer12()
	if err != nil {
		return nil, err
	}
	exchange, shared, err := h.readKeyExchange12()
	if err != nil {
		return nil, err
	}
	defer clear(shared)
	key, reason := h.lookUp(string(exchange.Identity))
	h.key = sha256.Sum256(key)
	master := schedule.Master12(shared, key, h.transcript.Sum(nil))
	h.note(master)
	h.exporter.set(TLS12, master, h.hello.Random[:], serverRandom)
	in, out, err := ciphers12(h.suite, master, h.hello.Random[:], serverRandom)
	if err != nil {
		return nil, err
	}
	h.in.pending, h.in.ccs = in, ccsExpected
	err = h.readFinished12(master, schedule.ClientFinished, h.transcript)
	if errors.Is(err, record.ErrAuthentication) {
		err = refuse(alertBadRecordMAC, "Finished: %w", ErrAuthentication) // under the keys that follow from another PSK
	}
	if err = because(reason, err); err != nil {
		return nil, err
	}
	if reason != nil {
		return nil, internal(reason) // nobody has this key
	}
	if err := h.sendFinished12(out, master, schedule.ServerFinished, h.transcript); err != nil {
		return nil, err
	}
	return h.state(TLS12, string(exchange.Identity)), nil
}

func (h *serverHandshake) check12() error {
	m := h.hello
	if !slices.Contains(m.Compressions, 0) {
		return refuse(alertIllegalParameter, "the client wants compression")
	}
	if !m.ExtendedMasterSecret {
		return refuse(alertHandshakeFailure, "the client does not know the extended master secret")
	}
	if err := h.chooseSuite(TLS12); err != nil {
		return err
	}
	for _, g := range h.config.usableGroups() {
		if slices.Contains(m.Groups, uint16(g)) {
			h.group = g
			return nil
		}
	}
	return refuse(alertHandshakeFailure, "no group in common")
}

// answer12 sends everything from ServerHello to ServerHelloDone and returns the random.
func (h *serverHandshake) answer12() ([]byte, error) {
	var err error
	if h.private, err = h.group.curve().GenerateKey(rand.Reader); err != nil {
		return nil, internal(err)
	}
	hello := &message.ServerHello{
		Version:              message.VersionTLS12,
		Suite:                uint16(h.suite),
		ExtendedMasterSecret: true,
		SecureRenegotiation:  h.hello.SecureRenegotiation,
		Protocol:             h.protocol,
	}
	if _, err := rand.Read(hello.Random[:]); err != nil {
		return nil, internal(err)
	}
	if h.config.allows(TLS13) {
		copy(hello.Random[message.RandomLen-len(downgradeTo12):], downgradeTo12)
	}
	raw, err := hello.Encode()
	if err != nil {
		return nil, internal(err)
	}
	exchange, err := (&message.ServerKeyExchange{Share: share(h.group, h.private)}).Encode()
	if err != nil {
		return nil, internal(err)
	}
	flight := slices.Concat(raw, exchange, message.EncodeServerHelloDone())
	h.transcript.Write(h.raw)
	h.transcript.Write(flight)
	if err := h.sendMessages(flight); err != nil {
		return nil, err
	}
	return hello.Random[:], h.endFlight()
}

// readKeyExchange12 reads ClientKeyExchange and returns it with the shared secret.
func (h *serverHandshake) readKeyExchange12() (*message.ClientKeyExchange, []byte, error) {
	raw, err := h.readMessage()
	if err != nil {
		return nil, nil, err
	}
	if t, _ := message.Header(raw); t != message.TypeClientKeyExchange {
		return nil, nil, unexpected(raw, "ClientKeyExchange")
	}
	m, err := message.ParseClientKeyExchange(raw)
	if err != nil {
		return nil, nil, malformed(err)
	}
	h.transcript.Write(raw)
	if len(h.in.hand) > 0 {
		return nil, nil, refuse(alertUnexpectedMessage, "more than a ClientKeyExchange before change_cipher_spec")
	}
	shared, err := agree(h.private, m.Key)
	return m, shared, err
}
