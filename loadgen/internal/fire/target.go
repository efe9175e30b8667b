package fire

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	vegeta "github.com/tsenart/vegeta/v12/lib"
	"golang.org/x/net/http/httpguts"
)

// Target is one request to send, as it is written in JSON. An empty Method is
// GET. A Host header is what the request asks for, whatever host the URL names:
// so load goes to the ingress controller and asks for the released service.
type Target struct {
	Method string      `json:"method"`
	URL    string      `json:"url"`
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
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
