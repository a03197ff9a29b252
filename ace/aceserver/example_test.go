package aceserver_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/mqttsec/mqttsec/ace/aceserver"
	"github.com/mqttsec/mqttsec/ace/aceserver/store"
)

func Example() {
	// The state lives in a file, which outlives the process.
	dir, err := os.MkdirTemp("", "aceserver")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	state, err := store.OpenFile(filepath.Join(dir, "as.db"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = state.Close() }()

	_, signingKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	secret, hash := aceserver.NewSecret()
	as, err := aceserver.New(aceserver.Config{
		Issuer:    "https://as.example",
		Store:     state,
		Keys:      []aceserver.SigningKey{{Key: signingKey}},
		Audiences: []aceserver.Audience{{Name: "broker.example", Format: aceserver.Reference}},
		Clients:   []aceserver.Client{{ID: "device7", Credential: aceserver.Credential{Secret: hash}}},
		Policies: []aceserver.Policy{{
			Client:   aceserver.AnyClient,
			Audience: "broker.example",
			Scope:    aceserver.Scope{{Filter: "site/{client_id}/#", Publish: true, Subscribe: true}},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	// A program gives its http.Server a certificate and timeouts; a test does with this.
	server := httptest.NewTLSServer(as)
	defer server.Close()

	request, err := http.NewRequest(http.MethodPost, server.URL+"/token", strings.NewReader(`{"scope": [["site/device7/out", ["pub"]]]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	request.SetBasicAuth("device7", secret)
	request.Header.Set("Content-Type", "application/ace+json")
	response, err := server.Client().Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		TokenType string `json:"token_type"`
		ExpiresIn int    `json:"expires_in"`
		Profile   string `json:"ace_profile"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(response.Status, answer.TokenType, answer.ExpiresIn, answer.Profile)
	// Output: 200 OK PoP 600 mqtt_tls
}
