package layer

import (
	"cmp"
	"container/list"
	"context"
	"net"
	"net/netip"
	"sync"
)

// pending are the connections of a Listener that are not established. Those who open many drive out their own first.
type pending struct {
	mu         sync.Mutex
	most, each int
	all        list.List // of *pendingConn, the oldest first
	counts     map[netip.Prefix]int
}

type pendingConn struct {
	source  netip.Prefix
	end     context.CancelCauseFunc
	element *list.Element // nil once it is removed
}

// sourceOf returns the network that an address belongs to: an IPv4 address alone, an IPv6 /64, the zero Prefix for what
// is neither.
func sourceOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip, _ := netip.AddrFromSlice(tcp.IP)
	ip = ip.Unmap()
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}

// add enters a connection that end ends, and ends another one if there are too many.
func (p *pending) add(source netip.Prefix, end context.CancelCauseFunc) *pendingConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts == nil {
		p.counts = make(map[netip.Prefix]int)
	}
	switch {
	case p.counts[source] >= p.each:
		p.evict(p.counts[source], source)
	case p.all.Len() >= p.most:
		p.evict(p.busiest(), netip.Prefix{})
	}
	c := &pendingConn{source: source, end: end}
	c.element = p.all.PushBack(c)
	p.counts[source]++
	return c
}

// busiest is how many those have who have most.
func (p *pending) busiest() (most int) {
	for _, n := range p.counts {
		most = max(most, n)
	}
	return most
}

// limit changes the bounds, those that are not 0, and ends what is beyond.
func (p *pending) limit(most, each int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most, p.each = cmp.Or(most, p.most), cmp.Or(each, p.each)
	for source := range p.counts {
		for p.counts[source] > p.each {
			p.evict(p.counts[source], source)
		}
	}
	for p.all.Len() > p.most {
		p.evict(p.busiest(), netip.Prefix{})
	}
}

// evict ends the oldest connection of source or, if that is zero, of a source that has n.
func (p *pending) evict(n int, source netip.Prefix) {
	for e := p.all.Front(); e != nil; e = e.Next() {
		c := e.Value.(*pendingConn)
		if c.source == source || !source.IsValid() && p.counts[c.source] == n {
			p.drop(c)
			c.end(ErrCrowded)
			return
		}
	}
}

// remove takes out a connection that is established or has ended.
func (p *pending) remove(c *pendingConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(c)
}

func (p *pending) drop(c *pendingConn) {
	if c.element == nil {
		return
	}
	p.all.Remove(c.element)
	c.element = nil
	if p.counts[c.source]--; p.counts[c.source] == 0 {
		delete(p.counts, c.source)
	}
}
