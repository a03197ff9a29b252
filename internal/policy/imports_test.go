package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Groups of modules that the table below speaks of. A client library brings
// with it what it needs itself.
var (
	paho5  = []string{"github.com/eclipse/paho.golang", "github.com/gorilla/websocket", "golang.org/x/net", "golang.org/x/sync"}
	pahos  = append([]string{"github.com/eclipse/paho.mqtt.golang"}, paho5...)
	curves = []string{"filippo.io/nistec", "filippo.io/bigmod", "github.com/cloudflare/circl", "github.com/bwesterb/go-ristretto", "golang.org/x/crypto", "golang.org/x/sys", "golang.org/x/text"}
	crypto = []string{"golang.org/x/crypto", "golang.org/x/sys"}
	cpu    = []string{"golang.org/x/sys"}
	cbor   = []string{"github.com/fxamacker/cbor/v2", "github.com/x448/float16"}
	tokens = append([]string{"github.com/go-jose/go-jose/v4", "github.com/veraison/go-cose"}, cbor...)
	bolt   = []string{"go.etcd.io/bbolt", "golang.org/x/sys"}
	mochi  = []string{"github.com/mochi-mqtt/server/v2", "github.com/gorilla/websocket", "github.com/rs/xid", "gopkg.in/yaml.v3"}
)

// Groups of this module's own packages.
var (
	packets = []string{"internal/wire", "internal/topic", "internal/layer"}
	client  = append([]string{"internal/plug"}, packets...)
	sealed  = []string{"internal/seal", "internal/key", "internal/replay"}
	sealing = append(sealed, client...)
	ciphers = []string{"internal/presentseal", "present/presentcipher"}
	broker  = append([]string{"internal/guard"}, packets...)
	proving = []string{"internal/strict", "internal/aif", "internal/pop", "internal/cose", "ace/internal"} // what ACE's three sides share
	hopping = []string{"mqttauth/internal", "pake", "internal/key"}                                        // what MQTT-Auth's two sides share
)

// A rule says what a package, and those below it that have no rule of their
// own, may link apart from the standard library, directly or not. Tests are
// free. A package without a rule fails: whoever adds one says here what it may
// know of.
type rule struct {
	pkg     string
	modules [][]string // third-party modules
	own     []string   // packages of this module
}

var rules = []rule{
	// What everything stands on is the standard library and nothing else.
	{"internal/wire", nil, nil},
	{"internal/topic", nil, nil},
	{"internal/layer", nil, []string{"internal/wire"}},
	{"internal/replay", nil, nil},
	{"internal/key", nil, []string{"internal/topic"}},
	{"internal/seal", nil, append([]string{"internal/key", "internal/replay"}, packets...)},
	{"internal/guard", nil, packets},
	{"internal/strict", nil, nil},
	{"internal/pop", nil, []string{"internal/strict"}},
	{"internal/plug", [][]string{pahos}, packets},

	// The forms of ACE's tokens: CBOR, and no more of COSE than its objects.
	{"internal/aif", [][]string{cbor}, []string{"internal/topic"}},
	{"internal/cose", [][]string{cbor}, []string{"internal/pop", "internal/strict"}},
	{"ace/internal", [][]string{cbor}, []string{"internal/strict", "internal/aif", "internal/pop", "internal/cose", "internal/topic"}},

	// A primitive knows nothing of MQTT.
	{"pake", [][]string{curves}, nil},
	{"present/presentcipher", [][]string{cpu}, nil},
	{"internal/presentseal", [][]string{cpu}, slices.Concat(ciphers, sealed, packets)},

	// What an application links: the client libraries; no broker, no JOSE.
	{"aesmsg", [][]string{pahos}, sealing},
	{"present", [][]string{pahos, cpu}, slices.Concat(ciphers, sealing)},
	{"mqttauth", [][]string{pahos, curves}, slices.Concat(hopping, sealing)},
	{"mqttauth/internal", [][]string{curves}, append([]string{"pake", "internal/key"}, packets...)},
	{"mqttauth/sidechannel", [][]string{{"rsc.io/qr"}, curves}, append([]string{"internal/topic"}, hopping...)},
	{"mqttauth/tlspsk", [][]string{pahos, crypto}, client},
	{"ace", [][]string{pahos, cbor}, slices.Concat(proving, client)},

	// What goes beside a broker: no client, except for the authority that
	// serves a broker as it is; and no broker either.
	{"mqttauth/authbroker", [][]string{paho5, curves, bolt}, slices.Concat(hopping, ciphers, sealed, broker)},
	{"ace/acebroker", [][]string{tokens}, slices.Concat(proving, broker)},
	{"ace/aceserver", [][]string{tokens, bolt}, slices.Concat(proving, packets)},

	// What tests, examples and benchmarks start brokers with knows nothing of this module.
	{"internal/brokers", [][]string{mochi}, nil},
	{"internal/relay", nil, nil},
	{"internal/steady", [][]string{pahos}, nil},

	// What nobody imports.
	{"internal/policy", nil, nil},
	{"internal/e2e", [][]string{{"*"}}, []string{"*"}},
	{"internal/bench", [][]string{{"*"}}, []string{"*"}},
	{"internal/site", [][]string{{"*"}}, []string{"*"}},
	{"internal/soak", [][]string{{"*"}}, []string{"*"}},
	{"examples", [][]string{{"*"}}, []string{"*"}},
}

// platforms are what the packages are listed for: the files of a package, and
// with them its imports, depend on it.
var platforms = [][]string{
	{"GOOS=linux", "GOARCH=amd64"},
	{"GOOS=linux", "GOARCH=arm", "GOFLAGS=-tags=purego"},
	{"GOOS=windows", "GOARCH=amd64"},
}

func TestImports(t *testing.T) {
	for _, platform := range platforms {
		t.Run(strings.Join(platform, " "), func(t *testing.T) {
			for _, complaint := range forbidden(t, list(t, platform)) {
				t.Error(complaint)
			}
		})
	}
}

// An imported package, as go list describes it.
type imported struct {
	ImportPath string
	Standard   bool
	Module     *struct {
		Path string
		Main bool
	}
	Deps []string
}

// list asks the go tool for the module's packages and all they depend on.
func list(t *testing.T, platform []string) []imported {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-e", "-json=ImportPath,Standard,Module,Deps", "./...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	for _, setting := range platform {
		if flags, ok := strings.CutPrefix(setting, "GOFLAGS="); ok {
			setting = "GOFLAGS=" + os.Getenv("GOFLAGS") + " " + flags
		}
		cmd.Env = append(cmd.Env, setting)
	}
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.Fatalf("go list: %s", exit.Stderr)
	}
	require.NoError(t, err)

	var packages []imported
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p imported
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// forbidden lists the dependencies that no rule allows.
func forbidden(t *testing.T, packages []imported) []string {
	byPath := map[string]imported{}
	for _, p := range packages {
		byPath[p.ImportPath] = p
	}
	var complaints []string
	checked := 0
	for _, p := range packages {
		if p.Module == nil || !p.Module.Main {
			continue
		}
		checked++
		name := ownName(p.ImportPath)
		rule, ok := ruleFor(name)
		if !ok {
			complaints = append(complaints, fmt.Sprintf("%s: no rule says what it may import", name))
			continue
		}
		for _, dep := range p.Deps {
			if !rule.allows(byPath[dep]) {
				complaints = append(complaints, fmt.Sprintf("%s must not depend on %s", name, dep))
			}
		}
	}
	require.NotZero(t, checked, "go list showed no package of this module")
	return complaints
}

// ownName is a package's path inside the module.
func ownName(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, modulePath), "/")
}

func ruleFor(name string) (rule, bool) {
	for ; name != "."; name = path.Dir(name) {
		if i := slices.IndexFunc(rules, func(r rule) bool { return r.pkg == name }); i >= 0 {
			return rules[i], true
		}
	}
	return rule{}, false
}

// allows reports whether the rule lets a package link dep.
func (r rule) allows(dep imported) bool {
	switch {
	case dep.Standard:
		return true
	case dep.Module == nil:
		return false
	case dep.Module.Main:
		of, ok := ruleFor(ownName(dep.ImportPath))
		return ok && (of.pkg == r.pkg || slices.Contains(r.own, of.pkg) || slices.Contains(r.own, "*"))
	}
	return slices.ContainsFunc(r.modules, func(group []string) bool {
		return slices.Contains(group, "*") || slices.Contains(group, dep.Module.Path)
	})
}

func TestImportsFindsWhatItLooksFor(t *testing.T) {
	module := func(importPath, module string, deps ...string) imported {
		p := imported{ImportPath: importPath, Deps: deps}
		p.Module = &struct {
			Path string
			Main bool
		}{module, module == modulePath}
		return p
	}
	own := func(name string, deps ...string) imported { return module(modulePath+"/"+name, modulePath, deps...) }
	complaints := forbidden(t, []imported{
		{ImportPath: "fmt", Standard: true},
		module("github.com/eclipse/paho.golang/autopaho", "github.com/eclipse/paho.golang"),
		module("github.com/mochi-mqtt/server/v2", "github.com/mochi-mqtt/server/v2"),
		own("internal/wire", "fmt", "github.com/eclipse/paho.golang/autopaho"),
		own("internal/wire/inner", "fmt", modulePath+"/internal/wire"),
		own("aesmsg", "fmt", "github.com/eclipse/paho.golang/autopaho", modulePath+"/internal/wire"),
		own("ace", "github.com/mochi-mqtt/server/v2", modulePath+"/internal/brokers"),
		own("internal/e2e/inner", "github.com/mochi-mqtt/server/v2", modulePath+"/aesmsg"),
		own("novel"),
	})
	require.Equal(t, []string{
		"internal/wire must not depend on github.com/eclipse/paho.golang/autopaho",
		"ace must not depend on github.com/mochi-mqtt/server/v2",
		"ace must not depend on " + modulePath + "/internal/brokers",
		"novel: no rule says what it may import",
	}, complaints)
}
