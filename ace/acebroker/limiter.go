package acebroker

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// limiter lets each source do something a few times in a row, and then once in an interval. It forgets the source
// that was quiet for longest when there are too many.
type limiter struct {
	mu     sync.Mutex
	recent recent[netip.Prefix, time.Time] // when the source will have waited for all that it did
}

// What a source may do at authz-info, and a connection in re-authentications.
const (
	limitBurst    = 10
	limitInterval = 2 * time.Second
	limitSources  = 4096
)

func (l *limiter) allow(addr net.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recent.limit = limitSources
	source := sourceOf(addr)
	due, _ := l.recent.get(source)
	ok, next := spend(due, now)
	l.recent.put(source, next)
	return ok
}

// spend takes one of what has accumulated, and returns when all will have been given back.
func spend(due, now time.Time) (ok bool, next time.Time) {
	if due.Before(now) {
		due = now
	}
	if due.Sub(now) > (limitBurst-1)*limitInterval {
		return false, due
	}
	return true, due.Add(limitInterval)
}

// sourceOf is the network that an address belongs to: an IPv4 address alone, an IPv6 /64, the zero Prefix for what is
// neither.
func sourceOf(addr net.Addr) netip.Prefix {
	if addr == nil {
		return netip.Prefix{}
	}
	port, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip := port.Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits)
	return prefix
}
