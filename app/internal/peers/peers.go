// Package peers passes one request on to every pod of one revision, found behind the name of a headless Service.
package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Headers between siblings. A request with RevisionHeader was passed on: it is for
// that revision alone and must not be passed on again. Each answer says in both
// who gave it; a pod of another revision answers 409.
const (
	RevisionHeader = "Chaos-Revision"
	PodHeader      = "Chaos-Pod"
)

// Limits of one Tell. A pod that neither answers nor refuses must not use up the
// patience for the others, which are asked at the same time, width at most.
const (
	patience = 3 * time.Second
	perPod   = time.Second
	pause    = 200 * time.Millisecond
	width    = 16
)

// Lookup resolves a host to all its addresses, as net.Resolver.LookupHost does.
type Lookup func(ctx context.Context, host string) ([]string, error)

// Fleet reaches all pods of a release, of whatever revision. Safe for concurrent
// use. New makes it.
type Fleet struct {
	host, port string
	lookup     Lookup
	client     *http.Client
}

// New returns the fleet behind address, the host:port of a headless Service.
func New(address string, lookup Lookup) (*Fleet, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("read address of peers %q: want host:port of a headless Service", address)
	}
	return &Fleet{host: host, port: port, lookup: lookup, client: &http.Client{
		Timeout: perPod,
		// No proxy: the token is for pods alone. No kept connections: pods are told something once in a while.
		Transport: &http.Transport{DisableKeepAlives: true},
		// A redirect could carry the token to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Message is what each pod is told. Header may have what else a pod needs, such
// as the token.
type Message struct {
	Method, Path string
	Revision     string // only for the pods of this one
	Header       http.Header
	Body         []byte
}

// Outcome says who got a message: the names of the pods that took it, the revision
// of each other pod by its name, and the addresses that gave no usable answer.
type Outcome struct {
	Applied []string
	Others  map[string]string
	Failed  []Failure
}

// Failure is one address and why it was not told.
type Failure struct {
	Address string `json:"address"`
	Cause   string `json:"cause"`
}

// Revisions lists the other revisions, each once.
func (o Outcome) Revisions() []string {
	return slices.Compact(slices.Sorted(maps.Values(o.Others)))
}

// Tell gives m to all addresses at the same time. Addresses that fail are tried
// again for up to 3 s, each time after a new look-up: a pod that is gone from there
// is owed nothing, one that is new is told too. No pod is told again once it answered.
func (f *Fleet) Tell(ctx context.Context, m Message) Outcome {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out := Outcome{Others: map[string]string{}}
	answered := map[string]bool{} // by address
	for {
		addresses, err := f.lookup(ctx, f.host)
		if err != nil {
			out.Failed = []Failure{{f.host, err.Error()}}
		} else {
			out.Failed = f.round(ctx, m, addresses, answered, &out)
		}
		if len(out.Failed) == 0 {
			return out.sorted()
		}
		select {
		case <-ctx.Done():
			return out.sorted()
		case <-time.After(pause):
		}
	}
}

// round asks the addresses that have not answered yet and returns those that fail.
func (f *Fleet) round(ctx context.Context, m Message, addresses []string, answered map[string]bool, out *Outcome) []Failure {
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex // guards answered, out and failed
		failed []Failure
		slots  = make(chan struct{}, width)
	)
	waiting := slices.DeleteFunc(slices.Clone(addresses), func(address string) bool { return answered[address] })
	for _, address := range waiting {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			r, err := f.ask(ctx, m, address)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, Failure{address, err.Error()})
				return
			}
			answered[address] = true
			out.add(r)
		})
	}
	wg.Wait()
	return failed
}

// reply is what a pod says of itself, and whether it took the message.
type reply struct {
	pod, revision string
	applied       bool
}

// add files r by the pod's name: a pod has two addresses where IPv4 and IPv6 meet.
func (o *Outcome) add(r reply) {
	switch {
	case !r.applied:
		o.Others[r.pod] = r.revision
	case !slices.Contains(o.Applied, r.pod):
		o.Applied = append(o.Applied, r.pod)
	}
}

func (o Outcome) sorted() Outcome {
	slices.Sort(o.Applied)
	slices.SortFunc(o.Failed, func(a, b Failure) int { return strings.Compare(a.Address, b.Address) })
	return o
}

// ask gives m to one pod. A pod without the path (404) was released with chaos off,
// so it is of another revision: those of the one meant were all released with it on.
func (f *Fleet) ask(ctx context.Context, m Message, address string) (reply, error) {
	target := url.URL{Scheme: "http", Host: net.JoinHostPort(address, f.port), Path: m.Path}
	req, err := http.NewRequestWithContext(ctx, m.Method, target.String(), bytes.NewReader(m.Body))
	if err != nil {
		return reply{}, fmt.Errorf("make request: %w", err)
	}
	if m.Header != nil {
		req.Header = m.Header.Clone()
	}
	req.Header.Set(RevisionHeader, m.Revision)
	res, err := f.client.Do(req)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // without the URL: the address is said beside it
		}
		return reply{}, err
	}
	defer res.Body.Close()
	r := reply{pod: res.Header.Get(PodHeader), revision: res.Header.Get(RevisionHeader)}
	switch {
	case res.StatusCode == http.StatusNotFound && r.pod == "":
		return reply{pod: address, revision: "unknown (chaos is off there)"}, nil
	case r.pod == "":
		return reply{}, fmt.Errorf("answered %s, but not as a pod of ours", res.Status)
	case res.StatusCode == http.StatusConflict:
		return r, nil
	case res.StatusCode == http.StatusOK:
		r.applied = true
		return r, nil
	}
	detail, err := io.ReadAll(io.LimitReader(res.Body, 512)) // for a person; the answers of ours are short
	if err != nil {
		return reply{}, fmt.Errorf("answered %s: %w", res.Status, err)
	}
	return reply{}, fmt.Errorf("answered %s: %s", res.Status, detail)
}
