package aceserver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
)

// The environment of a test that is to run as a server and die.
const (
	victimFile = "ACESERVER_VICTIM_FILE" // its store
	victimDies = "ACESERVER_VICTIM_DIES" // before which write
)

func TestMain(m *testing.M) {
	if name := os.Getenv(victimFile); name != "" {
		if err := victim(name); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// mortal is a store that kills the process, with no chance to clean up, before its nth write, deletion or end of a
// transaction.
type mortal struct {
	store.Store
	left int
}

func (m *mortal) live() {
	if m.left--; m.left == 0 {
		if self, err := os.FindProcess(os.Getpid()); err == nil {
			_ = self.Kill()
		}
		select {} // until it takes effect
	}
}

func (m *mortal) Update(fn func(store.Tx) error) error {
	err := m.Store.Update(func(tx store.Tx) error {
		err := fn(mortalTx{tx, m})
		m.live()
		return err
	})
	m.live()
	return err
}

type mortalTx struct {
	store.Tx
	m *mortal
}

func (t mortalTx) Put(bucket, key string, value []byte) error {
	t.m.live()
	return t.Tx.Put(bucket, key, value)
}

func (t mortalTx) Delete(bucket, key string) error {
	t.m.live()
	return t.Tx.Delete(bucket, key)
}

// mortalConfig is the server of this test, over any store.
func mortalConfig(s store.Store) Config {
	return Config{
		Issuer:          issuer,
		Store:           s,
		Keys:            []SigningKey{{Key: newEd25519()}},
		Audiences:       []Audience{{Name: "ref", Format: Reference}},
		ResourceServers: []ResourceServer{{ID: "rs", Credential: Credential{Secret: hashSecret("rs")}, Audiences: []string{"ref"}}},
		Policies:        []Policy{{Client: AnyClient, Audience: "ref", Scope: Scope{{Filter: "a", Publish: true}}}},
		BehindProxy:     true,
		Address:         address,
		Limits:          Limits{Address: Rate{Interval: -1}, Client: Rate{Interval: -1}},
	}
}

// call sends a request in JSON to a server in this process.
func call(h http.Handler, path, user, password string, members object) (int, object) {
	body, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	if user != "" {
		r.SetBasicAuth(user, password)
	} else {
		r.Header.Set("Authorization", "Bearer "+password)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var o object
	_ = json.Unmarshal(w.Body.Bytes(), &o) // a response without a body is nil
	return w.Code, o
}

// victim is a server that does one thing after the other and says what has been acknowledged, until it dies.
func victim(name string) error {
	file, err := store.OpenFile(name)
	if err != nil {
		return err
	}
	dies, err := strconv.Atoi(os.Getenv(victimDies))
	if err != nil {
		return err
	}
	s, err := New(mortalConfig(&mortal{file, dies}))
	if err != nil {
		return err
	}
	say := func(words ...any) { fmt.Println(words...) }
	for range 2 {
		invite, err := s.Invite(context.Background(), Invitation{})
		if err != nil {
			return err
		}
		say("invited", invite)
		_, client := call(s, "/register", "", invite, object{})
		id, secret := client["client_id"].(string), client["client_secret"].(string)
		say("registered", id, secret, invite)
		_, kept := call(s, "/token", id, secret, object{})
		say("issued", kept["access_token"])
		_, lost := call(s, "/token", id, secret, object{})
		say("issued", lost["access_token"])
		say("revoking", lost["access_token"])
		if status, _ := call(s, "/revoke", id, secret, object{"token": lost["access_token"]}); status != http.StatusOK {
			return fmt.Errorf("revocation: %d", status)
		}
		say("revoked", lost["access_token"])
	}
	say("done")
	return file.Close()
}

// TestKilledServerForgetsNothing kills the server before each of its writes, once, and looks at what it left behind:
// every client whose registration was acknowledged is there, every acknowledged revocation holds, every acknowledged
// token is known, and an initial access token is used up exactly if there is a client for it.
func TestKilledServerForgetsNothing(t *testing.T) {
	dir := t.TempDir()
	for dies := 1; ; dies++ {
		name := filepath.Join(dir, strconv.Itoa(dies))
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), victimFile+"="+name, victimDies+"="+strconv.Itoa(dies))
		out, err := cmd.Output()
		said := bufio.NewScanner(strings.NewReader(string(out)))
		facts := map[string][][]string{}
		for said.Scan() {
			words := strings.Fields(said.Text())
			facts[words[0]] = append(facts[words[0]], words[1:])
		}
		require.Empty(t, facts["error"])
		inspect(t, name, facts)
		if facts["done"] != nil {
			require.NoError(t, err)
			require.Greater(t, dies, 40, "the victim has lived through fewer moments than it writes")
			return
		}
		require.Error(t, err, "the victim ended in another way")
	}
}

// inspect compares what a dead server left behind with what it had acknowledged.
func inspect(t *testing.T, name string, facts map[string][][]string) {
	t.Helper()
	file, err := store.OpenFile(name)
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	s, err := New(mortalConfig(file))
	require.NoError(t, err)
	active := func(token string) bool {
		_, o := call(s, "/introspect", "rs", "rs", object{"token": token})
		return o["active"] == true
	}
	revoking := map[string]bool{}
	for _, words := range facts["revoking"] {
		revoking[words[0]] = true // as long as it is not acknowledged it may be either
	}
	for _, words := range facts["issued"] {
		require.True(t, active(words[0]) || revoking[words[0]], "a token is lost")
	}
	for _, words := range facts["revoked"] {
		require.False(t, active(words[0]), "a revocation is lost")
	}
	used := map[string]bool{}
	for _, words := range facts["registered"] {
		status, _ := call(s, "/token", words[0], words[1], object{})
		require.Equal(t, http.StatusOK, status, "a client is lost")
		used[words[2]] = true
	}
	clients, spent := 0, 0
	require.NoError(t, file.View(func(tx store.Tx) error {
		tx.Ascend(bucketClients, func(string, []byte) bool { clients++; return true })
		return nil
	}))
	for _, words := range facts["invited"] {
		if status, _ := call(s, "/register", "", words[0], object{}); status == http.StatusCreated {
			require.False(t, used[words[0]], "an initial access token can be used twice")
		} else {
			spent++
		}
	}
	require.Equal(t, spent, clients, "an initial access token is used up without a client, or the other way round")
}
