package tlspsk

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/message"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/record"
)

// AlertError is the alert with which the peer ended the connection (RFC 8446 section 6.2). Its number is the
// AlertDescription in the IANA registry. A client whose key or identity the server refuses sees decrypt_error (51),
// bad_record_mac (20), illegal_parameter (47), handshake_failure (40), missing_extension (109) or unknown_psk_identity
// (115), depending on the server and the version: find it with errors.As. ErrAuthentication is for a server that does
// not prove itself.
type AlertError uint8

// The alerts that this package sends.
const (
	alertCloseNotify           AlertError = 0
	alertUnexpectedMessage     AlertError = 10
	alertBadRecordMAC          AlertError = 20
	alertRecordOverflow        AlertError = 22
	alertHandshakeFailure      AlertError = 40
	alertIllegalParameter      AlertError = 47
	alertDecodeError           AlertError = 50
	alertDecryptError          AlertError = 51
	alertProtocolVersion       AlertError = 70
	alertInternalError         AlertError = 80
	alertInappropriateFallback AlertError = 86
	alertUserCanceled          AlertError = 90
	alertNoRenegotiation       AlertError = 100
	alertMissingExtension      AlertError = 109
	alertUnsupportedExtension  AlertError = 110
	alertNoApplicationProtocol AlertError = 120
)

const (
	levelWarning = 1
	levelFatal   = 2
)

var alertNames = map[AlertError]string{
	alertCloseNotify:           "close_notify",
	alertUnexpectedMessage:     "unexpected_message",
	alertBadRecordMAC:          "bad_record_mac",
	alertRecordOverflow:        "record_overflow",
	alertHandshakeFailure:      "handshake_failure",
	42:                         "bad_certificate",
	43:                         "unsupported_certificate",
	44:                         "certificate_revoked",
	45:                         "certificate_expired",
	46:                         "certificate_unknown",
	alertIllegalParameter:      "illegal_parameter",
	48:                         "unknown_ca",
	49:                         "access_denied",
	alertDecodeError:           "decode_error",
	alertDecryptError:          "decrypt_error",
	alertProtocolVersion:       "protocol_version",
	71:                         "insufficient_security",
	alertInternalError:         "internal_error",
	alertInappropriateFallback: "inappropriate_fallback",
	alertUserCanceled:          "user_canceled",
	alertNoRenegotiation:       "no_renegotiation",
	alertMissingExtension:      "missing_extension",
	alertUnsupportedExtension:  "unsupported_extension",
	112:                        "unrecognized_name",
	115:                        "unknown_psk_identity",
	116:                        "certificate_required",
	alertNoApplicationProtocol: "no_application_protocol",
}

// Name is the alert's name in the registry, or its number.
func (a AlertError) Name() string {
	if name, ok := alertNames[a]; ok {
		return name
	}
	return fmt.Sprintf("alert %d", uint8(a))
}

// Error says what the peer sent, and that another key or an unknown identity can be behind it where that is so.
func (a AlertError) Error() string {
	text := "tlspsk: the peer sent the alert " + a.Name()
	switch a {
	case alertBadRecordMAC, alertHandshakeFailure, alertIllegalParameter, alertDecryptError, alertMissingExtension, 115:
		text += ": does it know the identity, and with the same key?"
	}
	return text
}

// fault is what the peer did wrong, with the alert that tells it so.
type fault struct {
	alert AlertError
	err   error
}

// Error has the package's prefix once, however many of its errors are inside.
func (f *fault) Error() string {
	const prefix = "tlspsk: "
	return prefix + strings.ReplaceAll(f.err.Error(), prefix, "")
}

func (f *fault) Unwrap() error { return f.err }

func refuse(alert AlertError, format string, args ...any) error {
	return &fault{alert, fmt.Errorf(format, args...)}
}

// unexpected is the fault for a message that does not belong where it came.
func unexpected(raw []byte, instead string) error {
	t, _ := message.Header(raw)
	return refuse(alertUnexpectedMessage, "message of type %d instead of %s", t, instead)
}

// malformed gives an error of package message its alert.
func malformed(err error) error {
	if errors.Is(err, message.ErrValue) {
		return &fault{alertIllegalParameter, err}
	}
	return &fault{alertDecodeError, err}
}

// fromRecord gives an error of package record its alert.
func fromRecord(err error) error {
	switch {
	case errors.Is(err, record.ErrAuthentication):
		return &fault{alertBadRecordMAC, err}
	case errors.Is(err, record.ErrOverflow):
		return &fault{alertRecordOverflow, err}
	case errors.Is(err, record.ErrType):
		return &fault{alertUnexpectedMessage, err}
	}
	return internal(err)
}

// internal is a fault of ours, which is the end for the peer, too.
func internal(err error) error { return &fault{alertInternalError, err} }
