package seal

import (
	"encoding/binary"
	"time"

	"github.com/mqttsec/mqttsec/internal/replay"
)

// memoryPerSession is what each of Config.MaxSessions counts for in a replay.Memory's Limit: so many publishers and
// levels of topics are known by little more than a number, or one publisher by the numbers of a third of its window.
const memoryPerSession = 48

// direct is how a message came that Open was given.
var direct replay.Arrival

// newMemory returns what one receiver remembers.
func (s *Sealer) newMemory() *replay.Memory {
	return replay.New(replay.Config{
		Limit:     memoryPerSession * min(s.config.MaxSessions, 1<<24),
		Tolerance: seconds(s.config.ClockTolerance),
		Seed:      s.topics.seed,
		Now:       s.now,
	})
}

func (s *Sealer) now() uint32 { return unixTime(s.clock.unix()) }

// seconds rounds up to whole ones.
func seconds(d time.Duration) uint32 { return uint32((d + time.Second - 1) / time.Second) }

// readFacts fills m with what a header says.
func readFacts(m *replay.Message, header *[headerLen]byte, l *leaves, k *leafKey) {
	flags := header[flagsAt]
	*m = replay.Message{
		Topic: l.topic, Hash: l.hash, Key: k.number,
		Session: [12]byte(header[sessionAt:]),
		Time:    binary.BigEndian.Uint32(header[timeAt:]),
		Seq:     binary.BigEndian.Uint32(header[seqAt:]),
		Retain:  flags&flagRetain != 0, Will: flags&flagWill != 0, Once: flags&flagOnce != 0,
	}
}

// checkAge applies Config.MaxAge. Wills and retained messages are exempt: both lie at the broker for as long as it
// takes.
func (s *Sealer) checkAge(m *replay.Message, how *replay.Arrival) error {
	if s.config.MaxAge == 0 || how.Retained || m.Will || s.isYoung(m.Time) {
		return nil
	}
	return ErrTooOld
}

// isYoung says that the time at which a message was sealed is within Config.MaxAge.
func (s *Sealer) isYoung(sealed uint32) bool {
	limit := int64(seconds(s.config.MaxAge))
	age := s.clock.unix() - int64(sealed)
	return sealed != 0 && -limit <= age && age <= limit
}
