// Package standby is a door of a replica that may not lead: it passes requests on to the one that does, and says no where nobody leads.
package standby

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"
)

const (
	// look is how often a request that waits looks whether somebody leads.
	look = 25 * time.Millisecond
	// dialTime bounds the connection to the one that leads: its machine may be gone.
	dialTime = time.Second
	// maxPassed bounds the requests that are passed on at once, the streams of watching browsers included.
	maxPassed = 512
	// leaveTime is what requests get to finish when this replica leads no longer, and again when they are cut off.
	leaveTime = 2 * time.Second
)

// forwarded marks a request that was passed on once: between two replicas that each take the other for the one that leads
// it would go round for ever.
const forwarded = "Gatekeeper-Forwarded"

// Config is what a Door needs; all fields are required.
type Config struct {
	// Holds reports whether this replica leads now.
	Holds func() bool
	// Leader is the address (host:port) of the same door of the replica that leads; "" when there is none, or it is this one.
	Leader func() string
	// Patience is how long a request waits for somebody to lead.
	Patience time.Duration
	// AnswerTime is how long the one that leads may take until it begins to answer.
	AnswerTime time.Duration
	// Own answers what each replica answers for itself, as long as it does not lead, and all that is nobody's: it is asked
	// for what OwnPath says.
	Own     http.Handler
	OwnPath func(path string) bool
	// Refuse answers where nobody leads, or who leads does not answer.
	Refuse http.HandlerFunc
	Log    *slog.Logger
}

// Door is the http.Handler of one listener for the life of the process.
type Door struct {
	cfg   Config
	proxy *httputil.ReverseProxy
	slots chan struct{}

	mu   sync.RWMutex
	term *term // nil: this replica does not lead
}

// term is the time in which this replica leads.
type term struct {
	handler http.Handler
	cut     context.Context // over when requests are to end
	open    sync.WaitGroup
}

// New returns a door that is closed until somebody leads.
func New(cfg Config) *Door {
	d := &Door{cfg: cfg, slots: make(chan struct{}, maxPassed)}
	d.proxy = &httputil.ReverseProxy{
		Rewrite: d.rewrite,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				cfg.Log.Warn("the replica that leads does not answer", "path", r.URL.Path, "error", err)
			}
			cfg.Refuse(w, r)
		},
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: dialTime}).DialContext, ResponseHeaderTimeout: cfg.AnswerTime,
			MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second,
		},
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug), // a client that goes away is no trouble of ours
	}
	return d
}

// Lead lets handler answer until leave is called, while Holds is true. Leave returns when no request is with the handler any
// more, or its time is over; after two seconds the requests' contexts end.
func (d *Door) Lead(handler http.Handler) (leave func()) {
	cut, end := context.WithCancel(context.Background())
	t := &term{handler: handler, cut: cut}
	d.mu.Lock()
	d.term = t
	d.mu.Unlock()
	return func() {
		d.mu.Lock()
		d.term = nil
		d.mu.Unlock()
		done := make(chan struct{})
		go func() { // ends with the last request, or with the process
			t.open.Wait()
			close(done)
		}()
		within(done, leaveTime)
		end()
		within(done, leaveTime)
	}
}

func within(done <-chan struct{}, limit time.Duration) {
	select {
	case <-done:
	case <-time.After(limit):
	}
}

// enter gives the term in which a request may be answered here; the caller says open.Done when it has been.
func (d *Door) enter() (*term, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.term == nil || !d.cfg.Holds() {
		return nil, false
	}
	d.term.open.Add(1)
	return d.term, true
}

// ServeHTTP answers, passes on, or refuses.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.here(w, r) {
		return
	}
	if d.cfg.OwnPath(r.URL.Path) {
		d.cfg.Own.ServeHTTP(w, r)
		return
	}
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	default:
		d.cfg.Refuse(w, r)
		return
	}
	if r.Header.Get(forwarded) != "" {
		// Who passed it on knows of our term before we do, or no longer knows that it is over.
		if !d.wait(r.Context(), false) || !d.here(w, r) {
			d.cfg.Refuse(w, r)
		}
		return
	}
	switch {
	case !d.wait(r.Context(), true):
		d.cfg.Refuse(w, r)
	case !d.here(w, r):
		d.proxy.ServeHTTP(unhurried{w}, r)
	}
}

// here answers in this replica's own term, if there is one.
func (d *Door) here(w http.ResponseWriter, r *http.Request) bool {
	t, ok := d.enter()
	if !ok {
		return false
	}
	defer t.open.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(t.cut, cancel)()
	t.handler.ServeHTTP(w, r.WithContext(ctx))
	return true
}

// wait waits until this replica leads, or somebody does when others are good too. It gives up in time.
func (d *Door) wait(ctx context.Context, others bool) bool {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Patience)
	defer cancel()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		if others && d.cfg.Leader() != "" {
			return true
		}
		if t, ok := d.enter(); ok {
			t.open.Done()
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
}

// rewrite sends the request on as it came. What proxies before us have said of the client stays, with one hop more; whether
// it is to be believed is up to who answers.
func (d *Door) rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", d.cfg.Leader(), r.In.Host
	for name, values := range r.In.Header {
		if strings.HasPrefix(name, "X-Forwarded-") {
			r.Out.Header[name] = values
		}
	}
	if client, _, err := net.SplitHostPort(r.In.RemoteAddr); err == nil {
		r.Out.Header.Set("X-Forwarded-For", strings.Join(append(r.In.Header.Values("X-Forwarded-For"), client), ", "))
	}
	r.Out.Header.Set(forwarded, "1")
}

// pieceTime is what a client gets to take each piece of an answer that is passed on.
const pieceTime = 30 * time.Second

// unhurried lets a client's time begin with each piece of the answer, not when the request came: who leads may have let it
// wait for news, and a stream of events or a backup takes long. Who takes nothing is cut off.
type unhurried struct{ http.ResponseWriter }

func (u unhurried) Write(piece []byte) (int, error) {
	_ = http.NewResponseController(u.ResponseWriter).SetWriteDeadline(time.Now().Add(pieceTime)) // a connection without such a limit needs none
	return u.ResponseWriter.Write(piece)
}

// Unwrap is for http.ResponseController.
func (u unhurried) Unwrap() http.ResponseWriter { return u.ResponseWriter }
