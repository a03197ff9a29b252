package tlspsk

import (
	"crypto/hmac"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/message"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/schedule"
)

// finish13 goes on from ServerHello to the end of the handshake (RFC 8446 section 2.2).
func (h *clientHandshake) finish13(m *message.ServerHello, raw []byte) (*ConnectionState, error) {
	switch {
	case !m.SelectedPSK:
		return nil, refuse(alertMissingExtension, "the server wants to use a certificate, not the key")
	case m.Identity != 0:
		return nil, refuse(alertIllegalParameter, "the server chose an identity that was not offered")
	case m.KeyShare.Group == 0:
		return nil, refuse(alertMissingExtension, "the server sent no key share")
	case Group(m.KeyShare.Group) != h.group:
		return nil, refuse(alertIllegalParameter, "the server's key share is for another group")
	}
	h.transcript.Write(raw)
	shared, err := agree(h.private, m.KeyShare.Key)
	if err != nil {
		return nil, err
	}
	h.secrets.Handshake(shared)
	clear(shared)
	suite := CipherSuite(m.Suite)
	clientSecret, err := h.keys13(suite, h.transcript.Sum(nil))
	if err != nil {
		return nil, err
	}

	state := &ConnectionState{HandshakeComplete: true, Version: TLS13, CipherSuite: suite, Group: h.group,
		Identity: h.config.Identity, ServerName: h.hello.ServerName}
	if state.NegotiatedProtocol, err = h.readEncryptedExtensions(); err != nil {
		return nil, err
	}
	if err := h.readFinished13(); err != nil {
		return nil, err
	}
	return state, h.switch13(suite, clientSecret)
}

// keys13 installs the keys of the handshake, and returns the client's secret, which now belongs to the outgoing
// direction.
func (h *clientHandshake) keys13(suite CipherSuite, transcript []byte) ([]byte, error) {
	serverSecret := h.secrets.Derive(schedule.ServerHandshake, transcript)
	clientSecret := h.secrets.Derive(schedule.ClientHandshake, transcript)
	if err := h.readNext13(suite, serverSecret); err != nil {
		clear(clientSecret)
		return nil, err
	}
	return clientSecret, h.writeNext13(suite, clientSecret)
}

func (h *clientHandshake) readEncryptedExtensions() (string, error) {
	raw, err := h.readMessage()
	if err != nil {
		return "", err
	}
	if t, _ := message.Header(raw); t != message.TypeEncryptedExtensions {
		return "", unexpected(raw, "EncryptedExtensions")
	}
	m, err := message.ParseEncryptedExtensions(raw)
	if err != nil {
		return "", malformed(err)
	}
	may := []uint16{message.ExtServerName, message.ExtSupportedGroups, message.ExtALPN}
	if err := h.checkExtensions(m.Extensions, may); err != nil {
		return "", err
	}
	h.transcript.Write(raw)
	return m.Protocol, h.protocol(m.Protocol)
}

func (h *clientHandshake) readFinished13() error {
	raw, err := h.readMessage()
	if err != nil {
		return err
	}
	if t, _ := message.Header(raw); t != message.TypeFinished {
		return unexpected(raw, "Finished")
	}
	verify, err := message.ParseFinished(raw, message.HashLen)
	if err != nil {
		return malformed(err)
	}
	if !hmac.Equal(verify, schedule.Finished(h.in.secret, h.transcript.Sum(nil))) {
		return refuse(alertDecryptError, "Finished: %w", ErrAuthentication)
	}
	h.transcript.Write(raw)
	h.in.ccs = ccsRefused
	return nil
}

// switch13 sends Finished and goes on to the keys for data.
func (h *clientHandshake) switch13(suite CipherSuite, clientSecret []byte) error {
	transcript := h.transcript.Sum(nil)
	h.secrets.Master()
	h.export13(h.secrets.Exporter(transcript))
	if err := h.readNext13(suite, h.secrets.Derive(schedule.ServerTraffic, transcript)); err != nil {
		return err
	}
	if err := h.sendMessages(message.EncodeFinished(schedule.Finished(clientSecret, transcript))); err != nil {
		return err
	}
	if err := h.writeNext13(suite, h.secrets.Derive(schedule.ClientTraffic, transcript)); err != nil {
		return err
	}
	return h.endFlight()
}
