package ace

import (
	"fmt"

	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// form is how a token stands in CONNECT and AUTH.
type form interface {
	// proves reports whether possession of a key is proved.
	proves() bool
	// suits says what keeps a token from being used this way.
	suits(*Token) error
	// first returns the Authentication Data of CONNECT; proof is nil if the broker is to challenge.
	first(token *Token, proof []byte) ([]byte, error)
	// again returns the Authentication Data of an AUTH that re-authenticates.
	again(token *Token) ([]byte, error)
	// password puts the token into User Name and Password.
	password(m *wire.ConnectPacket, token *Token, proof []byte) error
}

// proofForm is RFC 9431's.
type proofForm struct {
	stored bool // the broker has the token: CONNECT carries none
}

func (proofForm) proves() bool { return true }

func (proofForm) suits(t *Token) error {
	if t.Key.Verifier().Algorithm() == "" {
		return fmt.Errorf("%w: it has no key to prove possession of; a bearer token is for NewBearer", ErrToken)
	}
	return nil
}

func (f proofForm) first(token *Token, proof []byte) ([]byte, error) {
	if f.stored {
		return nil, nil
	}
	return tokenData(token, proof)
}

func (proofForm) again(token *Token) ([]byte, error) { return tokenData(token, nil) }

func tokenData(token *Token, proof []byte) ([]byte, error) {
	data, err := pop.AuthData{Token: token.Raw, Proof: proof}.Append(nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	return data, nil
}

func (proofForm) password(m *wire.ConnectPacket, token *Token, proof []byte) error {
	name, err := pop.Username(token.Raw)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrToken, err)
	}
	m.HasUsername, m.Username = true, []byte(name)
	m.HasPassword, m.Password = true, proof
	return nil
}
