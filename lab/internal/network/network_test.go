package network

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
)

// cluster knows gatekeeper with two pods and empty without any.
func cluster(namespace, service string, port int) ([]string, bool) {
	switch fmt.Sprintf("%s/%s:%d", namespace, service, port) {
	case "rollout-system/gatekeeper:8080":
		return []string{"127.0.0.1:1", "127.0.0.1:2"}, true
	case "rollout-system/empty:80", "rollout-system/gatekeeper:9":
		return nil, true
	}
	return nil, false
}

func TestRoute(t *testing.T) {
	for name, c := range map[string]struct {
		address, want string
		refused       bool
	}{
		"a service's short name leads to one of its pods":    {"gatekeeper.rollout-system:8080", "127.0.0.1:2", false},
		"so does its name with svc":                          {"gatekeeper.rollout-system.svc:8080", "127.0.0.1:2", false},
		"and its full name":                                  {"gatekeeper.rollout-system.svc.cluster.local.:8080", "127.0.0.1:2", false},
		"a service without ready pods refuses":               {"empty.rollout-system:80", "", true},
		"a port that the service does not have refuses":      {"gatekeeper.rollout-system:9", "", true},
		"a name of the world is left to the world":           {"hooks.example.com:443", "hooks.example.com:443", false},
		"so is one with two parts that is no service":        {"example.com:443", "example.com:443", false},
		"an address is taken as it is":                       {"127.0.0.1:99", "127.0.0.1:99", false},
		"a plain name has no namespace and is not a service": {"gatekeeper:8080", "gatekeeper:8080", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := route(cluster, c.address, func(n int) int { return n - 1 })
			if got != c.want || errors.Is(err, errRefused) != c.refused || (err != nil) != c.refused {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// A program as it is pointed at the proxy: Go's own HTTP client.
func TestClientsReachServicesByName(t *testing.T) {
	pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) }))
	defer pod.Close()
	endpoints := func(_, service string, _ int) ([]string, bool) {
		if service == "empty" {
			return nil, true
		}
		return []string{pod.Listener.Addr().String()}, true
	}
	proxy, err := New(endpoints)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- proxy.Serve(t.Context(), listener) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	way := &url.URL{Scheme: "socks5h", Host: listener.Addr().String()}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(way), DisableKeepAlives: true}}

	get := func(address string) (string, error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return string(body), err
	}
	if got, err := get("http://app.demo/"); err != nil || got != "app.demo" {
		t.Errorf("got %q, %v: the Host header must come through", got, err)
	}
	if _, err := get("http://empty.demo/"); err == nil || !strings.Contains(err.Error(), syscall.ECONNREFUSED.Error()) {
		t.Errorf("a service without pods must refuse, got %v", err)
	}
}
