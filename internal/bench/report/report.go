// Package report measures what each scheme of the module costs the users of a broker:
// to connect and per message, in time, processor, memory and bytes on the wire. A
// [Report] is shown as Markdown, as JSON and as plots.
package report

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"runtime"
	"time"

	"github.com/mqttsec/mqttsec/internal/bench/link"
	"github.com/mqttsec/mqttsec/internal/brokers"
)

// Config says what to measure. The zero value of a number or list means the default.
type Config struct {
	// Broker is the broker to go through, nil for one in this process. With a broker
	// that is reached over TLS the schemes that use TLS are measured, otherwise the
	// others; the one in this process does both.
	Broker *link.Broker
	// Schemes are rows of [Schemes], all by default. An empty slice is none.
	Schemes []Scheme
	// Ways are rows of [Ways], all by default, for the broker in this process alone. An empty slice is none.
	Ways []Way
	// Clients are both by default.
	Clients []link.Client
	// QoS are 0 and 1 by default.
	QoS []byte
	// Sizes are those of payloads in bytes: 64, 1024 and 16384 by default.
	Sizes []int
	// Rounds is how often each scheme gets its turn, 25 by default, and Batch how long
	// a turn is, 40 ms by default.
	Rounds int
	Batch  time.Duration
	// Connects and Delays are how many connections and single messages are timed, 40
	// and 300 by default. Slow ones are fewer.
	Connects, Delays int
	// Trips is how many connections each Way makes over a link with the given RoundTrip: 3 and 50 ms by default.
	Trips     int
	RoundTrip time.Duration
	// Progress may be nil. It hears the fraction done and what is being measured.
	Progress func(fraction float64, what string)
}

// Report is what was measured. Times are in microseconds, sizes in bytes. CPU, Allocs
// and Memory are of this process: of both clients, and of the broker if that is in it.
type Report struct {
	Broker     string    `json:"broker"`
	Time       time.Time `json:"time"`
	Go         string    `json:"go"`
	Platform   string    `json:"platform"`
	Processors int       `json:"processors"`
	Rounds     int       `json:"rounds"`
	// Connecting is empty for a broker that is not in this process, and Connects for the one that is. RoundTrip is that
	// of the long way of Connecting.
	Connects   []Connect    `json:"connects,omitempty"`
	Connecting []Connecting `json:"connecting,omitempty"`
	RoundTrip  float64      `json:"round_trip_us"`
	Messages   []Message    `json:"messages"`
}

// Connect is what it costs to connect one client, from dialing to CONNACK; medians.
type Connect struct {
	Client link.Client `json:"client"`
	Scheme string      `json:"scheme"`
	Time   float64     `json:"time_us"`
	CPU    float64     `json:"cpu_us"`
	Allocs float64     `json:"allocs"`
	Memory float64     `json:"memory_bytes"`
	Wire   float64     `json:"wire_bytes"`
}

// Message is what it costs to send one message from a publisher to a subscriber; medians
// but for Delay99.
type Message struct {
	Client link.Client `json:"client"`
	Scheme string      `json:"scheme"`
	QoS    byte        `json:"qos"`
	Size   int         `json:"payload_bytes"`
	Rate   float64     `json:"messages_per_second"`
	// Delay is from Publish to the subscriber's callback when nothing else is under
	// way; one in a hundred takes longer than Delay99.
	Delay   float64 `json:"delay_us"`
	Delay99 float64 `json:"delay_99_us"`
	CPU     float64 `json:"cpu_us"`
	Allocs  float64 `json:"allocs"`
	Memory  float64 `json:"memory_bytes"`
	// Wire is what publisher and broker exchange for a message, both directions
	// together: TLS counts, TCP and IP headers do not.
	Wire float64 `json:"wire_bytes"`
}

// Run measures. An error names the scheme that it happened with.
func Run(ctx context.Context, cfg Config) (report *Report, err error) {
	cfg = cfg.withDefaults()
	var embedded *brokers.Embedded
	plain, secure := link.Broker{}, link.Broker{}
	name := "mochi-mqtt in this process"
	if cfg.Broker != nil {
		plain, secure = *cfg.Broker, *cfg.Broker
		name = cfg.Broker.URL.Redacted()
	} else {
		broker, err := brokers.StartEmbedded(brokers.Config{})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, broker.Close()) }()
		embedded = broker
		plain.URL, secure.URL = broker.URL(brokers.TCP), broker.URL(brokers.TLS)
		secure.TLS = &tls.Config{RootCAs: broker.RootCAs(), MinVersion: tls.VersionTLS12}
	}
	m := &measurement{
		config: cfg,
		prefix: "mqttsec-bench/" + rand.Text()[:12],
		report: &Report{
			Broker:     name,
			Time:       time.Now().UTC().Truncate(time.Second),
			Go:         runtime.Version(),
			Platform:   runtime.GOOS + "/" + runtime.GOARCH,
			Processors: runtime.GOMAXPROCS(0),
			Rounds:     cfg.Rounds,
			RoundTrip:  micros(cfg.RoundTrip),
		},
	}
	defer func() { err = errors.Join(err, m.stop()) }()
	if err := m.choose(ctx, embedded, plain, secure); err != nil {
		return nil, err
	}
	return m.report, m.run(ctx)
}

func (cfg Config) withDefaults() Config {
	if cfg.Schemes == nil {
		cfg.Schemes = Schemes()
	}
	if cfg.Ways == nil {
		cfg.Ways = Ways()
	}
	if len(cfg.Clients) == 0 {
		cfg.Clients = []link.Client{link.V5, link.V3}
	}
	if len(cfg.QoS) == 0 {
		cfg.QoS = []byte{0, 1}
	}
	if len(cfg.Sizes) == 0 {
		cfg.Sizes = []int{64, 1024, 16384}
	}
	for value, normal := range map[*int]int{&cfg.Rounds: 25, &cfg.Connects: 40, &cfg.Delays: 300, &cfg.Trips: 3} {
		if *value <= 0 {
			*value = normal
		}
	}
	if cfg.Batch <= 0 {
		cfg.Batch = 40 * time.Millisecond
	}
	if cfg.RoundTrip <= 0 {
		cfg.RoundTrip = 50 * time.Millisecond
	}
	if cfg.Progress == nil {
		cfg.Progress = func(float64, string) {}
	}
	return cfg
}

// IsTLS reports whether a broker's URL means TLS, and whether its scheme is known at all.
func IsTLS(scheme string) (secure, known bool) {
	switch scheme {
	case "mqtt", "tcp", "ws":
		return false, true
	case "mqtts", "tls", "ssl", "wss":
		return true, true
	}
	return false, false
}

// row is a scheme at work.
type row struct {
	Scheme
	link   link.Scheme
	broker link.Broker
}

// choose makes the rows that the broker can show, and opens doors to the one in this process, nil if there is none.
func (m *measurement) choose(ctx context.Context, embedded *brokers.Embedded, plain, secure link.Broker) error {
	for _, s := range m.config.Schemes {
		r := row{Scheme: s, broker: plain}
		if s.TLS {
			r.broker = secure
		}
		if usesTLS, _ := IsTLS(r.broker.URL.Scheme); usesTLS != s.TLS || s.way != nil && embedded == nil {
			continue
		}
		if err := r.prepare(ctx, embedded, m.prefix); err != nil {
			return err
		}
		m.rows = append(m.rows, r)
	}
	if embedded != nil {
		for _, w := range m.config.Ways {
			d, err := openWay(ctx, embedded, w)
			if err != nil {
				return err
			}
			m.doors = append(m.doors, d)
		}
	}
	if len(m.rows)+len(m.doors) == 0 {
		return errors.New("none of these schemes goes with this broker: with a TLS URL those over TLS do, without one the others")
	}
	return nil
}

// prepare makes the row's scheme.
func (r *row) prepare(ctx context.Context, embedded *brokers.Embedded, prefix string) (err error) {
	switch {
	case r.way != nil:
		d, err := openWay(ctx, embedded, Way{Name: r.Name, open: r.way})
		if err != nil {
			return err
		}
		r.broker, r.link = d.broker, d.link
	case r.New != nil:
		if r.link, err = r.New(prefix); err != nil {
			return named(*r, err)
		}
	}
	return nil
}

// stop ends what stands beside the broker.
func (m *measurement) stop() error {
	var errs []error
	for _, d := range m.doors {
		errs = append(errs, d.stop())
	}
	return errors.Join(errs...)
}
