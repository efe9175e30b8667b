package fire

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	vegeta "github.com/tsenart/vegeta/v12/lib"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/net/http/httpguts"
)

// Limits on what one attack may hold in memory.
const (
	maxTargets = 1000
	maxBody    = 1 << 20 // bytes
	maxWeight  = 1000
	maxTurns   = 10_000 // requests until the weighted order repeats
)

// Target is one request to send, as it is written in JSON. An empty Method is
// GET. A Host header is what the request asks for, whatever host the URL names:
// so load goes to the ingress controller and asks for the released service.
type Target struct {
	Method string      `json:"method,omitempty"`
	URL    string      `json:"url"`
	Header http.Header `json:"header,omitempty"`
	Body   string      `json:"body,omitempty"`
	Weight *int        `json:"weight,omitempty"` // its share of the requests, 1 to 1000; nil is 1
}

func (t Target) weight() int {
	if t.Weight == nil {
		return 1
	}
	return *t.Weight
}

// prepare checks the targets and returns them in vegeta's words, in the order in
// which they are sent and as often as their weights say.
func prepare(targets []Target, o Options) ([]vegeta.Target, error) {
	switch {
	case len(targets) == 0:
		return nil, errors.New("targets: at least one is needed")
	case len(targets) > maxTargets:
		return nil, fmt.Errorf("targets: %d are given, at most %d are allowed", len(targets), maxTargets)
	}
	ready := make([]vegeta.Target, len(targets))
	weights := make([]int, len(targets))
	for i, target := range targets {
		one, err := target.prepare()
		if err != nil {
			return nil, fmt.Errorf("target %d: %w", i+1, err)
		}
		// An HTTP proxy is asked for the Host header's host, not the URL's: the header
		// could lead where the URL may not.
		if host := one.Header.Get("Host"); host != "" && o.Proxy != nil && strings.HasPrefix(o.Proxy.Scheme, "http") {
			return nil, fmt.Errorf("target %d: header Host %q: is not possible through the proxy %s; use one that starts with socks5h://", i+1, host, o.Proxy.Redacted())
		}
		if _, own := one.Header["Traceparent"]; o.Tracing == nil && o.Parent.IsValid() && !own {
			one.Header["Traceparent"] = []string{traceparent(o.Parent)}
			if state := o.Parent.TraceState().String(); state != "" {
				one.Header["Tracestate"] = []string{state}
			}
		}
		ready[i], weights[i] = one, target.weight()
	}
	turns, err := order(weights)
	if err != nil {
		return nil, err
	}
	sent := make([]vegeta.Target, len(turns))
	for i, turn := range turns {
		sent[i] = ready[turn]
	}
	return sent, nil
}

// traceparent is the header of W3C Trace Context, level 1, section 3.2.
func traceparent(c trace.SpanContext) string {
	return fmt.Sprintf("00-%s-%s-%s", c.TraceID(), c.SpanID(), c.TraceFlags()&trace.FlagsSampled)
}

// order is one round of smooth weighted round robin: each turn everyone gains his
// weight, the first of the richest is sent and pays the sum. So 5, 1, 1 is sent as
// a a b a c a a and not as five in a row.
func order(weights []int) ([]int, error) {
	common, sum := 0, 0
	for _, w := range weights {
		common = divisor(w, common)
	}
	for _, w := range weights {
		sum += w / common
	}
	if sum > maxTurns {
		return nil, fmt.Errorf("weights: their sum without common factor is %d, at most %d is allowed", sum, maxTurns)
	}
	turns, credit := make([]int, sum), make([]int, len(weights))
	for turn := range turns {
		richest := 0
		for i, w := range weights {
			credit[i] += w / common
			if credit[i] > credit[richest] {
				richest = i
			}
		}
		credit[richest] -= sum
		turns[turn] = richest
	}
	return turns, nil
}

// divisor is the greatest common one.
func divisor(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// prepare checks t and puts it in vegeta's words. What net/http would refuse at
// every single hit is refused here, once, before anything is sent.
func (t Target) prepare() (vegeta.Target, error) {
	ready := vegeta.Target{Method: t.Method, URL: t.URL, Body: []byte(t.Body), Header: http.Header{}}
	if ready.Method == "" {
		ready.Method = http.MethodGet
	}
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
	if !slices.Contains(methods, ready.Method) {
		return vegeta.Target{}, fmt.Errorf("method %q: must be one of %v", t.Method, methods)
	}
	if len(t.Body) > maxBody {
		return vegeta.Target{}, fmt.Errorf("body: has %d bytes, at most %d are allowed", len(t.Body), maxBody)
	}
	if w := t.weight(); w < 1 || w > maxWeight {
		return vegeta.Target{}, fmt.Errorf("weight %d: must be 1 to %d", w, maxWeight)
	}
	u, err := url.Parse(t.URL)
	if err != nil {
		return vegeta.Target{}, fmt.Errorf("url: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return vegeta.Target{}, fmt.Errorf("url %q: must start with http:// or https:// and name a host", t.URL)
	}
	for name, values := range t.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return vegeta.Target{}, fmt.Errorf("header %q: is not a header name", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return vegeta.Target{}, fmt.Errorf("header %s: its value has a character that cannot be sent", name)
			}
			// Add spells the name as net/http does: vegeta finds only "Host", and
			// "host" would be sent as a second Host line.
			ready.Header.Add(name, value)
		}
	}
	if hosts := ready.Header["Host"]; len(hosts) > 1 || (len(hosts) == 1 && (hosts[0] == "" || !httpguts.ValidHostHeader(hosts[0]))) {
		return vegeta.Target{}, fmt.Errorf("header Host %q: must be one host name", hosts)
	}
	return ready, nil
}
