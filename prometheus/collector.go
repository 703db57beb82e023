package prometheus

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/singchia/geminio"
)

// Options are the options of NewCollector. The zero value and nil stand for the defaults.
type Options struct {
	// Methods are the methods that appear in the label method. Calls of others have the value
	// "other". Nil stands for the methods that this side has registered and those that it calls, at
	// most 200 of them; calls of a hijack have the value "other", since the peer chooses their
	// methods.
	Methods []string

	// Topics are the topics that appear in the label topic. Messages with others have the value
	// "other", since the publisher chooses topics freely.
	Topics []string

	// Buckets are the upper bounds of the buckets of durations, in seconds. Nil stands for bounds
	// from half a millisecond to 10 seconds.
	Buckets []float64
}

// defaultBuckets are the default of Options.Buckets.
var defaultBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// Collector is a prometheus.Collector with the metrics of all Ends that have its Stats. A program
// usually has one. Its methods are safe for concurrent use.
type Collector struct {
	methods, topics *names
	ends            *ends
	all             []prometheus.Collector // those below

	begun, ended, interruptions, resumes, handshakes *prometheus.CounterVec

	openStreams *prometheus.GaugeVec
	streams     *prometheus.CounterVec

	callsInFlight *prometheus.GaugeVec
	calls         *prometheus.CounterVec
	callDuration  *prometheus.HistogramVec

	messagesInFlight *prometheus.GaugeVec
	messages         *prometheus.CounterVec
	messageDuration  *prometheus.HistogramVec

	stalls, stallSeconds *prometheus.CounterVec
}

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector returns a Collector. Register it, and pass its Stats to SetStats of the options of
// clients and servers.
func NewCollector(o *Options) *Collector {
	if o == nil {
		o = &Options{}
	}
	c := &Collector{
		methods: newNames(o.Methods, o.Methods == nil),
		topics:  newNames(o.Topics, false),
		ends:    newEnds(),
	}
	buckets := o.Buckets
	if buckets == nil {
		buckets = defaultBuckets
	}
	c.begun = c.counter("connections_begun_total", "Connections whose handshake was done.", "side")
	c.ended = c.counter("connections_ended_total", "Connections that have ended, by the code of the reason.", "side", "code")
	c.interruptions = c.counter("interruptions_total", "Transports that were lost while the session was kept.", "side", "code")
	c.resumes = c.counter("resumes_total", "Sessions that have continued on another transport.", "side")
	c.handshakes = c.counter("handshake_failures_total", "Connections that have failed before or in the handshake, by the code of the reason.", "side", "code")

	c.openStreams = c.gauge("open_streams", "Streams that are open, without the default streams of the Ends.", "direction")
	c.streams = c.counter("streams_total", "Streams that have ended or were refused.", "direction", "code")

	c.callsInFlight = c.gauge("calls_in_flight", "Calls that have begun and not ended; incoming ones are running handlers.", "direction")
	c.calls = c.counter("calls_total", "Calls that have ended.", "direction", "method", "code")
	c.callDuration = c.histogram("call_duration_seconds", "Time of calls, from the beginning to the outcome.", buckets, "direction", "method")

	c.messagesInFlight = c.gauge("messages_in_flight", "Messages that were published or received, and not answered.", "direction")
	c.messages = c.counter("messages_total", "Messages that have ended: with the answer, if they have one.", "direction", "topic", "code")
	c.messageDuration = c.histogram("message_duration_seconds", "Time from Publish or Receive to the answer.", buckets, "direction", "topic")

	for _, direction := range []geminio.Direction{geminio.Outgoing, geminio.Incoming} {
		for _, v := range []*prometheus.GaugeVec{c.openStreams, c.callsInFlight, c.messagesInFlight} {
			v.WithLabelValues(direction.String()) // so that it is 0 and not absent
		}
	}

	c.stalls = c.counter("credit_stalls_total", "Waits of this side for credit of the peer, by the kind of credit.", "credit")
	c.stallSeconds = c.counter("credit_stall_seconds_total", "Time of these waits.", "credit")
	return c
}

// namespace is the prefix of all names.
const namespace = "geminio"

func (c *Collector) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	c.all = append(c.all, v)
	return v
}

func (c *Collector) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	c.all = append(c.all, v)
	return v
}

func (c *Collector) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
	c.all = append(c.all, v)
	return v
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range c.all {
		v.Describe(ch)
	}
	describeEnds(ch)
}

// Collect implements prometheus.Collector. It takes a snapshot of each End that is online, and holds
// no lock meanwhile that connections need.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for _, v := range c.all {
		v.Collect(ch)
	}
	c.ends.collect(ch)
}

// Stats returns the functions that count the events of Ends, for SetStats of client and server.
func (c *Collector) Stats() geminio.Stats {
	return geminio.Stats{
		ConnBegin: func(e geminio.ConnEvent) {
			c.begun.WithLabelValues(sideOf(e.Side)).Inc()
			c.ends.begin(e.End, e.Side)
		},
		ConnEnd: func(e geminio.ConnEvent) {
			c.ended.WithLabelValues(sideOf(e.Side), codeOf(e.Outcome)).Inc()
			c.ends.end(e.End)
		},
		ConnInterrupted: func(e geminio.ConnEvent) {
			c.interruptions.WithLabelValues(sideOf(e.Side), codeOf(e.Outcome)).Inc()
		},
		ConnResumed: func(e geminio.ConnEvent) { c.resumes.WithLabelValues(sideOf(e.Side)).Inc() },
		HandshakeFailed: func(e geminio.HandshakeEvent) {
			c.handshakes.WithLabelValues(sideOf(e.Side), codeOf(e.Outcome)).Inc()
		},
		StreamBegin: func(e geminio.StreamEvent) { c.openStreams.WithLabelValues(e.Direction.String()).Inc() },
		StreamEnd: func(e geminio.StreamEvent) {
			c.openStreams.WithLabelValues(e.Direction.String()).Dec()
			c.streams.WithLabelValues(e.Direction.String(), codeOf(e.Outcome)).Inc()
		},
		CallBegin:    func(e geminio.CallEvent) { c.callsInFlight.WithLabelValues(e.Direction.String()).Inc() },
		CallEnd:      c.callEnd,
		MessageBegin: func(e geminio.MessageEvent) { c.messagesInFlight.WithLabelValues(e.Direction.String()).Inc() },
		MessageEnd:   c.messageEnd,
		Stalled: func(e geminio.StallEvent) {
			c.stalls.WithLabelValues(e.Credit.String()).Inc()
			c.stallSeconds.WithLabelValues(e.Credit.String()).Add(max(0, e.Duration.Seconds()))
		},
	}
}

// callEnd counts a call.
func (c *Collector) callEnd(e geminio.CallEvent) {
	direction := e.Direction.String()
	method := c.methods.label(e.Method, e.Registered || e.Direction == geminio.Outgoing)
	c.callsInFlight.WithLabelValues(direction).Dec()
	c.calls.WithLabelValues(direction, method, codeOf(e.Outcome)).Inc()
	c.callDuration.WithLabelValues(direction, method).Observe(e.Duration.Seconds())
}

// messageEnd counts a message.
func (c *Collector) messageEnd(e geminio.MessageEvent) {
	direction := e.Direction.String()
	topic := c.topics.label(e.Topic, false)
	c.messagesInFlight.WithLabelValues(direction).Dec()
	c.messages.WithLabelValues(direction, topic, codeOf(e.Outcome)).Inc()
	c.messageDuration.WithLabelValues(direction, topic).Observe(e.Duration.Seconds())
}
