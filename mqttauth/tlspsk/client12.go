package tlspsk

import (
	"bytes"
	"crypto/rand"
	"slices"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/message"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/schedule"
)

// The ends of a server's random that say that it would have known a higher version (RFC 8446 section 4.1.3).
var (
	downgradeTo12 = []byte("DOWNGRD\x01")
	downgradeTo11 = []byte("DOWNGRD\x00")
)

// finish12 goes on from ServerHello to the end of the handshake (RFC 5489 section 2, RFC 5246 section 7.3).
func (h *clientHandshake) finish12(m *message.ServerHello, raw []byte) (*ConnectionState, error) {
	if err := h.check12(m); err != nil {
		return nil, err
	}
	h.transcript.Write(raw)
	group, point, err := h.readKeyExchange12()
	if err != nil {
		return nil, err
	}
	if group != h.group {
		h.group = group
		if h.private, err = group.curve().GenerateKey(rand.Reader); err != nil {
			return nil, internal(err)
		}
	}
	shared, err := agree(h.private, point)
	if err != nil {
		return nil, err
	}
	defer clear(shared)
	exchange, err := (&message.ClientKeyExchange{Identity: []byte(h.config.Identity), Key: h.private.PublicKey().Bytes()}).Encode()
	if err != nil {
		return nil, internal(err)
	}
	h.transcript.Write(exchange)
	master := schedule.Master12(shared, h.config.Key, h.transcript.Sum(nil))
	h.note(master)
	suite := CipherSuite(m.Suite)
	h.exporter.set(TLS12, master, h.hello.Random[:], m.Random[:])
	out, in, err := ciphers12(suite, master, h.hello.Random[:], m.Random[:])
	if err != nil {
		return nil, err
	}
	h.in.pending, h.in.ccs = in, ccsExpected
	if err := h.sendMessages(exchange); err != nil {
		return nil, err
	}
	if err := h.sendFinished12(out, master, schedule.ClientFinished, h.transcript); err != nil {
		return nil, err
	}
	if err := h.readFinished12(master, schedule.ServerFinished, h.transcript); err != nil {
		return nil, err
	}
	return &ConnectionState{HandshakeComplete: true, Version: TLS12, CipherSuite: suite, Group: group,
		Identity: h.config.Identity, NegotiatedProtocol: m.Protocol, ServerName: h.hello.ServerName}, nil
}

func (h *clientHandshake) check12(m *message.ServerHello) error {
	tail := m.Random[message.RandomLen-len(downgradeTo12):]
	switch {
	case !h.config.allows(TLS12):
		return refuse(alertProtocolVersion, "the server chose TLS 1.2")
	case h.config.allows(TLS13) && (bytes.Equal(tail, downgradeTo12) || bytes.Equal(tail, downgradeTo11)):
		return refuse(alertIllegalParameter, "somebody changed the versions that were offered")
	case h.in.sawCCS:
		return refuse(alertUnexpectedMessage, "change_cipher_spec before ServerHello")
	case !slices.Contains(h.config.suitesFor(TLS12), CipherSuite(m.Suite)):
		return refuse(alertIllegalParameter, "the server chose a cipher suite that was not offered")
	case !m.ExtendedMasterSecret:
		return refuse(alertHandshakeFailure, "the server does not know the extended master secret")
	case !m.SecureRenegotiation:
		// Else somebody who has a key of his own could put his data before ours, and let a server that renegotiates
		// take this handshake for the second of his connection (RFC 5746 section 1).
		return refuse(alertHandshakeFailure, "the server does not know secure renegotiation")
	}
	h.in.version, h.in.ccs = TLS12, ccsRefused
	may := []uint16{message.ExtServerName, message.ExtPointFormats, message.ExtALPN, message.ExtExtendedMasterSecret, message.ExtRenegotiationInfo}
	if err := h.checkExtensions(m.Extensions, may); err != nil {
		return err
	}
	return h.protocol(m.Protocol)
}

// readKeyExchange12 reads ServerKeyExchange, whose hint has no meaning here, and ServerHelloDone.
func (h *clientHandshake) readKeyExchange12() (Group, []byte, error) {
	raw, err := h.readMessage()
	if err != nil {
		return 0, nil, err
	}
	if t, _ := message.Header(raw); t != message.TypeServerKeyExchange {
		return 0, nil, unexpected(raw, "ServerKeyExchange")
	}
	m, err := message.ParseServerKeyExchange(raw)
	if err != nil {
		return 0, nil, malformed(err)
	}
	group := Group(m.Share.Group)
	if !slices.Contains(h.config.usableGroups(), group) {
		return 0, nil, refuse(alertIllegalParameter, "the server chose %v, which was not offered", group)
	}
	h.transcript.Write(raw)
	if raw, err = h.readMessage(); err != nil {
		return 0, nil, err
	}
	if t, _ := message.Header(raw); t != message.TypeServerHelloDone {
		return 0, nil, unexpected(raw, "ServerHelloDone")
	}
	if err := message.ParseEmpty(raw, message.TypeServerHelloDone); err != nil {
		return 0, nil, malformed(err)
	}
	h.transcript.Write(raw)
	return group, m.Share.Key, nil
}
