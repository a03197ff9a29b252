package presentseal

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/key"
	"github.com/mqttsec/mqttsec/internal/seal"
)

func TestSuiteSealsAndOpens(t *testing.T) {
	k, err := key.Generate("site/#")
	require.NoError(t, err)
	s, err := seal.New(Suite(), seal.Config{Keys: []seal.Key{k}})
	require.NoError(t, err)
	sealed, err := s.Seal("site/7", []byte("21.5"))
	require.NoError(t, err)
	require.Len(t, sealed, 4+34)
	got, err := s.Open("site/7", sealed)
	require.NoError(t, err)
	require.Equal(t, "21.5", string(got))
}
