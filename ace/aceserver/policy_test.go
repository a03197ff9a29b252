package aceserver

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/topic"
)

// TestScopeIsCoveredEntryByEntry: A-1 and S-4, S-5 as the server applies them.
func TestScopeIsCoveredEntryByEntry(t *testing.T) {
	allowed := Scope{
		{Filter: "a/#", Publish: true},
		{Filter: "a/b/#", Subscribe: true},
		{Filter: "c/+", Publish: true, Subscribe: true},
		{Filter: "#", Subscribe: true},
	}
	entry := func(filter string, publish, subscribe bool) Scope {
		return Scope{{Filter: filter, Publish: publish, Subscribe: subscribe}}
	}
	for _, c := range []struct {
		wanted Scope
		want   bool
	}{
		{Scope{}, true},
		{entry("a/b", true, true), true}, // each permission by an entry of its own
		{entry("a", true, false), true},  // "a/#" covers its parent level
		{entry("a/#", true, false), true},
		{entry("a/+/c", true, false), true},
		{entry("c/x", true, true), true},
		{entry("c/+", true, true), true},
		{entry("anything/else", false, true), true},
		{entry("b", true, false), false},
		{entry("c/#", true, false), false}, // no union with others
		{entry("c/x/y", true, false), false},
		{entry("+/b", true, false), false},
		{entry("#", true, false), false},
		{entry("$SYS/#", false, true), false}, // MQTT 4.7.2
		{append(entry("a/x", true, false), entry("b", true, false)...), false},
	} {
		require.Equal(t, c.want, covers(allowed, c.wanted), "%v", c.wanted)
	}
}

// TestScopeIsGrantedOrRefused: A-1. Nothing is cut down in silence, and the answer says what is granted.
func TestScopeIsGrantedOrRefused(t *testing.T) {
	f := start(t)
	half := Scope{{Filter: "site/alice/x", Publish: true}, {Filter: "site/bob/x", Publish: true}}
	f.json("/token", object{"audience": "jwt", "scope": scopeText(t, half)}, f.basic("alice")).refused(t, http.StatusBadRequest, "invalid_scope")
	token, o := f.ask(object{"audience": "jwt", "scope": scopeText(t, half[:1])})
	require.Equal(t, scopeText(t, half[:1]), o["scope"])
	require.Equal(t, half[:1], f.open("jwt", token).Scope)
}

// TestAClientIDWidensNoFilter: an ID with wildcards, separators or a dollar sign gets nothing from the filters that it
// would change, and still what does not contain it.
func TestAClientIDWidensNoFilter(t *testing.T) {
	templates := Scope{
		{Filter: "site/{client_id}/#", Publish: true, Subscribe: true},
		{Filter: "{client_id}/#", Subscribe: true},
		{Filter: "dev-{client_id}", Publish: true},
		{Filter: "public", Subscribe: true},
	}
	for _, id := range []string{"+", "#", "a/b", "a+", "+b", "a#", "/", "a/", "a/#", "../x", "\x00", "a\x00b"} {
		expanded, dropped := expand(templates, id)
		require.Equal(t, templates[3:], expanded, "%q", id)
		require.Equal(t, 3, dropped)
	}
	system := Scope{{Filter: "$SYS/{client_id}", Subscribe: true}}
	expanded, _ := expand(system, "alice")
	require.Equal(t, Scope{{Filter: "$SYS/alice", Subscribe: true}}, expanded, "the dollar sign is the administrator's")
	for _, id := range []string{"$SYS", "$share", "$"} {
		expanded, dropped := expand(templates, id)
		require.Equal(t, 1, dropped, "%q", id)
		for _, e := range expanded {
			require.NotEqual(t, byte('$'), e.Filter[0])
		}
	}
	for _, id := range []string{"alice", "a b", "a.b", "%2F", "{client_id}", "a:b"} {
		expanded, dropped := expand(templates, id)
		require.Zero(t, dropped, "%q", id)
		require.Len(t, expanded, 4)
	}

	f := start(t, func(f *fixture, cfg *Config) {
		for _, id := range []string{"+", "#", "a/b"} {
			secret, hash := NewSecret()
			f.secrets[id] = secret
			cfg.Clients = append(cfg.Clients, Client{ID: id, Credential: Credential{Secret: hash}})
		}
	})
	for _, id := range []string{"+", "#", "a/b"} {
		f.json("/token", object{"audience": "jwt"}, f.basic(id)).members(t, http.StatusOK)
		for _, filter := range []string{"site/x/y", "site/+/#", "site/#/#", "site/a/b/c"} {
			r := f.json("/token", object{"audience": "jwt", "scope": [][2]any{{filter, []string{"pub"}}}}, f.basic(id))
			r.refused(t, http.StatusBadRequest, "invalid_scope")
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("site/{client_id}/#", "alice")
	f.Add("{client_id}/{client_id}", "$SYS")
	f.Add("a{client_id}", "+")
	f.Fuzz(func(t *testing.T, filter, id string) {
		if id == "" {
			return
		}
		before := Scope{{Filter: filter, Publish: true}}
		if (Policy{Client: AnyClient, Audience: "a", Scope: before}).validate(map[string]bool{"a": true}) != nil {
			return
		}
		// Whatever the ID, the filter stays below what a whole level in its place would match.
		frame, err := substitute(before, "+")
		expanded, _ := expand(before, id)
		for _, e := range expanded {
			require.True(t, topic.ValidFilter(e.Filter))
			if err == nil && frame[0].Filter[0] != '+' {
				require.True(t, topic.Contains(frame[0].Filter, e.Filter), "%q, %q", filter, id)
			}
		}
	})
}
