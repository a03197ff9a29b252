package seal

import "encoding/binary"

// marks keeps, for a bounded number of topics, the newest message that was
// published as retained there, whether it came live or on subscribing. A retained
// message must not be older than that; it may be the same, for each subscription
// repeats it.
//
// Wills have marks of their own. A Will is sealed when its client connects and
// stored when that client has died, so it is older than the last message before
// it and yet takes its place.
type marks struct {
	m map[markKey]mark
}

type markKey struct {
	topic [16]byte
	will  bool
}

type mark struct {
	session   [12]byte
	time, seq uint32
}

func markOf(header []byte, l *leaves) (markKey, mark) {
	return markKey{l.mark, header[flagsAt]&flagWill != 0}, mark{
		session: [12]byte(header[sessionAt:]),
		time:    binary.BigEndian.Uint32(header[timeAt:]),
		seq:     binary.BigEndian.Uint32(header[seqAt:]),
	}
}

// judge says whether a retained message would be delivered.
func (ms *marks) judge(header []byte, l *leaves) error {
	if header[flagsAt]&flagRetain == 0 {
		return errNotRetained
	}
	key, got := markOf(header, l)
	known, ok := ms.m[key]
	switch {
	case !ok:
		return nil
	case known.session == got.session:
		if got.seq < known.seq {
			return ErrStale
		}
	case got.time < known.time:
		return ErrStale
	}
	return nil
}

// set makes a message the mark. At the limit some other topic loses its mark, and
// with it the memory of what was retained there, but nothing else.
func (ms *marks) set(header []byte, l *leaves, limit int) {
	key, m := markOf(header, l)
	if _, known := ms.m[key]; !known && len(ms.m) >= limit {
		for other := range ms.m { // begins anywhere
			delete(ms.m, other)
			break
		}
	}
	if ms.m == nil {
		ms.m = make(map[markKey]mark)
	}
	ms.m[key] = m
}
