package fire

import (
	"context"
	"io"
	"net/http"
	"time"
)

// single sends each request once, under a context that ends with the attack's
// and after the timeout. It does what http.Client.Timeout does for net/http's own
// transport only: for any other it starts a goroutine for every request.
//
// Once, because net/http sends a request again by itself. On a kept-alive
// connection that closes without an answer it repeats every request it takes for
// harmless, so a server that drops requests would look healthy here while it saw
// more of them than were counted. The price: a connection closed by the server in
// the very moment of its reuse counts as a failure, though nothing was lost. One
// case is not covered: a POST, PUT or PATCH without body that carries an
// Idempotency-Key.
type single struct {
	http.RoundTripper
	ctx     context.Context
	timeout time.Duration
	plain   []string // see RoundTrip
}

func newSingle(ctx context.Context, next http.RoundTripper, timeout time.Duration) single {
	return single{next, ctx, timeout, []string{"identity"}}
}

func (s single) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.timeout)
	r = r.WithContext(ctx) // a copy: the caller's request must not change
	r.GetBody = nil
	if r.Body == nil {
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
			// net/http repeats only what has no body, or one it can get again. With this
			// one the bytes sent are the same: "identity" adds no header, and keeps
			// net/http from starting a goroutine that looks whether the body is empty.
			r.Body, r.TransferEncoding = nothing{}, s.plain
		}
	}
	resp, err := s.RoundTripper.RoundTrip(r)
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = body{resp.Body, cancel}
	return resp, nil
}

// body ends its request's context when it is closed, which vegeta always does.
type body struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b body) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// nothing is an empty body that is not nil.
type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, io.EOF }
func (nothing) Close() error             { return nil }

// WriteTo spares net/http a buffer of 32 KB that it makes for every body it has to
// read itself.
func (nothing) WriteTo(io.Writer) (int64, error) { return 0, nil }
