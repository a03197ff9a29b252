package interop

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/aesmsg"
)

// vectors are what both implementations are held against. They are published
// with package internal/seal; unknown fields are intermediate values.
type vectors struct {
	Sealed []struct {
		Comment    string   `json:"comment"`
		Filter     string   `json:"filter"`
		Secret     hexBytes `json:"secret"`
		KeyText    string   `json:"key_text"`
		Topic      string   `json:"topic"`
		Leaf       hexBytes `json:"leaf"`
		KeyID      hexBytes `json:"key_id"`
		Suite      int      `json:"suite"`
		Flags      byte     `json:"flags"`
		Session    hexBytes `json:"session"`
		Time       uint32   `json:"time"`
		Sequence   uint32   `json:"sequence"`
		SignerSeed hexBytes `json:"signer_seed"`
		PublicKey  hexBytes `json:"public_key"`
		Properties hexBytes `json:"properties"`
		Payload    hexBytes `json:"payload"`
		Frame      hexBytes `json:"frame"`
	} `json:"sealed"`
	Refused []struct {
		Comment    string     `json:"comment"`
		Filter     string     `json:"filter"`
		Secret     hexBytes   `json:"secret"`
		Publishers []hexBytes `json:"publishers"`
		Topic      string     `json:"topic"`
		Frame      hexBytes   `json:"frame"`
		Error      string     `json:"error"`
	} `json:"refused"`
}

func readVectors(t *testing.T) (v vectors) {
	t.Helper()
	text, err := os.ReadFile("../../internal/seal/testdata/vectors.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &v))
	require.NotEmpty(t, v.Sealed)
	require.NotEmpty(t, v.Refused)
	return v
}

// TestVectors has Node make and open every sealed message of the vectors.
func TestVectors(t *testing.T) {
	n := start(t)
	for _, v := range readVectors(t).Sealed {
		if v.Suite != 1 {
			continue // Node has no PRESENT
		}
		t.Run(v.Comment, func(t *testing.T) {
			keys := n.must(t, request{Do: "keys", Key: v.KeyText, Topic: v.Topic})
			require.Equal(t, v.Leaf.String(), keys.Key)
			require.Equal(t, v.KeyID, keys.ID)

			opened := n.must(t, request{Do: "open", Key: v.KeyText, Topic: v.Topic, Frame: v.Frame})
			require.Equal(t, v.Payload.String(), opened.Payload.String())
			require.Equal(t, v.Properties.String(), opened.Properties.String())
			require.Equal(t, v.Flags, opened.Flags)
			require.Equal(t, v.Session, opened.Session)
			require.Equal(t, v.Time, opened.Time)
			require.Equal(t, v.Sequence, opened.Seq)

			seal := request{
				Do: "seal", Key: v.KeyText, Topic: v.Topic, Payload: v.Payload, Properties: v.Properties,
				Session: v.Session, Time: v.Time, Seq: v.Sequence, Flags: v.Flags,
			}
			if v.SignerSeed != nil {
				seal.Signer = append(v.SignerSeed, v.PublicKey...)
				by := n.must(t, request{Do: "open", Key: v.KeyText, Topic: v.Topic, Frame: v.Frame, Publishers: []hexBytes{v.PublicKey}})
				require.Equal(t, v.PublicKey, by.Signer)
			}
			require.Equal(t, v.Frame.String(), n.must(t, seal).Frame.String())
		})
	}
}

// TestRefusedVectors has Node refuse what must be refused, and for the same
// reason as Go.
func TestRefusedVectors(t *testing.T) {
	n := start(t)
	for _, v := range readVectors(t).Refused {
		t.Run(v.Comment, func(t *testing.T) {
			key, err := aesmsg.NewKey(v.Filter, v.Secret)
			require.NoError(t, err)
			answer := n.ask(t, request{Do: "open", Key: textOf(t, key), Topic: v.Topic, Frame: v.Frame, Publishers: v.Publishers})
			require.Equal(t, v.Error, answer.Error)
		})
	}
}
