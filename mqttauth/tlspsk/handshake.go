package tlspsk

import (
	"crypto/hmac"
	"hash"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/message"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/record"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/schedule"
)

// What both sides of a handshake do in the same way.

// note shows a secret to a test.
func (c *Conn) note(secret []byte) {
	if c.config.watch != nil {
		c.config.watch(secret)
	}
}

// export13 keeps the exporter_master_secret of TLS 1.3.
func (c *Conn) export13(secret []byte) {
	c.note(secret)
	c.exporter.set(TLS13, secret, nil, nil)
}

// writeNext13 goes on to the keys of another secret for what we send.
func (c *Conn) writeNext13(suite CipherSuite, secret []byte) error {
	cipher, err := cipher13(suite, secret)
	if err != nil {
		return internal(err)
	}
	c.out.Lock()
	defer c.out.Unlock()
	c.note(secret)
	c.out.setKeys13(cipher, secret)
	return nil
}

// ciphers12 derives the protection of both directions, as the client sees them.
func ciphers12(suite CipherSuite, master, clientRandom, serverRandom []byte) (out, in *record.Cipher, err error) {
	aead := suite.aead()
	keys := schedule.Expand12(master, clientRandom, serverRandom, aead.KeyLen(), aead.IVLen12())
	defer keys.Wipe()
	if out, err = record.New12(aead, keys.ClientKey, keys.ClientIV); err != nil {
		return nil, nil, internal(err)
	}
	if in, err = record.New12(aead, keys.ServerKey, keys.ServerIV); err != nil {
		return nil, nil, internal(err)
	}
	return out, in, nil
}

// sendFinished12 ends a flight of TLS 1.2 with change_cipher_spec and Finished.
func (c *Conn) sendFinished12(cipher *record.Cipher, master []byte, label string, transcript hash.Hash) error {
	if err := c.sendCCS(); err != nil {
		return err
	}
	c.out.Lock()
	c.out.cipher = cipher
	c.out.Unlock()
	finished := message.EncodeFinished(schedule.Finished12(master, label, transcript.Sum(nil)))
	transcript.Write(finished)
	if err := c.sendMessages(finished); err != nil {
		return err
	}
	return c.endFlight()
}

// readFinished12 reads the peer's change_cipher_spec and Finished.
func (c *Conn) readFinished12(master []byte, label string, transcript hash.Hash) error {
	for c.in.ccs == ccsExpected {
		if err := c.advance(); err != nil {
			return inHandshake(err)
		}
		if len(c.in.hand) > 0 {
			return refuse(alertUnexpectedMessage, "a handshake message instead of change_cipher_spec")
		}
	}
	raw, err := c.readMessage()
	if err != nil {
		return err
	}
	if t, _ := message.Header(raw); t != message.TypeFinished {
		return unexpected(raw, "Finished")
	}
	want := schedule.Finished12(master, label, transcript.Sum(nil))
	verify, err := message.ParseFinished(raw, len(want))
	if err != nil {
		return malformed(err)
	}
	if !hmac.Equal(verify, want) {
		return refuse(alertDecryptError, "Finished: %w", ErrAuthentication)
	}
	transcript.Write(raw)
	return nil
}
