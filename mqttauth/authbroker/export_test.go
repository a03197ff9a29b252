package authbroker

import "sync/atomic"

// MayReceive tells what the grants of a user's connections say about a topic at this moment, also in the midst of a
// change of them.
func (l *Listener) MayReceive(user, topic string) (may []bool) {
	for _, f := range l.live.all(userName(user)) {
		may = append(may, f.session.Grant().Scope.MayReceive([]byte(topic)))
	}
	return may
}

// SlowStore is a store in memory whose answers take as long as a test wants.
type SlowStore struct {
	*Store
	inner   *memory
	meant   atomic.Pointer[func()]
	changed atomic.Bool
}

// NewSlowStore returns an empty one, which is quick.
func NewSlowStore() (*SlowStore, error) {
	s := &SlowStore{inner: newMemory()}
	var err error
	s.Store, err = newStore(slow{s.inner, s})
	return s, err
}

// BehindTheNextLook has meanwhile run, once, between the first look into the store that follows a change and what comes
// of that look.
func (s *SlowStore) BehindTheNextLook(meanwhile func()) {
	s.changed.Store(false)
	s.meant.Store(&meanwhile)
}

type slow struct {
	*memory
	of *SlowStore
}

func (s slow) view(f func(tx) error) error {
	err := s.memory.view(f)
	if s.of.changed.Load() {
		if meanwhile := s.of.meant.Swap(nil); meanwhile != nil {
			(*meanwhile)()
		}
	}
	return err
}

func (s slow) update(f func(tx) error) error {
	err := s.memory.update(f)
	s.of.changed.Store(true)
	return err
}
