package kube

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// lists answers lists as the API server does, an empty one where it knows none, and watches with silence.
type lists struct {
	items  map[string]string // by path
	refuse map[string]int    // a status, by path

	mu    sync.Mutex
	asked map[string]bool // paths; guarded by mu
}

func (l *lists) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.asked[r.URL.Path] = true
	l.mu.Unlock()
	code := l.refuse[r.URL.Path]
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		code = http.StatusBadRequest // an API server that lists first
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case code != 0:
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d}`, code)
	case r.URL.Query().Get("watch") != "":
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	default:
		fmt.Fprintf(w, `{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[%s]}`, l.items[r.URL.Path])
	}
}

// A cluster without the Gateway API is a cluster like any other, and one Canary in need of it must not blind us for all.
func TestHTTPRoutesAreWatchedWhereACanaryHasOne(t *testing.T) {
	const canaries, routes = "/apis/flagger.app/v1beta1/canaries", "/apis/gateway.networking.k8s.io/v1/httproutes"
	for name, c := range map[string]struct {
		provider, route string
		refuse          map[string]int
		weight          int
		asked           bool
	}{
		"the live weight is that of the route":           {provider: "gatewayapi:v1", route: routeJSON(split(0, 100)), weight: 100, asked: true},
		"a route that splits by header has none":         {provider: "gatewayapi:v1", route: routeJSON(split(0, 100), `{"backendRefs":[{"name":"podinfo-primary"}]}`), weight: 5, asked: true},
		"there is no route yet":                          {provider: "gatewayapi:v1", weight: 5, asked: true},
		"the kind is not defined":                        {provider: "gatewayapi:v1", refuse: map[string]int{routes: http.StatusNotFound}, weight: 5, asked: true},
		"it may not be read":                             {provider: "gatewayapi:v1", refuse: map[string]int{routes: http.StatusForbidden}, weight: 5, asked: true},
		"nobody asks for it where only NGINX is":         {provider: "nginx", route: routeJSON(split(0, 100)), weight: 5},
		"to Flagger gatewayapi without version is Istio": {provider: "gatewayapi", route: routeJSON(split(0, 100)), weight: 5},
	} {
		t.Run(name, func(t *testing.T) {
			canary := strings.Replace(canaryJSON("WaitingPromotion", c.provider), `"status":{`, `"status":{"canaryWeight":5,`, 1)
			api := &lists{refuse: c.refuse, asked: map[string]bool{}, items: map[string]string{canaries: strings.Replace(canary, `"ingressRef":{"name":"podinfo"},`, "", 1), routes: c.route}}
			server := httptest.NewServer(api)
			defer server.Close()
			cluster, err := New(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = cluster.Run(ctx) })
			defer running.Wait()
			defer cancel()
			for !cluster.Synced() {
				select {
				case <-t.Context().Done():
					t.Fatal("the watches never had their first copy")
				case <-time.After(10 * time.Millisecond):
				}
			}
			all, err := cluster.Canaries()
			if err != nil || len(all) != 1 || all[0].Weight != c.weight || all[0].Key != (rollout.Key{Namespace: "demo", Name: "podinfo"}) {
				t.Errorf("canaries %+v, error %v, want one at %d", all, err, c.weight)
			}
			api.mu.Lock()
			defer api.mu.Unlock()
			if api.asked[routes] != c.asked {
				t.Errorf("HTTPRoutes were asked for: %v, want %v", api.asked[routes], c.asked)
			}
		})
	}
}
