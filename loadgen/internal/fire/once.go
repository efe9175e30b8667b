package fire

import (
	"io"
	"net/http"
	"strings"
)

// once keeps net/http from sending a request again by itself. On a kept-alive
// connection that closes without an answer it repeats every request it takes
// for harmless, so a server that drops requests would look healthy here while
// it saw more of them than were counted.
//
// The price: a connection closed by the server in the very moment of its reuse
// counts as a failure, though nothing was lost. One case is not covered: a POST,
// PUT or PATCH without body that carries an Idempotency-Key.
type once struct{ http.RoundTripper }

func (o once) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.WithContext(r.Context()) // a copy: the caller's request must not change
	r.GetBody = nil
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		// net/http repeats only what has no body, or one it can get again. This
		// empty one is found empty before sending: the bytes sent are the same.
		if r.Body == nil {
			r.Body = io.NopCloser(strings.NewReader(""))
		}
	}
	return o.RoundTripper.RoundTrip(r)
}
