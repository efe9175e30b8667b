package kube

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// leaseAPI keeps one Lease as the API server does: a write that has not seen the last one is a conflict.
type leaseAPI struct {
	mu      sync.Mutex
	lease   *coordinationv1.Lease
	version int
	down    bool
}

func (a *leaseAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	refuse := func(code int, reason metav1.StatusReason) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: reason, Code: int32(code)})
	}
	if a.down {
		refuse(http.StatusInternalServerError, metav1.StatusReasonInternalError)
		return
	}
	if r.Method != http.MethodGet {
		var sent coordinationv1.Lease
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			refuse(http.StatusBadRequest, metav1.StatusReasonBadRequest)
			return
		}
		if exists := a.lease != nil; exists == (r.Method == http.MethodPost) || exists && sent.ResourceVersion != a.lease.ResourceVersion {
			refuse(http.StatusConflict, metav1.StatusReasonConflict)
			return
		}
		a.version++
		sent.ResourceVersion = strconv.Itoa(a.version)
		a.lease = &sent
	}
	if a.lease == nil {
		refuse(http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(a.lease)
}

func (a *leaseAPI) set(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
}

// replica is a candidate at work.
type replica struct {
	*Candidate
	leads  chan struct{} // gets one when it begins to lead
	work   chan error    // what lead returns, when something is sent
	ended  chan error    // what Run returned
	cancel context.CancelFunc
}

func compete(t *testing.T, api http.Handler, holder string) *replica {
	t.Helper()
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	c, err := NewCandidate(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}, Lease{Namespace: "demo", Name: "gatekeeper", Holder: holder, Time: 2 * time.Second}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &replica{Candidate: c, leads: make(chan struct{}, 1), work: make(chan error), ended: make(chan error, 1), cancel: cancel}
	go func() {
		r.ended <- c.Run(ctx, func(ctx context.Context) error {
			r.leads <- struct{}{}
			select {
			case <-ctx.Done():
				return nil
			case err := <-r.work:
				return err
			}
		})
	}()
	t.Cleanup(cancel)
	return r
}

func waited[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case got := <-c:
		return got
	case <-time.After(20 * time.Second):
		t.Fatalf("%s did not come in 20 s", what)
		panic("not reached")
	}
}

func TestOneLeadsAndHandsOver(t *testing.T) {
	api := &leaseAPI{}
	a := compete(t, api, "a")
	waited(t, "a's term", a.leads)
	b := compete(t, api, "b")
	for b.Leader() != "a" {
		time.Sleep(10 * time.Millisecond)
	}
	if !a.Holds() || b.Holds() || a.Fresh() != nil || b.Fresh() != nil {
		t.Errorf("a holds %v, b holds %v, want a alone; both know it: %v %v", a.Holds(), b.Holds(), a.Fresh(), b.Fresh())
	}
	a.cancel()
	if err := waited(t, "a's end", a.ended); err != nil {
		t.Errorf("a ended with %v", err)
	}
	waited(t, "b's term", b.leads)
	if a.Holds() || !b.Holds() {
		t.Errorf("a holds %v, b holds %v, want b alone", a.Holds(), b.Holds())
	}
	failed := errors.New("no disk")
	b.work <- failed
	if err := waited(t, "b's end", b.ended); !errors.Is(err, failed) {
		t.Errorf("b ended with %v, want its own failure", err)
	}
	if got := *api.lease.Spec.HolderIdentity; got != "" {
		t.Errorf("the Lease is held by %q, want it released", got)
	}
}

func TestALostLeaseEndsTheTerm(t *testing.T) {
	api := &leaseAPI{}
	a := compete(t, api, "a")
	waited(t, "a's term", a.leads)
	api.set(true)
	if err := waited(t, "a's end", a.ended); !errors.Is(err, ErrDeposed) {
		t.Errorf("a ended with %v, want that it was deposed", err)
	}
	if a.Holds() {
		t.Error("a holds what it has lost")
	}
	// One of the same name need not wait until the Lease expires: it is the same pod, started again.
	api.set(false)
	waited(t, "a's next term", compete(t, api, "a").leads)
}

func TestASleeperKnowsThatItsLeaseIsOver(t *testing.T) {
	api := &leaseAPI{}
	a := compete(t, api, "a")
	waited(t, "a's term", a.leads)
	long := time.Now().Add(-a.lease.Time)
	a.lock.renewed.at.Store(&long)
	a.lock.read.at.Store(&long)
	if a.Holds() || a.Fresh() == nil {
		t.Error("a Lease that was renewed last before its whole time is taken for good")
	}
}

func TestLeaseRefuses(t *testing.T) {
	for name, l := range map[string]Lease{
		"no name":         {Namespace: "a", Holder: "h", Time: 10 * time.Second},
		"no holder":       {Namespace: "a", Name: "n", Time: 10 * time.Second},
		"too short":       {Namespace: "a", Name: "n", Holder: "h", Time: time.Second},
		"no whole second": {Namespace: "a", Name: "n", Holder: "h", Time: 2500 * time.Millisecond},
	} {
		if _, err := NewCandidate(&rest.Config{Host: "http://127.0.0.1:1"}, l, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
