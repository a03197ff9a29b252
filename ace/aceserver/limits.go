package aceserver

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/mqttsec/mqttsec/ace/aceserver/internal/rate"
)

// A Rate allows Burst requests at once and one more every Interval.
type Rate struct {
	// Interval is the time after which one more request is allowed. 0 means the default, a negative one no limit.
	Interval time.Duration
	// Burst is how many requests may come at once after a pause. 0 means the default.
	Burst int
}

// Limits bound what one peer can ask of the server. A request beyond them is answered with 429 Too Many Requests and
// Retry-After.
type Limits struct {
	// Address is for the requests of one IPv4 address or IPv6 /64 network whose senders do not prove who they are; one
	// with a wrong secret or initial access token counts as ten. The default is 50 at once and 20 a second. What is
	// beyond is refused whoever sends it, since that is not known yet.
	Address Rate
	// Client is for the requests of one client or resource server that has proven who it is, so that nobody else can
	// use up its share. The default is 20 at once and 5 a second for clients; resource servers may do a hundred times
	// that.
	Client Rate
	// Entries bounds how many addresses and how many clients are remembered. 0 means 65,536. When there are more, some
	// are forgotten, which gives them a new burst: strangers in great number cannot lock anybody out.
	Entries int
}

const (
	failureCost = 10  // requests that one failed authentication counts for
	serverShare = 100 // how much more a resource server may ask than a client
)

var (
	defaultAddressRate = Rate{Interval: time.Second / 20, Burst: 50}
	defaultClientRate  = Rate{Interval: time.Second / 5, Burst: 20}
)

const defaultEntries = 1 << 16

// or returns r with what is not set taken from the default.
func (r Rate) or(standard Rate) Rate {
	if r.Interval == 0 {
		r.Interval = standard.Interval
	}
	if r.Burst == 0 {
		r.Burst = standard.Burst
	}
	return r
}

// limiter counts by r.
func (r Rate) limiter(entries int) *rate.Limiter { return rate.New(r.Interval, r.Burst, entries) }

// address names the network that a request comes from: who has one IPv6 address usually has 2^64 of them.
func address(r *http.Request) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return network.String()
}
