package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// counter is what the relay needs of a metric.
type counter interface{ Add(float64) }

// metrics are what /metrics shows.
type metrics struct {
	registry       *prometheus.Registry
	accepted       *prometheus.CounterVec
	refused        *prometheus.CounterVec
	established    *prometheus.GaugeVec
	bytes          *prometheus.CounterVec
	upstreamErrors prometheus.Counter
	reloads        *prometheus.CounterVec
}

// listenerMetrics are those of one listener.
type listenerMetrics struct {
	accepted               prometheus.Counter
	refused                *prometheus.CounterVec
	established            prometheus.Gauge
	fromClients, toClients prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mqttsec_connections_accepted_total", Help: "Connections whose CONNECT was let through.",
		}, []string{"listener", "scheme"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mqttsec_connections_refused_total", Help: "Connections that were not relayed: handshake, limit or upstream.",
		}, []string{"listener", "scheme", "reason"}),
		established: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mqttsec_connections_established", Help: "Connections that are being relayed.",
		}, []string{"listener", "scheme"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mqttsec_relayed_bytes_total", Help: "Bytes of MQTT passed on, by direction: from or to the clients.",
		}, []string{"listener", "scheme", "direction"}),
		upstreamErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mqttsec_upstream_errors_total", Help: "Connections to the broker that could not be opened.",
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mqttsec_reloads_total", Help: "Readings of the configuration by a listener, by result: ok or failed.",
		}, []string{"listener", "scheme", "result"}),
	}
	m.registry.MustRegister(m.accepted, m.refused, m.established, m.bytes, m.upstreamErrors, m.reloads,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) listener(name, scheme string) *listenerMetrics {
	return &listenerMetrics{
		accepted:    m.accepted.WithLabelValues(name, scheme),
		refused:     m.refused.MustCurryWith(prometheus.Labels{"listener": name, "scheme": scheme}),
		established: m.established.WithLabelValues(name, scheme),
		fromClients: m.bytes.WithLabelValues(name, scheme, "from"),
		toClients:   m.bytes.WithLabelValues(name, scheme, "to"),
	}
}

// counts shows what a scheme counts by itself.
func (m *metrics) counts(scheme, name, help, listener string, read func() int64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "mqttsec_" + scheme + "_" + name + "_total", Help: help, ConstLabels: prometheus.Labels{"listener": listener},
	}, func() float64 { return float64(read()) }))
}
