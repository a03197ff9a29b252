package acebroker

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// cnonces makes the nonces by which a broker sees that a token is fresh (RFC 9200, section 5.3.1), and knows its own
// again without remembering each: the time and a MAC over it. They are for tokens that are seen for the first time;
// what is in the cache was fresh.
type cnonces struct {
	key  [32]byte
	life time.Duration
}

const (
	cnonceTime = 8
	cnonceSize = cnonceTime + 16
)

func newCNonces(life time.Duration) *cnonces {
	n := &cnonces{life: life}
	rand.Read(n.key[:])
	return n
}

func (n *cnonces) make(now time.Time) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, cnonceSize), uint64(now.UnixMilli()))
	return append(b, n.mac(b)...)
}

func (n *cnonces) recent(nonce []byte, now time.Time) bool {
	if len(nonce) != cnonceSize || !hmac.Equal(n.mac(nonce[:cnonceTime]), nonce[cnonceTime:]) {
		return false
	}
	age := now.Sub(time.UnixMilli(int64(binary.BigEndian.Uint64(nonce))))
	return age > -time.Second && age < n.life
}

func (n *cnonces) mac(b []byte) []byte {
	h := hmac.New(sha256.New, n.key[:])
	h.Write(b)
	return h.Sum(nil)[:cnonceSize-cnonceTime]
}
