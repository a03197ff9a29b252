package claims

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/cose"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// TestNothingIsReadOfATokenThatIsNotActive, whatever the answer says beside it (RFC 7662, section 2.2).
func TestNothingIsReadOfATokenThatIsNotActive(t *testing.T) {
	b, err := cose.Encoding.Marshal(map[int64]any{LabelActive: false, LabelIssuer: "as", LabelAud: "broker", LabelScope: 7})
	require.NoError(t, err)
	i, err := ParseIntrospectionCBOR(b)
	require.NoError(t, err)
	require.Equal(t, Introspection{}, i)
	i, err = ParseIntrospectionJSON([]byte(`{"active":false,"iss":"as","aud":"broker","scope":7}`))
	require.NoError(t, err)
	require.Equal(t, Introspection{}, i)
}

// TestKeyWithItsNameBesideIt: a key without a kid has the one that stands beside it.
func TestKeyWithItsNameBesideIt(t *testing.T) {
	v, err := pop.SharedKey(make([]byte, 32))
	require.NoError(t, err)
	key, err := coseKey(v)
	require.NoError(t, err)
	b, err := cose.Encoding.Marshal(map[int64]any{CnfKey: key, CnfKeyID: []byte("k")})
	require.NoError(t, err)
	c, err := ParseConfirmationCBOR(b)
	require.NoError(t, err)
	require.Equal(t, "k", c.ID)
	require.Equal(t, v.Fingerprint(), c.Key.Fingerprint())
}
