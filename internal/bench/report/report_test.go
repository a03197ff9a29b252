package report

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/bench/link"
)

// tiny is the smallest configuration that has one of everything.
func tiny() Config {
	return Config{
		QoS:      []byte{0, 1},
		Sizes:    []int{16, 300},
		Rounds:   1,
		Batch:    time.Nanosecond,
		Connects: 1,
		Delays:   1,
		Trips:    1,
	}
}

func TestRun(t *testing.T) {
	var fractions []float64
	cfg := tiny()
	cfg.Progress = func(fraction float64, what string) {
		require.NotEmpty(t, what)
		fractions = append(fractions, fraction)
	}
	r, err := Run(t.Context(), cfg)
	require.NoError(t, err)
	require.IsIncreasing(t, fractions)
	require.GreaterOrEqual(t, fractions[0], 0.0)
	require.Less(t, fractions[len(fractions)-1], 1.0)

	schemes := len(Schemes())
	require.Empty(t, r.Connects, "the Ways say more")
	require.Len(t, r.Messages, 2*2*2*schemes)
	require.Len(t, r.Connecting, 2*len(Ways()))
	for _, c := range r.Connecting {
		for what, v := range map[string]float64{
			"time": c.Time, "far": c.Far, "allocs": c.Allocs, "memory": c.Memory, "wire": c.Wire, "round trips": c.RoundTrips,
		} {
			require.Positive(t, v, "%s %s: %s", c.Client, c.Way, what)
		}
	}
	for _, m := range r.Messages {
		name := strings.Join([]string{string(m.Client), m.Scheme}, " ")
		for what, v := range map[string]float64{"rate": m.Rate, "delay": m.Delay, "allocs": m.Allocs, "memory": m.Memory} {
			require.Positive(t, v, "%s: %s", name, what)
		}
		require.GreaterOrEqual(t, m.Delay99, m.Delay, name)
		require.Greater(t, m.Wire, float64(m.Size), name)
	}
	t.Run("sealing adds what it promises", func(t *testing.T) {
		for _, client := range []link.Client{link.V5, link.V3} {
			for _, size := range []int{16, 300} {
				wire := func(scheme string) float64 {
					m, measured := r.message(client, scheme, 0, size)
					require.True(t, measured)
					return m.Wire
				}
				for scheme, overhead := range map[string]float64{"aesmsg": 42, "present": 34} {
					// A topic or a Remaining Length may be a byte longer.
					require.InDelta(t, overhead, wire(scheme)-wire("plain"), 3)
				}
				require.InDelta(t, wire("plain"), wire("mqttauth"), 3, "it leaves messages as they are")
				require.Greater(t, wire("mqttauth hop"), wire("mqttauth")+16, "a tag at least")
				require.Greater(t, wire("ace"), wire("plain")+16, "TLS")
			}
		}
	})
	t.Run("connecting costs what each way needs", func(t *testing.T) {
		for _, client := range []link.Client{link.V5, link.V3} {
			wire := map[string]float64{}
			for _, c := range r.Connecting {
				if c.Client == client {
					wire[c.Way] = c.Wire
				}
			}
			for _, version := range []string{"1.3", "1.2"} {
				order := []string{"plain", "tlspsk " + version, "TLS " + version + " ECDSA", "TLS " + version + " ECDSA mutual"}
				for i, less := range order[:len(order)-1] {
					require.Less(t, wire[less], wire[order[i+1]], "%s: %s, %s", client, less, order[i+1])
				}
			}
			require.Equal(t, wire["plain"], wire["aesmsg"], "there is no payload")
			require.Greater(t, wire["TLS 1.3 hybrid"], wire["TLS 1.3 ECDSA"]+2000, "both shares of ML-KEM-768")
			require.Greater(t, wire["ace"], wire["TLS 1.3 ECDSA"], "a token, and a proof, over TLS")
			require.Greater(t, wire["mqttauth"], wire["plain"])
			require.Greater(t, wire["mqttauth two-phase"], wire["mqttauth"], "both connections count")
		}
	})
	t.Run("Markdown", func(t *testing.T) { checkMarkdown(t, r) })
	t.Run("JSON", func(t *testing.T) {
		var b bytes.Buffer
		require.NoError(t, r.JSON(&b))
		var back Report
		require.NoError(t, json.Unmarshal(b.Bytes(), &back))
		require.Equal(t, *r, back)
	})
	t.Run("plots", func(t *testing.T) { checkPlots(t, r) })
}

func checkMarkdown(t *testing.T, r *Report) {
	var b bytes.Buffer
	require.NoError(t, r.Markdown(&b, []string{"delay.svg"}))
	text := b.String()
	rows := func(name string) int { return strings.Count(text, "| "+name+" |") }
	for _, s := range Schemes() {
		// For two clients, two QoS and two sizes.
		require.GreaterOrEqual(t, rows(s.Name), 8, s.Name)
	}
	for _, w := range Ways() {
		require.GreaterOrEqual(t, rows(w.Name), 2, w.Name)
	}
	require.Contains(t, text, "![delay](delay.svg)")
	for _, pair := range pairs {
		require.Equal(t, 2, rows(pair[0]+" | "+pair[1]), pair)
	}
	_, against, _ := strings.Cut(text, "## TLS against sealed payloads")
	against, _, _ = strings.Cut(against, "\n##")
	require.Equal(t, 2+2*2*2, strings.Count(against, "\n|"), "a head, and a row for each client, QoS and size")
	require.Regexp(t, `TLS 1\.3 adds 1\d\d\d B for each connection`, against)
	columns := 0
	for _, line := range strings.Split(text, "\n") {
		n := strings.Count(line, "|")
		if n > 0 && columns > 0 {
			require.Equal(t, columns, n, "every row of a table has the columns of its head: %s", line)
		}
		columns = n
	}
}

func checkPlots(t *testing.T, r *Report) {
	dir := t.TempDir()
	// The panels of another QoS are drawn as these are, and drawing takes long under the race detector.
	one := *r
	one.Messages = slices.DeleteFunc(slices.Clone(r.Messages), func(m Message) bool { return m.QoS != 0 })
	names, err := one.Plots(dir)
	require.NoError(t, err)
	require.Len(t, names, len(figures())-2, "all but those of connects")
	require.Contains(t, names, "connecting.svg")
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		decoder := xml.NewDecoder(bytes.NewReader(text))
		for err == nil {
			_, err = decoder.Token()
		}
		require.ErrorIs(t, err, io.EOF, "%s is not well formed", name)

		file, err := os.Open(filepath.Join(dir, strings.TrimSuffix(name, ".svg")+".png"))
		require.NoError(t, err)
		image, err := png.Decode(file)
		require.NoError(t, errors.Join(err, file.Close()))
		require.Greater(t, image.Bounds().Dx(), image.Bounds().Dy())
	}
}

func TestRunStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cfg := Config{Progress: func(float64, string) { cancel() }}
	_, err := Run(ctx, cfg)
	require.ErrorIs(t, err, context.Canceled)
}

func TestRunNamesWhatFails(t *testing.T) {
	broken := errors.New("broken")
	cfg := tiny()
	cfg.Schemes = []Scheme{{Name: "made up", New: func(string) (link.Scheme, error) { return nil, broken }}}
	_, err := Run(t.Context(), cfg)
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "made up: ")

	cfg = tiny()
	cfg.Schemes = []Scheme{{Name: "TLS", TLS: true}}
	cfg.Broker = &link.Broker{URL: &url.URL{Scheme: "tcp", Host: "127.0.0.1:1"}}
	_, err = Run(t.Context(), cfg)
	require.ErrorContains(t, err, "none of these schemes")
}
