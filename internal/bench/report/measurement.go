package report

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/mqttsec/mqttsec/internal/bench/link"
	"github.com/mqttsec/mqttsec/internal/bench/meter"
)

const (
	// atLeast is how many single events are timed however long they take, and
	// longEnough how long the others may.
	atLeast    = 11
	longEnough = 2 * time.Second
	// weighed is how many messages are sent to count their bytes.
	weighed = 32
)

// measurement is a Run under way.
type measurement struct {
	config Config
	prefix string
	rows   []row
	doors  []door
	report *Report
	topics int
	done   int // of the parts that progress is told in
}

func (m *measurement) run(ctx context.Context) error {
	for _, client := range m.config.Clients {
		if len(m.doors) > 0 {
			if err := m.connecting(ctx, client); err != nil {
				return err
			}
		}
		if len(m.rows) == 0 {
			continue
		}
		if len(m.doors) == 0 { // else that has been measured, with more
			if err := m.connects(ctx, client); err != nil {
				return err
			}
		}
		for _, qos := range m.config.QoS {
			for _, size := range m.config.Sizes {
				if err := m.messages(ctx, client, qos, size); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// progress tells that a fraction of the part at hand is done.
func (m *measurement) progress(fraction float64, format string, args ...any) {
	each := 1 // connecting
	if len(m.rows) > 0 {
		each += len(m.config.QoS) * len(m.config.Sizes)
	}
	parts := len(m.config.Clients) * each
	m.config.Progress((float64(m.done)+fraction)/float64(parts), fmt.Sprintf(format, args...))
}

// link is the configuration of a connection, on a topic of its own.
func (m *measurement) link(r row, client link.Client, qos byte, size int) link.Config {
	m.topics++
	return link.Config{
		Broker: r.broker,
		Client: client,
		Scheme: r.link,
		Topic:  m.prefix + "/" + strconv.Itoa(m.topics),
		QoS:    qos,
		Size:   size,
	}
}

// connects measures what it costs to connect, the schemes taking turns.
func (m *measurement) connects(ctx context.Context, client link.Client) error {
	all := make([]costs, len(m.rows))
	start := time.Now()
	for i := range m.config.Connects {
		if i >= atLeast && time.Since(start) > longEnough*time.Duration(len(m.rows)) {
			break
		}
		m.progress(float64(i)/float64(m.config.Connects), "%s, connect", client)
		for j, r := range m.rows {
			b, err := m.connect(ctx, m.link(r, client, 0, 0))
			if err != nil {
				return named(r, err)
			}
			all[j].add(b)
		}
	}
	for j, r := range m.rows {
		traffic, err := link.Weigh(ctx, m.link(r, client, 0, 0), 1)
		if err != nil {
			return named(r, err)
		}
		m.report.Connects = append(m.report.Connects, Connect{
			Client: client, Scheme: r.Name,
			Time: meter.Median(all[j].wall) / 1000,
			CPU:  all[j].cpu(), Allocs: meter.Median(all[j].allocs), Memory: meter.Median(all[j].memory),
			Wire: float64(traffic.Connect),
		})
	}
	m.done++
	return nil
}

// connect measures one connection up to CONNACK.
func (m *measurement) connect(ctx context.Context, cfg link.Config) (meter.Batch, error) {
	disconnect := func() error { return nil }
	b, err := meter.Measure(ctx, meter.Side{Run: func(int) (err error) {
		disconnect, err = link.Connect(ctx, cfg)
		return err
	}}, 1)
	if err != nil {
		return b, err
	}
	return b, disconnect()
}

// messages measures what messages of one kind cost, the schemes taking turns.
func (m *measurement) messages(ctx context.Context, client link.Client, qos byte, size int) (err error) {
	what := fmt.Sprintf("%s, QoS %d, %d bytes", client, qos, size)
	lanes := make([]lane, len(m.rows))
	defer func() {
		for i := range lanes {
			if l := lanes[i].link; l != nil {
				err = errors.Join(err, l.Close())
			}
		}
	}()
	for i, r := range m.rows {
		l, err := link.Open(ctx, m.link(r, client, qos, size))
		if err != nil {
			return named(r, err)
		}
		lanes[i].link = l
		lanes[i].meter, err = meter.New(ctx, meter.Side{Run: func(n int) error { return l.Send(ctx, n) }}, m.config.Batch)
		if err != nil {
			return named(r, err)
		}
	}
	delays := (m.config.Delays + m.config.Rounds - 1) / m.config.Rounds
	for round := range m.config.Rounds {
		m.progress(float64(round)/float64(m.config.Rounds), "%s", what)
		for i := range lanes {
			if err := lanes[i].turn(ctx, delays); err != nil {
				return named(m.rows[i], err)
			}
		}
	}
	for i, r := range m.rows {
		traffic, err := link.Weigh(ctx, m.link(r, client, qos, size), weighed)
		if err != nil {
			return named(r, err)
		}
		m.report.Messages = append(m.report.Messages, lanes[i].message(Message{
			Client: client, Scheme: r.Name, QoS: qos, Size: size, Wire: traffic.Message,
		}))
	}
	m.done++
	return nil
}

// lane is one scheme in a comparison.
type lane struct {
	link   *link.Link
	meter  *meter.Meter
	costs  costs
	delays []float64
}

// turn measures one batch of messages, and then some one by one.
func (l *lane) turn(ctx context.Context, delays int) error {
	b, err := l.meter.Turn(ctx)
	if err != nil {
		return err
	}
	l.costs.add(b)
	start := time.Now()
	for i := range delays {
		if i > 0 && time.Since(start) > longEnough/10 {
			break
		}
		d, err := l.link.Delay(ctx)
		if err != nil {
			return err
		}
		l.delays = append(l.delays, micros(d))
	}
	return nil
}

// message fills in what the lane has measured.
func (l *lane) message(m Message) Message {
	m.Rate = 1e9 / meter.Median(l.costs.wall)
	m.Delay, m.Delay99 = meter.Median(l.delays), meter.Quantile(l.delays, 0.99)
	m.CPU, m.Allocs, m.Memory = l.costs.cpu(), meter.Median(l.costs.allocs), meter.Median(l.costs.memory)
	return m
}

// costs are those of one operation, one value for each batch.
type costs struct {
	wall, allocs, memory []float64
	used                 time.Duration
	ops                  int
}

func (c *costs) add(b meter.Batch) {
	n := float64(b.Ops)
	c.wall = append(c.wall, b.Each())
	c.allocs = append(c.allocs, float64(b.Allocs)/n)
	c.memory = append(c.memory, float64(b.Bytes)/n)
	c.used += b.CPU
	c.ops += b.Ops
}

// cpu is the mean, for systems count it in large steps.
func (c *costs) cpu() float64 { return micros(c.used) / float64(c.ops) }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func named(r row, err error) error { return fmt.Errorf("%s: %w", r.Name, err) }
