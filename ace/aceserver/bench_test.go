package aceserver

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
)

// BenchmarkToken is a whole request to the token endpoint but for HTTP and TLS, with a new symmetric key; "parallel"
// has sixteen clients at once on each processor, which share writes to the disk.
func BenchmarkToken(b *testing.B) {
	for _, where := range []string{"memory", "file"} {
		for _, audience := range formats {
			open := func(b *testing.B) *fixture {
				return start(b, func(_ *fixture, cfg *Config) {
					cfg.BehindProxy, cfg.Address = true, address
					for i := range cfg.Audiences {
						cfg.Audiences[i].Lifetime = 10 * time.Second // no more are kept than a store would have
					}
					if where == "file" {
						file, err := store.OpenFile(filepath.Join(b.TempDir(), "state"))
						require.NoError(b, err)
						b.Cleanup(func() { _ = file.Close() })
						cfg.Store = file
					}
				})
			}
			one := func(f *fixture) {
				r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(`{"audience":"`+audience+`"}`))
				r.Header.Set("Content-Type", "application/ace+json")
				f.basic("alice")(r)
				w := httptest.NewRecorder()
				f.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					panic(w.Body.String())
				}
			}
			b.Run(where+"/"+audience, func(b *testing.B) {
				f := open(b)
				for b.Loop() {
					one(f)
				}
			})
			b.Run(where+"/"+audience+"/parallel", func(b *testing.B) {
				f := open(b)
				b.SetParallelism(16)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						one(f)
					}
				})
			})
		}
	}
}
