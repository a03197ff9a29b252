package operation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
)

// Code is an authority's verdict. It is an error, and nil is no Code but Done.
type Code byte

// The verdicts.
const (
	Done        Code = 0
	Malformed   Code = 1  // the operation does not parse
	Forbidden   Code = 2  // the administrator's policy does not let the user do this
	Taken       Code = 3  // the filter overlaps a claim of another owner
	Unclaimed   Code = 4  // no claim of this filter, or not the user's
	Invalid     Code = 5  // the token was not made with the claim's secret: forged, of the wrong kind, or for another filter
	Expired     Code = 6  // the token or the claim has expired
	Revoked     Code = 7  // the token was revoked by its id
	Used        Code = 8  // the token is single-use and another user's
	Superseded  Code = 9  // the token or the roots are of another epoch than the claim
	Limit       Code = 10 // too many claims, tokens, revocations
	Unavailable Code = 11 // the authority cannot do it now
)

var verdicts = [...]string{
	Done: "done", Malformed: "malformed operation", Forbidden: "forbidden by the authority's policy",
	Taken: "the filter overlaps another owner's claim", Unclaimed: "no such claim", Invalid: "invalid token",
	Expired: "expired", Revoked: "revoked", Used: "the token was used by somebody else",
	Superseded: "of another epoch or another owner token than the claim", Limit: "too many", Unavailable: "not available now",
}

// Error names the verdict.
func (c Code) Error() string {
	if int(c) < len(verdicts) {
		return "mqttauth: refused: " + verdicts[c]
	}
	return fmt.Sprintf("mqttauth: refused: code %d", byte(c))
}

// Verdict is what came of one presented token.
type Verdict struct {
	Code  Code
	Until time.Time // if Done: when the grant ends
}

// Result is the answer to an operation.
type Result struct {
	Code     Code
	Until    time.Time // Claim, Epoch, Ticket
	Username string    // Ticket
	Tokens   []Verdict // Present, in the order presented
}

func unix(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(max(t.Unix(), 0)))
}

func readUnix(r *codec.Reader) time.Time {
	at := r.Uint64()
	if at > math.MaxInt64/2 {
		r.Fail(codec.Malformed("time %d", at))
		return time.Time{}
	}
	return time.Unix(int64(at), 0)
}

const maxUsername = 255

// Encode returns the octets of the result of an operation of this kind.
func (r *Result) Encode(kind Kind) ([]byte, error) {
	b := []byte{byte(r.Code)}
	if r.Code != Done {
		return b, nil
	}
	switch kind {
	case Claim, Epoch:
		b = unix(b, r.Until)
	case Present:
		if len(r.Tokens) < 1 || len(r.Tokens) > MaxPresented {
			return nil, codec.Malformed("%d verdicts", len(r.Tokens))
		}
		for _, v := range r.Tokens {
			b = append(b, byte(v.Code))
			b = unix(b, v.Until)
		}
	case Ticket:
		if r.Username == "" || len(r.Username) > maxUsername {
			return nil, codec.Malformed("a user name of %d octets", len(r.Username))
		}
		b = codec.AppendV16(b, r.Username)
		b = unix(b, r.Until)
	}
	return b, nil
}

// ParseResult reads the result of an operation; presented is how many tokens it presented.
func ParseResult(b []byte, kind Kind, presented int) (Result, error) {
	r := codec.NewReader(b)
	result := Result{Code: Code(r.Uint8())}
	if result.Code == Done {
		switch kind {
		case Claim, Epoch:
			result.Until = readUnix(r)
		case Present:
			for range presented {
				result.Tokens = append(result.Tokens, Verdict{Code: Code(r.Uint8()), Until: readUnix(r)})
			}
		case Ticket:
			result.Username, result.Until = string(r.V16()), readUnix(r)
			if result.Username == "" || len(result.Username) > maxUsername {
				r.Fail(codec.Malformed("user name of a ticket"))
			}
		}
	}
	if err := r.End(); err != nil {
		return Result{}, err
	}
	return result, nil
}

// CodeOf returns the verdict that an error of package token stands for: Invalid for those that it does not know.
func CodeOf(err error) Code {
	var code Code
	switch {
	case err == nil:
		return Done
	case errors.As(err, &code):
		return code
	case errors.Is(err, token.ErrExpired):
		return Expired
	case errors.Is(err, token.ErrSuperseded):
		return Superseded
	}
	return Invalid
}
