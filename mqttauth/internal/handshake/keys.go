package handshake

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
)

const secretSize = 32

// Keys is what a run leaves both sides with. It prints as its type.
type Keys struct {
	session           frame.ID
	client, authority cipher.AEAD
	exporter          []byte
	ticket            []byte
	binding           [secretSize]byte
}

func newKeys(session frame.ID, sk []byte) (*Keys, error) {
	prk, err := hkdf.Extract(sha256.New, sk, session[:])
	if err != nil {
		return nil, err
	}
	defer clear(prk)
	expand := func(label string) []byte {
		var key []byte
		if err == nil {
			key, err = hkdf.Expand(sha256.New, prk, "mqttauth v1 "+label, secretSize)
		}
		return key
	}
	aead := func(label string) cipher.AEAD {
		key := expand(label)
		defer clear(key)
		if err != nil {
			return nil
		}
		block, e := aes.NewCipher(key)
		if e != nil {
			err = e
			return nil
		}
		gcm, e := cipher.NewGCM(block)
		err = e
		return gcm
	}
	k := &Keys{
		session: session, client: aead("client"), authority: aead("authority"),
		exporter: expand("exporter"), ticket: expand("ticket"),
	}
	copy(k.binding[:], expand("binding"))
	return k, err
}

// Format writes the type alone.
func (k *Keys) Format(f fmt.State, _ rune) { io.WriteString(f, "handshake.Keys{}") }

// Session returns the session id.
func (k *Keys) Session() frame.ID { return k.session }

// Binding returns what ties a proof to this session: 32 octets that only its two sides have.
func (k *Keys) Binding() [secretSize]byte { return k.binding }

const maxExport = 255 * sha256.Size

// ExportKeyingMaterial returns length octets for a use that label names and context tells apart, as
// tls.ConnectionState's does: HKDF-Expand(exporter, u16 length | v16 label | v16 context). No context and an empty
// one are the same.
func (k *Keys) ExportKeyingMaterial(label string, context []byte, length int) ([]byte, error) {
	if length < 1 || length > maxExport || label == "" || len(label) > 65535 || len(context) > 65535 {
		return nil, errors.New("mqttauth: exporter: bad label, context or length")
	}
	info := binary.BigEndian.AppendUint16(nil, uint16(length))
	info = codec.AppendV16(info, label)
	info = codec.AppendV16(info, context)
	return hkdf.Expand(sha256.New, k.exporter, string(info), length)
}

// TicketPassword returns the password of the account that the authority provisions under this user name for the second
// phase: 43 characters of base64url.
func (k *Keys) TicketPassword(username string) (string, error) {
	secret, err := hkdf.Expand(sha256.New, k.ticket, "password "+username, secretSize)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(secret), nil
}

func nonce(counter uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4, 12), counter)
}

// seal seals what goes into a frame of this type.
func (k *Keys) seal(aead cipher.AEAD, t frame.Type, counter uint64, plaintext []byte) []byte {
	return aead.Seal(nil, nonce(counter), plaintext, frame.Header(nil, t, k.session))
}

// open is the inverse of seal. Every failure is ErrSealed.
func (k *Keys) open(aead cipher.AEAD, t frame.Type, counter uint64, sealed []byte) ([]byte, error) {
	plaintext, err := aead.Open(nil, nonce(counter), sealed, frame.Header(nil, t, k.session))
	if err != nil {
		return nil, ErrSealed
	}
	return plaintext, nil
}
