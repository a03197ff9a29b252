package interop

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// node is a running sealed.mjs.
type node struct {
	requests  io.Writer
	responses *bufio.Scanner
}

// start runs sealed.mjs until the test ends. Without Node.js there is nothing
// to test, except where everything must be tested.
func start(t *testing.T) *node {
	t.Helper()
	program, err := exec.LookPath("node")
	if err != nil && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip("Node.js is not installed")
	}
	require.NoError(t, err)
	cmd := exec.Command(program, "sealed.mjs")
	cmd.Stderr = os.Stderr
	requests, err := cmd.StdinPipe()
	require.NoError(t, err)
	responses, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	n := &node{requests, bufio.NewScanner(responses)}
	n.responses.Buffer(nil, 1<<24)
	t.Cleanup(func() {
		require.NoError(t, requests.Close())
		require.False(t, n.responses.Scan(), "an answer that nobody asked for")
		require.NoError(t, cmd.Wait())
	})
	return n
}

// A request to sealed.mjs; binary values are hexadecimal.
type request struct {
	Do         string     `json:"do"`
	Key        string     `json:"key"`
	Filter     string     `json:"filter,omitempty"`
	Topic      string     `json:"topic,omitempty"`
	Frame      hexBytes   `json:"frame"`
	Payload    hexBytes   `json:"payload"`
	Session    hexBytes   `json:"session,omitempty"`
	Time       uint32     `json:"time"`
	Seq        uint32     `json:"seq"`
	Flags      byte       `json:"flags"`
	Properties hexBytes   `json:"properties,omitempty"`
	Signer     hexBytes   `json:"signer,omitempty"`
	Publishers []hexBytes `json:"publishers,omitempty"`
}

// A response of sealed.mjs.
type response struct {
	Error      string   `json:"error"`
	Key        string   `json:"key"`
	ID         hexBytes `json:"id"`
	Frame      hexBytes `json:"frame"`
	Payload    hexBytes `json:"payload"`
	Properties hexBytes `json:"properties"`
	Signer     hexBytes `json:"signer"`
	Flags      byte     `json:"flags"`
	Session    hexBytes `json:"session"`
	Time       uint32   `json:"time"`
	Seq        uint32   `json:"seq"`
}

// ask returns the answer to a request, an error's included.
func (n *node) ask(t *testing.T, r request) response {
	t.Helper()
	line, err := json.Marshal(r)
	require.NoError(t, err)
	_, err = n.requests.Write(append(line, '\n'))
	require.NoError(t, err)
	require.True(t, n.responses.Scan(), "no answer: %v", n.responses.Err())
	var answer response
	require.NoError(t, json.Unmarshal(n.responses.Bytes(), &answer))
	return answer
}

// must is ask for what has to succeed.
func (n *node) must(t *testing.T, r request) response {
	t.Helper()
	answer := n.ask(t, r)
	require.Empty(t, answer.Error)
	return answer
}

// hexBytes is binary in JSON.
type hexBytes []byte

func (b hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, b), nil }

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.AppendDecode(nil, text)
	return err
}
