package fire

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// DefaultInFlight is the most requests under way at a time when nothing else is said.
const DefaultInFlight = 10_000

// Options say how requests are sent. Only Timeout is needed.
type Options struct {
	Timeout     time.Duration // how long one request may take, its body included; over 0
	InFlight    int           // most requests under way at a time; 0 is DefaultInFlight
	Connections int           // most connections to one host; 0 is no limit
	NoKeepAlive bool          // a new connection for each request
	HTTP        string        // auto (empty too), 1.1, or 2, which is with prior knowledge over http://
	TLS         *tls.Config   // nil: the system's authorities
	Proxy       *url.URL      // http://host:port or socks5h://host:port, which leaves names to the proxy; nil is none
	Seen        Seen          // for top-up: what others have sent; nil is nothing

	// Tracing gives every request a span; nil costs nothing. The spans continue
	// Parent when that is valid. Without Tracing, Parent itself is passed on.
	Tracing trace.TracerProvider
	Parent  trace.SpanContext
}

func (o Options) check() (Options, error) {
	switch {
	case o.Timeout <= 0:
		return o, fmt.Errorf("timeout %s: must be over 0", o.Timeout)
	case o.InFlight < 0:
		return o, errors.New("in flight: must not be under 0")
	case o.Connections < 0:
		return o, errors.New("connections: must not be under 0")
	case o.Proxy != nil && !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, o.Proxy.Scheme):
		return o, fmt.Errorf("proxy %s: must start with http://, https://, socks5:// or socks5h://", o.Proxy.Redacted())
	case o.HTTP != "" && o.HTTP != "auto" && o.HTTP != "1.1" && o.HTTP != "2":
		return o, fmt.Errorf("http %q: must be auto, 1.1 or 2", o.HTTP)
	}
	if o.InFlight == 0 {
		o.InFlight = DefaultInFlight
	}
	return o, nil
}

// transport is net/http's, for one attack.
func (o Options) transport() *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(o.HTTP != "2")
	protocols.SetHTTP2(o.HTTP != "1.1")
	protocols.SetUnencryptedHTTP2(o.HTTP == "2")
	return &http.Transport{
		// Only the proxy that was asked for, none from the environment: load goes
		// where its URL says. Nil is none.
		Proxy: http.ProxyURL(o.Proxy),
		// Idle connections are kept for every worker, or a busy attack would open a
		// new one for most requests.
		MaxIdleConnsPerHost: o.InFlight,
		// net/http goes on connecting for a request that has timed out: without an end
		// of their own, attempts that hang would pile up past every limit.
		DialContext:         (&net.Dialer{Timeout: o.Timeout}).DialContext,
		TLSHandshakeTimeout: o.Timeout,
		MaxConnsPerHost:     o.Connections,
		IdleConnTimeout:     30 * time.Second, // before servers do it: nginx waits 75 s
		DisableKeepAlives:   o.NoKeepAlive,
		DisableCompression:  true,
		TLSClientConfig:     o.TLS,
		Protocols:           &protocols,
	}
}

// traced puts a client span around each request of next, and its trace id into
// the answer of those that are sampled.
func (o Options) traced(next http.RoundTripper) http.RoundTripper {
	if o.Tracing == nil {
		return next
	}
	return otelhttp.NewTransport(marked{next},
		otelhttp.WithTracerProvider(o.Tracing),
		otelhttp.WithMeterProvider(noop.NewMeterProvider()),
		otelhttp.WithPropagators(propagation.TraceContext{}))
}

// traceKey is no header that a server could send: those are read in canonical form.
const traceKey = "trace id"

type marked struct{ http.RoundTripper }

func (m marked) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := m.RoundTripper.RoundTrip(r)
	if span := trace.SpanContextFromContext(r.Context()); err == nil && span.IsSampled() {
		resp.Header[traceKey] = []string{span.TraceID().String()}
	}
	return resp, err
}
