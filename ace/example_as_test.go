package ace_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/mqttsec/mqttsec/ace"
)

// A program that only wants a token asks for one.
func ExampleAS() {
	server := authorizationServer()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())

	as, err := ace.NewAS(ace.ASConfig{
		Endpoint:     server.URL + "/token",
		ClientID:     "sensor-7",
		ClientSecret: "wheel-tapper",
		Audience:     "mqtt.example",
		Scope:        ace.Scope{{Filter: "site/7/#", Publish: true}},
		TLS:          &tls.Config{RootCAs: roots},
	})
	if err != nil {
		panic(err)
	}
	token, err := as.Token(context.Background())
	if err != nil {
		panic(err)
	}
	fmt.Printf("%d bytes\n", len(token.Raw))
	fmt.Println(token.Scope.AllowsPublish("site/7/temperature"), token.Scope.AllowsPublish("site/8/temperature"))
	// Output:
	// 12 bytes
	// true false
}

// authorizationServer always says the same.
func authorizationServer() *httptest.Server {
	return httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/ace+json")
		fmt.Fprint(w, `{"access_token":"opaque-token","token_type":"PoP","expires_in":300,"ace_profile":"mqtt_tls",
			"cnf":{"jwk":{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}}}`)
	}))
}
