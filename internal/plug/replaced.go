package plug

import (
	"errors"
	"fmt"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/autopaho/queue/memory"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// errReplaced is why a connection is not opened: what was set on wrapped options is not protected.
var errReplaced = errors.New("plug: set after wrapping, so messages would be stored unprotected; set it on the options that are wrapped")

// by tells whether f freezes for the options of one wrap.
func (f *frost) by(owner any) bool {
	for ; f != nil; f = f.next {
		if f.owner == owner {
			return true
		}
	}
	return false
}

// intact tells whether what the client stores messages in is still what V5 made, or keeps them in memory. A Session
// that was set where there was none looks like autopaho's own, and is not noticed.
func (a *attemptV5) intact(cfg *autopaho.ClientConfig) error {
	if _, ok := a.scheme.(AtRest); !ok {
		return nil
	}
	switch q := cfg.Queue.(type) {
	case nil, *memory.Queue:
	case frozenQueue:
		if !q.frost.by(a) {
			return fmt.Errorf("ClientConfig.Queue: %w", errReplaced)
		}
	default:
		return fmt.Errorf("ClientConfig.Queue: %w", errReplaced)
	}
	if s, ok := cfg.Session.(*frozenSession); a.session && (!ok || !s.frost.by(a)) {
		return fmt.Errorf("ClientConfig.Session: %w", errReplaced)
	}
	return nil
}

// intact tells whether the client's store is still what V3 made, or keeps messages in memory.
func (a *attemptV3) intact(o *mqtt.ClientOptions) error {
	if _, ok := a.scheme.(AtRest); !ok {
		return nil
	}
	switch s := o.Store.(type) {
	case nil, *mqtt.MemoryStore, *mqtt.OrderedMemoryStore:
		return nil
	case frozenStore:
		if s.frost.by(a) {
			return nil
		}
	}
	return fmt.Errorf("ClientOptions.Store: %w", errReplaced)
}
