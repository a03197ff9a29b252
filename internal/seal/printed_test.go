package seal

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/key"
)

// Whatever prints values shows neither the secret nor a part of it.
func TestSecretsAreNotPrinted(t *testing.T) {
	k := testKey(t, "site/#", 0xA0)
	type holder struct {
		Exported Key
		hidden   Key
		Pointer  *Key
		List     []Key
		Map      map[string]Key
	}
	h := holder{k, k, &k, []Key{k}, map[string]Key{"k": k}}
	config := Config{Keys: []Key{k}}
	s := testSealer(t, config)
	_, err := s.Seal("site", nil) // the leaf is the secret's own
	require.NoError(t, err)
	if !s.clock.timer.Stop() { // fmt looks into the Sealer, and the timer writes there
		for s.clock.second.Load() != 0 {
			runtime.Gosched()
		}
	}
	type sealers struct {
		Exported *Sealer
		hidden   *Sealer
	}
	outer := struct{ core *Sealer }{s}
	l := s.topics.findString("site")
	var out strings.Builder
	for _, v := range []any{k, &k, h, &h, []Key{k}, [1]Key{k}, map[string]Key{"k": k}, config, &config, errors.New(fmt.Sprint(k)), s, sealers{s, s}, outer, &outer} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%p", "%T", "%t", "%100v"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
		if _, nested := v.(holder); nested {
			continue // slog's JSON of a struct is its json.Marshal
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v, slog.Any("w", v))
	}
	for _, v := range []any{k, &k} {
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v, slog.Group("g", "k", v))
	}
	fmt.Fprintln(&out, k.String(), k.GoString(), k.LogValue())

	text, err := k.MarshalText()
	require.NoError(t, err)
	_, err = New(XAES(), Config{Keys: []Key{k, k}})
	fmt.Fprintln(&out, err)
	_, err = k.Sub("other")
	fmt.Fprintln(&out, err)
	var broken Key
	fmt.Fprintln(&out, broken.UnmarshalText(append(text, 'A')), broken.UnmarshalText(text[:len(text)-1]))

	printed := out.String()
	require.Contains(t, printed, `mqttsec.Key("site/#", secret hidden)`)
	secret := count(0xA0, key.SecretSize)
	require.NotContains(t, printed, strings.Trim(fmt.Sprint(l.keys[0].secret[:4]), "[]"))
	require.NotContains(t, printed, fmt.Sprintf("%x", l.keys[0].secret[:4]))
	for _, form := range []string{
		string(secret[:4]), fmt.Sprintf("%x", secret[:3]), fmt.Sprintf("%X", secret[:3]), fmt.Sprintf("% x", secret[:3]),
		"160 161 162", "0xa0, 0xa1", "0xA0", string(text[8:20]), strings.ToLower(string(text[8:20])),
	} {
		require.NotContains(t, printed, form)
	}
}
