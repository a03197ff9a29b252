package aceserver

import (
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/internal/strict"
)

// TestClientOfThisModule: what package ace asks for in each encoding, with each kind of key and for each format, is
// understood, and so is the answer.
func TestClientOfThisModule(t *testing.T) {
	f := start(t)
	keys := map[Algorithm]crypto.Signer{HS256: nil, EdDSA: newEd25519(), ES256: newP256()}
	encodings := map[string]ace.Encoding{"json": ace.JSON, "cbor": ace.CBOR, "form": ace.Form}
	scope := Scope{{Filter: "site/alice/a", Publish: true, Subscribe: true}}
	config := func(encoding ace.Encoding, audience string) ace.ASConfig {
		return ace.ASConfig{
			Endpoint:     f.url + "/token",
			ClientID:     "alice",
			ClientSecret: f.secrets["alice"],
			TLS:          &tls.Config{RootCAs: f.http.Transport.(*http.Transport).TLSClientConfig.RootCAs},
			Audience:     audience,
			Scope:        scope,
			CNonce:       []byte("12345678"),
			Encoding:     encoding,
		}
	}
	for name, encoding := range encodings {
		for _, audience := range formats {
			for alg, key := range keys {
				t.Run(fmt.Sprintf("%s/%s/%s", name, audience, alg), func(t *testing.T) {
					cfg := config(encoding, audience)
					cfg.Signer, cfg.SecretInBody, cfg.KeepKey = key, alg == HS256, true
					if key != nil {
						cfg.TLS.Certificates = []tls.Certificate{certify(t, key, "alice.example", nil)}
					}
					as, err := ace.NewAS(cfg)
					require.NoError(t, err)
					first, err := as.Token(t.Context())
					require.NoError(t, err)
					second, err := as.Token(t.Context()) // on the same key
					require.NoError(t, err)
					for _, token := range []ace.Token{first, second} {
						require.Equal(t, scope, token.Scope)
						require.Equal(t, key != nil, token.Broker != nil)
						require.NotEmpty(t, token.Raw)
						raw := token.Raw
						if audience == "cwt" && encoding != ace.CBOR { // as text (RFC 9770, section 4)
							raw, err = strict.DecodeText(string(raw))
							require.NoError(t, err)
						}
						set := f.open(audience, raw)
						require.Equal(t, []byte("12345678"), set.CNonce)
						require.Equal(t, scope, set.Scope)
						proof, err := token.Key.Prove([]byte("input"))
						require.NoError(t, err)
						require.NoError(t, set.Confirmation.Key.Verify([]byte("input"), proof))
					}
				})
			}
		}
		t.Run(name+"/refused", func(t *testing.T) {
			cfg := config(encoding, "jwt")
			cfg.Scope = Scope{{Filter: "#", Subscribe: true}}
			as, err := ace.NewAS(cfg)
			require.NoError(t, err)
			_, err = as.Token(t.Context())
			var said *ace.ASError
			require.True(t, errors.As(err, &said), "%v", err)
			require.Equal(t, "invalid_scope", said.Code)
			require.Equal(t, http.StatusBadRequest, said.Status)

			cfg.ClientSecret = f.secrets["bob"]
			as, err = ace.NewAS(cfg)
			require.NoError(t, err)
			_, err = as.Token(t.Context())
			require.True(t, errors.As(err, &said), "%v", err)
			require.Equal(t, "invalid_client", said.Code)
			require.Equal(t, http.StatusUnauthorized, said.Status)
		})
	}
}
