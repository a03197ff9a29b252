package presentcipher

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPrintingShowsNoKey(t *testing.T) {
	a, err := NewAEAD([KeySize]byte{1, 2, 3})
	require.NoError(t, err)
	b, err := NewCipher(make([]byte, 16))
	require.NoError(t, err)
	for v, want := range map[any]string{
		a: "PRESENT-CTR with LightMAC (" + fastest.String() + ")",
		b: "PRESENT (" + fastest.String() + ")",
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
			require.Equal(t, want, fmt.Sprintf(verb, v), verb)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		require.Contains(t, log.String(), want)
	}
}
