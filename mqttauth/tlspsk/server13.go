package tlspsk

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"slices"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/message"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/schedule"
)

// maxLookedUp bounds how many identities of one hello are looked up. A client has one; more are tickets of other
// servers.
const maxLookedUp = 4

// serve13 goes on from ClientHello to the end of the handshake.
func (h *serverHandshake) serve13() (*ConnectionState, error) {
	h.in.ccs = ccsIgnored
	if err := h.check13(); err != nil {
		return nil, err
	}
	if err := h.chooseSuite(TLS13); err != nil {
		return nil, err
	}
	clientKey, err := h.chooseGroup13()
	if err != nil {
		return nil, err
	}
	index, err := h.choosePSK()
	if err != nil {
		return nil, err
	}
	defer h.secrets.Wipe()
	clientSecret, err := h.answer13(index, clientKey)
	if err != nil {
		return nil, err
	}
	if err := h.switch13(clientSecret); err != nil {
		return nil, err
	}
	return h.state(TLS13, string(h.hello.Identities[index])), nil
}

// check13 judges a hello of TLS 1.3 (RFC 8446 sections 4.1.2, 4.2.8 to 4.2.11 and 9.2).
func (h *serverHandshake) check13() error {
	m := h.hello
	has := m.Extensions.Has
	switch {
	case len(m.Compressions) != 1 || m.Compressions[0] != 0:
		return refuse(alertIllegalParameter, "compression methods in TLS 1.3")
	case has(message.ExtEarlyData):
		return refuse(alertUnsupportedExtension, "early data, which nobody has allowed")
	case has(message.ExtSupportedGroups) != has(message.ExtKeyShare):
		return refuse(alertMissingExtension, "supported_groups or key_share without the other")
	case !has(message.ExtPreSharedKey) && !(has(message.ExtSignatureAlgorithms) && has(message.ExtSupportedGroups)):
		return refuse(alertMissingExtension, "no pre_shared_key")
	case !has(message.ExtPreSharedKey):
		return refuse(alertHandshakeFailure, "the client has no pre-shared key to offer")
	case !has(message.ExtPSKModes):
		return refuse(alertMissingExtension, "no psk_key_exchange_modes")
	case !slices.Contains(m.PSKModes, message.PSKWithDHE):
		return refuse(alertHandshakeFailure, "the client does not do psk_dhe_ke")
	case !has(message.ExtKeyShare):
		return refuse(alertHandshakeFailure, "the client does no key exchange")
	}
	last := -1
	for _, k := range m.KeyShares { // in the order of supported_groups, and only those
		at := slices.Index(m.Groups, k.Group)
		if at <= last {
			return refuse(alertIllegalParameter, "a key share that is not in supported_groups, or not in its order")
		}
		last = at
	}
	return nil
}

// chooseGroup13 takes the first of our groups that the client has sent a key for, or else asks for one that it knows.
// It returns the client's key.
func (h *serverHandshake) chooseGroup13() ([]byte, error) {
	ours := h.config.usableGroups()
	for _, g := range ours {
		if key := keyFor(h.hello, g); key != nil {
			h.group = g
			return key, nil
		}
	}
	for _, g := range ours {
		if slices.Contains(h.hello.Groups, uint16(g)) {
			h.group = g
			return h.retry()
		}
	}
	return nil, refuse(alertHandshakeFailure, "no group in common")
}

func keyFor(m *message.ClientHello, g Group) []byte {
	for _, k := range m.KeyShares {
		if Group(k.Group) == g {
			return k.Key
		}
	}
	return nil
}

// retry asks for a key share for h.group and returns it.
func (h *serverHandshake) retry() ([]byte, error) {
	m := &message.ServerHello{
		Version:          message.VersionTLS12,
		SessionID:        h.hello.SessionID,
		Suite:            uint16(h.suite),
		SupportedVersion: uint16(TLS13),
		RetryGroup:       uint16(h.group),
	}
	m.SetRetry()
	raw, err := m.Encode()
	if err != nil {
		return nil, internal(err)
	}
	h.transcript.Write(h.raw)
	first := h.transcript.Sum(nil)
	h.transcript.Reset()
	h.transcript.Write(message.Hash(first))
	h.transcript.Write(raw)
	if len(h.in.hand) > 0 {
		return nil, refuse(alertUnexpectedMessage, "more than a ClientHello")
	}
	if err := h.sendMessages(raw); err != nil {
		return nil, err
	}
	if err := h.deceiveMiddleboxes(); err != nil {
		return nil, err
	}
	if err := h.endFlight(); err != nil {
		return nil, err
	}

	before := h.hello
	if err := h.readHello(); err != nil {
		return nil, err
	}
	if !sameHello(before, h.hello) {
		return nil, refuse(alertIllegalParameter, "the second ClientHello differs from the first")
	}
	if err := h.check13(); err != nil {
		return nil, err
	}
	key := keyFor(h.hello, h.group)
	if key == nil || len(h.hello.KeyShares) != 1 {
		return nil, refuse(alertIllegalParameter, "the second ClientHello has not the one key share asked for")
	}
	return key, nil
}

// deceiveMiddleboxes sends a change_cipher_spec to a client that plays TLS 1.2 (RFC 8446 appendix D.4).
func (h *serverHandshake) deceiveMiddleboxes() error {
	if len(h.hello.SessionID) == 0 {
		return nil
	}
	return h.sendCCS()
}

// choosePSK takes the first of the client's identities that is known and checks its binder; it returns its index (RFC
// 8446 section 4.2.11). If none is known it does the same with the first and with a key that nobody has.
func (h *serverHandshake) choosePSK() (int, error) {
	m := h.hello
	index := 0
	key, reason := h.lookUp(string(m.Identities[0]))
	for i := 1; i < min(len(m.Identities), maxLookedUp); i++ { // all of them: the number must not tell which is known
		if other, err := h.lookUp(string(m.Identities[i])); err == nil && reason != nil {
			index, key, reason = i, other, nil
		}
	}
	h.key = sha256.Sum256(key)
	h.secrets = schedule.Early(key)
	cut := len(h.raw) - m.BindersLen()
	h.transcript.Write(h.raw[:cut])
	ok := hmac.Equal(m.Binders[index], h.secrets.Binder(h.transcript.Sum(nil)))
	h.transcript.Write(h.raw[cut:])
	if reason != nil || !ok {
		h.secrets.Wipe()
		return 0, because(reason, refuse(alertDecryptError, "binder: %w", ErrAuthentication))
	}
	return index, nil
}

// answer13 sends everything from ServerHello to Finished, and goes on to the keys for data in our direction and those
// of the handshake in the other. It returns the client's secret, which now belongs to that.
func (h *serverHandshake) answer13(index int, clientKey []byte) ([]byte, error) {
	var err error
	if h.private, err = h.group.curve().GenerateKey(rand.Reader); err != nil {
		return nil, internal(err)
	}
	shared, err := agree(h.private, clientKey)
	if err != nil {
		return nil, err
	}
	defer clear(shared)
	hello := &message.ServerHello{
		Version:          message.VersionTLS12,
		SessionID:        h.hello.SessionID,
		Suite:            uint16(h.suite),
		SupportedVersion: uint16(TLS13),
		KeyShare:         share(h.group, h.private),
		SelectedPSK:      true,
		Identity:         uint16(index),
	}
	if _, err := rand.Read(hello.Random[:]); err != nil {
		return nil, internal(err)
	}
	raw, err := hello.Encode()
	if err != nil {
		return nil, internal(err)
	}
	extensions, err := (&message.EncryptedExtensions{Protocol: h.protocol}).Encode()
	if err != nil {
		return nil, internal(err)
	}
	retried := h.out.started
	if err := h.sendMessages(raw); err != nil {
		return nil, err
	}
	if !retried {
		if err := h.deceiveMiddleboxes(); err != nil {
			return nil, err
		}
	}
	h.transcript.Write(raw)
	h.secrets.Handshake(shared)
	transcript := h.transcript.Sum(nil)
	serverSecret := h.secrets.Derive(schedule.ServerHandshake, transcript)
	if err := h.writeNext13(h.suite, serverSecret); err != nil {
		return nil, err
	}
	clientSecret := h.secrets.Derive(schedule.ClientHandshake, transcript)
	if err := h.readNext13(h.suite, clientSecret); err != nil {
		return nil, err
	}
	h.transcript.Write(extensions)
	finished := message.EncodeFinished(schedule.Finished(serverSecret, h.transcript.Sum(nil)))
	h.transcript.Write(finished)
	if err := h.sendMessages(slices.Concat(extensions, finished)); err != nil {
		return nil, err
	}
	return clientSecret, nil
}

// switch13 goes on to the keys for data, and reads the client's Finished before it does so in its direction.
func (h *serverHandshake) switch13(clientSecret []byte) error {
	transcript := h.transcript.Sum(nil)
	h.secrets.Master()
	h.export13(h.secrets.Exporter(transcript))
	if err := h.writeNext13(h.suite, h.secrets.Derive(schedule.ServerTraffic, transcript)); err != nil {
		return err
	}
	if err := h.endFlight(); err != nil {
		return err
	}
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
	if !hmac.Equal(verify, schedule.Finished(clientSecret, transcript)) {
		return refuse(alertDecryptError, "Finished: %w", ErrAuthentication)
	}
	h.in.ccs = ccsRefused
	return h.readNext13(h.suite, h.secrets.Derive(schedule.ClientTraffic, transcript))
}
