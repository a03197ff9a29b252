package seal

// A holder of one sub-key against publishers on topics that it has no key for. Covered:
// times of its choosing, and numbers of its choosing under the session of another. Not
// covered: a receiver without a clock, which cannot tell the future, and floods that
// only take memory, which is bounded elsewhere.

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const insider, honest = 1, 2 // key ids

func TestInsiderFromTheFutureShutsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestReplay(4)
		now := uint32(time.Now().Unix())
		for session := range byte(100) {
			_, err := head{key: insider, session: 100 + session, time: math.MaxUint32, seq: 1}.deliver(r, liveAtMostOnce)
			require.NoError(t, err)
		}
		// Within a minute the clamped horizon has passed.
		time.Sleep((maxAhead + 2) * time.Second)
		publisher := head{key: honest, session: 1, time: now + maxAhead + 2, seq: 1}
		_, err := publisher.deliver(r, liveAtMostOnce)
		require.NoError(t, err)
		_, err = publisher.deliver(r, liveAtMostOnce)
		require.ErrorIs(t, err, errDone)
	})
}

func TestInsiderUnderAnothersSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestReplay(4)
		now := uint32(time.Now().Unix())
		victim := head{key: honest, session: 1, time: now, seq: 1}
		_, err := victim.deliver(r, liveAtMostOnce)
		require.NoError(t, err)
		_, err = head{key: insider, session: 1, time: math.MaxUint32, seq: math.MaxUint32}.deliver(r, liveAtMostOnce)
		require.NoError(t, err)
		// The victim's windows stay in use while the insider's is driven out.
		for session := range byte(20) {
			time.Sleep(time.Second)
			now++
			_, err = head{key: insider, session: 100 + session, time: now, seq: 1}.deliver(r, liveAtMostOnce)
			require.NoError(t, err)
			victim.seq++
			victim.time = now
			_, err = victim.deliver(r, liveAtMostOnce)
			require.NoError(t, err)
		}
		require.Equal(t, uint32(math.MaxUint32), r.live.publishers[[12]byte{1}].dropped.seq)
		time.Sleep((maxAhead + 2) * time.Second)
		elsewhere := head{key: 3, session: 1, time: now + maxAhead + 2, seq: 50}
		_, err = elsewhere.deliver(r, liveAtMostOnce)
		require.NoError(t, err, "a topic for which the victim has no window yet")
		_, err = elsewhere.deliver(r, liveAtMostOnce)
		require.ErrorIs(t, err, errDone)
		elsewhere.seq = 49
		_, err = elsewhere.deliver(r, liveAtMostOnce)
		require.NoError(t, err, "nor does the new window begin above it")
		old := head{key: 3, session: 1, time: now, seq: 48}
		_, err = old.deliver(r, liveAtMostOnce)
		require.ErrorIs(t, err, ErrStale, "what may have been delivered before the window was made")
	})
}
