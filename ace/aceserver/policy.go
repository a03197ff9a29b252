package aceserver

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/topic"
)

// AnyClient is the Policy.Client that stands for all of them, registered ones included.
const AnyClient = "*"

// ClientID is what stands for the client's ID in the filters of a [Policy].
const ClientID = "{client_id}"

// Policy says what clients may have at one audience. Policies add up: a client may have what any of its policies
// allows.
type Policy struct {
	// Client is the ID of the one it is for, or AnyClient. Either Client or Group is set.
	Client string
	// Group is for the clients of that group.
	Group string
	// Audience is the name of one in Config.Audiences.
	Audience string
	// Scope is what the client may ask for, or any part of it: a filter that one single entry covers, with permissions
	// that this entry has. "{client_id}" in a filter stands for the client's own ID:
	//
	//	site/{client_id}/#
	//
	// An ID cannot widen such a filter: for one that contains "+", "#" or "/", or that would move the filter below
	// "$", the entry does not count.
	Scope Scope
	// Default is what a client gets that asks for no scope. It must lie within Scope. nil means Scope itself; give an
	// empty one for nothing.
	Default Scope
}

func (p Policy) validate(audiences map[string]bool) error {
	switch {
	case (p.Client == "") == (p.Group == ""):
		return errors.New("set either Client or Group")
	case !audiences[p.Audience]:
		return fmt.Errorf("unknown audience %q", p.Audience)
	}
	for _, e := range append(append(Scope{}, p.Scope...), p.Default...) {
		if strings.Contains(strings.ReplaceAll(e.Filter, ClientID, ""), "{") {
			return fmt.Errorf("filter %q: the only thing in braces is %s", e.Filter, ClientID)
		}
	}
	// Any ID without special characters will do to see what is wrong with the filters around it.
	const sample = "x"
	for name, scope := range map[string]Scope{"scope": p.Scope, "default": p.Default} {
		whole, err := substitute(scope, sample)
		if err == nil {
			err = whole.Validate()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	allowed, _ := expand(p.Scope, sample)
	if fallback, _ := expand(p.Default, sample); !covers(allowed, fallback) {
		return errors.New("the default scope goes beyond the scope")
	}
	return nil
}

// substitute puts an ID into a scope as it is.
func substitute(scope Scope, id string) (Scope, error) {
	whole := make(Scope, len(scope))
	for i, e := range scope {
		e.Filter = strings.ReplaceAll(e.Filter, ClientID, id)
		if !topic.ValidFilter(e.Filter) {
			return nil, fmt.Errorf("%q is not a topic filter", scope[i].Filter)
		}
		whole[i] = e
	}
	return whole, nil
}

// expand puts an ID into a scope, without the entries that it would change the meaning of, which it counts.
func expand(scope Scope, id string) (expanded Scope, dropped int) {
	for _, e := range scope {
		if !strings.Contains(e.Filter, ClientID) {
			expanded = append(expanded, e)
			continue
		}
		template := e.Filter
		e.Filter = strings.ReplaceAll(template, ClientID, id)
		if strings.ContainsAny(id, "+#/\x00") || e.Filter[0] == '$' && template[0] != '$' || !topic.ValidFilter(e.Filter) {
			dropped++
			continue
		}
		expanded = append(expanded, e)
	}
	return expanded, dropped
}

// covers reports whether each permission of each entry of wanted is one that a single entry of allowed has, on a filter
// that covers the wanted one (RFC 9431, section 3.2, for either permission).
func covers(allowed, wanted Scope) bool {
	for _, w := range wanted {
		publish, subscribe := !w.Publish, !w.Subscribe
		for _, a := range allowed {
			if (publish || !a.Publish) && (subscribe || !a.Subscribe) || !topic.Contains(a.Filter, w.Filter) {
				continue
			}
			publish, subscribe = publish || a.Publish, subscribe || a.Subscribe
			if publish && subscribe {
				break
			}
		}
		if !publish || !subscribe {
			return false
		}
	}
	return true
}

// rights are what a client may have at one audience.
type rights struct {
	scope, fallback Scope
	dropped         int // entries that the client's ID would have changed the meaning of
}

// rightsOf gathers the policies for a client by audience; where there is none the client may not have a token.
func (s *Server) rightsOf(client Client) map[string]rights {
	all := map[string]rights{}
	for _, p := range s.policies {
		if p.Client != AnyClient && p.Client != client.ID && (p.Group == "" || p.Group != client.Group) {
			continue
		}
		r := all[p.Audience]
		scope, dropped := expand(p.Scope, client.ID)
		fallback := scope
		if p.Default != nil {
			fallback, _ = expand(p.Default, client.ID)
		}
		r.scope, r.fallback = append(r.scope, scope...), append(r.fallback, fallback...)
		r.dropped += dropped
		all[p.Audience] = r
	}
	return all
}

// grant decides on a scope; asked tells whether the client wants a certain one.
func (r rights) grant(wanted Scope, asked bool) (Scope, error) {
	if !asked {
		if len(r.fallback) > aif.MaxEntries {
			return nil, refuse(invalidScope, "the default scope has too many entries, ask for a part of it")
		}
		return append(Scope{}, r.fallback...), nil
	}
	if !covers(r.scope, wanted) {
		return nil, refuse(invalidScope, "more than this client may have at this audience")
	}
	return wanted, nil
}
