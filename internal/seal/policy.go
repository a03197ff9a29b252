package seal

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/mqttsec/mqttsec/internal/topic"
)

// Unsealed names topics on which messages may pass that are not sealed, for as long as a
// fleet moves over.
type Unsealed struct {
	// Filter matches the topics.
	Filter string
	// Until is when this ends, and unsealed messages are refused again.
	Until time.Time
}

// checkTopics validates the fields that name topics.
func (c *Config) checkTopics() error {
	for i, f := range c.PlainTopics {
		if !topic.ValidFilter(f) {
			return fmt.Errorf("mqttsec: PlainTopics[%d]: %.256q is not a topic filter", i, f)
		}
	}
	if len(c.PlainTopics) > 0 && !c.OnlySealed {
		return errors.New("mqttsec: PlainTopics is set, and does nothing without OnlySealed")
	}
	if err := checkUnsealed("InsecureAcceptUnsealed", c.InsecureAcceptUnsealed); err != nil {
		return err
	}
	return checkUnsealed("InsecureSendUnsealed", c.InsecureSendUnsealed)
}

func checkUnsealed(field string, us []Unsealed) error {
	for i, u := range us {
		if !topic.ValidFilter(u.Filter) {
			return fmt.Errorf("mqttsec: %s[%d]: %.256q is not a topic filter", field, i, u.Filter)
		}
		if u.Until.IsZero() {
			return fmt.Errorf("mqttsec: %s[%d] (%q) has no end: set Until", field, i, u.Filter)
		}
	}
	return nil
}

// allows reports whether unsealed messages may pass on a topic now.
func allows(us []Unsealed, name []byte) bool {
	for i := range us {
		if topic.Match(topic.Unshare(us[i].Filter), name) && time.Now().Before(us[i].Until) {
			return true
		}
	}
	return false
}

// prefixes are the beginnings of a topic by which brokers mean something else than a topic,
// with the number of levels that they take: the rest is the topic on which the message
// arrives, or for which it counts. A message belongs to one topic whatever stands before it.
var prefixes = []struct {
	first  string
	levels int
}{
	{"$delayed", 2},   // EMQX and its kin: $delayed/seconds/topic is delivered later, on topic
	{"$share", 2},     // MQTT 5, 4.8.2: a filter, but for a client's router also a name
	{"$oshare", 2},    // the same in order
	{"$queue", 1},     // the same in EMQX, without a group
	{"$exclusive", 1}, // EMQX: for one subscriber
	{"$aws/rules", 3}, // AWS Basic Ingest: $aws/rules/rule/topic goes to the rule as topic
}

// actual returns the topic that a name stands for.
func actual(name []byte) []byte {
	for len(name) > 0 && name[0] == '$' {
		rest := beyondPrefix(name)
		if rest == nil {
			break
		}
		name = rest
	}
	return name
}

// beyondPrefix returns what stands behind a prefix, nil if there is none or nothing behind.
func beyondPrefix(name []byte) []byte {
	for _, p := range prefixes {
		rest, ok := bytes.CutPrefix(name, []byte(p.first))
		if !ok || len(rest) == 0 || rest[0] != '/' {
			continue
		}
		rest = name
		for range p.levels {
			_, rest, ok = bytes.Cut(rest, []byte("/"))
			if !ok {
				return nil
			}
		}
		if len(rest) == 0 {
			return nil
		}
		return rest
	}
	return nil
}

// leaving judges the name of a message that the local side publishes: the topic to seal it
// for, nil if it is not to be sealed.
func (s *Sealer) leaving(name []byte) ([]byte, error) {
	name = actual(name)
	switch {
	case s.covers(name):
		if allows(s.config.InsecureSendUnsealed, name) {
			return nil, nil
		}
		return name, nil
	case s.config.OnlySealed && !s.exempt(name):
		return nil, ErrNoKey
	}
	return nil, nil
}

// arriving judges the name of a message of the peer: the topic to open it for, nil if it
// passes as it is. A name has one reading here: the routers of both Eclipse clients compare
// it with the filters of their handlers first, wildcards, share and all, so that none of
// those is let through. They also let a leading wildcard match a topic that begins with $,
// which MQTT forbids (5.0 section 4.7.2): a broker could send plaintext on "$x/cmd" for the
// handler of "+/cmd". Such topics pass only if the client has subscribed to them by their
// first level; $SYS, which is the broker's own, always.
func (l *link) arriving(s *Sealer, name []byte) ([]byte, error) {
	if bytes.ContainsAny(name, "+#\x00") {
		return nil, errWildcard
	}
	whole := name
	name = actual(name)
	switch {
	case s.covers(name):
		return name, nil
	case s.config.OnlySealed && !s.exempt(name):
		return nil, ErrNotSealed
	case whole[0] != '$', string(whole) == "$SYS", bytes.HasPrefix(whole, []byte("$SYS/")):
		return nil, nil
	}
	ordinary := append([]byte{'-'}, whole[1:]...)
	var room [8]int
	if len(s.filters.Match(room[:0], ordinary)) > 0 && !l.subscribedTo(whole) {
		return name, nil
	}
	return nil, nil
}

// exempt reports whether a topic is one of those that OnlySealed leaves alone.
func (s *Sealer) exempt(name []byte) bool {
	for _, f := range s.config.PlainTopics {
		if topic.Match(f, name) {
			return true
		}
	}
	return false
}

// subscribedTo reports whether the local side has subscribed to a topic that begins with $
// by a filter that has its first level.
func (l *link) subscribedTo(name []byte) bool {
	l.mqttSession.mu.Lock()
	defer l.mqttSession.mu.Unlock()
	for filter := range l.identifiers {
		if filter = topic.Unshare(filter); filter[0] == '$' && topic.Match(filter, name) {
			return true
		}
	}
	return false
}
