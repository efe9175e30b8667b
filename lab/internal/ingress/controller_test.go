package ingress

import (
	"bufio"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// interval is the exact two-sided 99.9 % range of a binomial count: each tail beyond it has at most 0.05 %.
func interval(n int, p float64) (low, high int) {
	lgamma := func(x int) float64 { v, _ := math.Lgamma(float64(x + 1)); return v }
	low, high = -1, -1
	for k, cumulative := 0, 0.0; k <= n && high < 0; k++ {
		cumulative += math.Exp(lgamma(n) - lgamma(k) - lgamma(n-k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
		if low < 0 && cumulative > 0.0005 {
			low = k
		}
		if cumulative >= 0.9995 {
			high = k
		}
	}
	return low, high
}

func TestInterval(t *testing.T) {
	// scipy.stats.binom.ppf([0.0005, 0.9995], 100, 0.1)
	if low, high := interval(100, 0.1); low != 2 || high != 21 {
		t.Errorf("interval %d to %d, want 2 to 21", low, high)
	}
}

func TestWeights(t *testing.T) {
	h := start(t, pods(t), podinfo(), canaryOf("podinfo-canary", "canary-weight", "10"))
	const n = 20_000
	answers := h.load(func(sent int) bool { return sent < n })
	low, high := interval(n, 0.1)
	if got := answers["canary"]; got < low || got > high || answers["primary"]+got != n {
		t.Errorf("at weight 10 %d requests were answered by %v, want %d to %d by the canary and the rest by the primary", n, answers, low, high)
	}
	h.until("every request is counted", func() bool { return h.metric("nginx_ingress_controller_requests") == n })
	if got := h.metric("nginx_ingress_controller_requests", "canary", "test-podinfo-canary-80", "ingress", "podinfo", "service", "podinfo"); got != float64(answers["canary"]) {
		t.Errorf("the metrics say %v requests for the canary, want %d", got, answers["canary"])
	}

	const few = 500
	for weight, want := range map[string]string{"0": "primary", "100": "canary"} {
		h.after(func() { h.updateIngress(canaryOf("podinfo-canary", "canary-weight", weight)) })
		h.settled()
		if answers := h.load(func(sent int) bool { return sent < few }); answers[want] != few {
			t.Errorf("at weight %s answered %v, want only %s", weight, answers, want)
		}
	}

	h.after(func() { h.updateSlice(sliceOf("podinfo-canary", "podinfo-canary", false, "127.0.0.1:1")) })
	h.settled()
	if answers := h.load(func(sent int) bool { return sent < few }); answers["primary"] != few {
		t.Errorf("at weight 100 without a ready canary answered %v, want only primary", answers)
	}
}

func TestHeaderAndCookie(t *testing.T) {
	h := start(t, pods(t), podinfo(), canaryOf("podinfo-canary", "canary-by-header", "X-Canary", "canary-by-cookie", "try-new"))
	ask := func(want string, headers ...string) {
		t.Helper()
		h.wants(want, http.MethodGet, "podinfo.local", "/", headers...)
	}
	ask("primary")
	ask("canary", "X-Canary", "always")
	ask("primary", "X-Canary", "Always")
	ask("primary", "X-Canary", "never", "Cookie", "try-new=always")
	ask("canary", "X-Canary", "perhaps", "Cookie", "a=b; try-new=always; c=d")
	ask("primary", "Cookie", "a=try-new=always")
	ask("primary", "Cookie", "try-new=always2")

	h.after(func() {
		h.updateIngress(canaryOf("podinfo-canary", "canary-by-header", "X-Canary", "canary-by-header-value", `in.ter "nal" \1`, "canary-weight", "100"))
	})
	h.settled()
	ask("canary")
	ask("canary", "X-Canary", "never") // a value makes always and never words like any other

	h.after(func() {
		h.updateIngress(canaryOf("podinfo-canary", "canary-by-header", "X-Canary", "canary-by-header-value", `in.ter "nal" \1`))
	})
	h.settled()
	ask("canary", "X-Canary", `in.ter "nal" \1`)
	ask("primary", "X-Canary", `in-ter "nal" \1`)

	h.after(func() {
		h.updateIngress(canaryOf("podinfo-canary", "canary-by-header", "X-Canary", "canary-by-header-pattern", `^v[0-9]+\.x$`))
	})
	h.settled()
	ask("canary", "X-Canary", "v12.x")
	ask("primary", "X-Canary", "v12-x")
}

func TestRouting(t *testing.T) {
	h := start(t, pods(t), podinfo(), ingressOf("more", nil,
		route{"more.local", "/api", prefixed, "podinfo"}, route{"more.local", "/one", exact, "podinfo-canary"},
		route{"more.local", "/any", anyhow, "podinfo"}, route{"more.local", "/down", prefixed, "nobody"},
		route{"*.wild.local", "/", prefixed, "podinfo-canary"}))
	for path, want := range map[string]string{
		"/api": "primary", "/api/": "primary", "/api/x?y=z": "primary", "/apix": "404",
		"/one": "canary", "/one/": "404", "/anything": "primary", "/down": "503", "/": "404",
	} {
		h.wants(want, http.MethodGet, "more.local", path)
	}
	h.wants("404", http.MethodGet, "nobody.local", "/")
	h.wants("canary", http.MethodPut, "a.wild.local", "/")
	h.until("the 503 is counted", func() bool {
		return h.metric("nginx_ingress_controller_requests", "host", "more.local", "status", "503", "path", "/down", "service", "nobody") == 1
	})
	if got := h.metric("nginx_ingress_controller_requests", "host", "nobody.local"); got != 0 {
		t.Errorf("%v requests for a host of nobody are counted, want none", got)
	}
}

// Weights and endpoints change while requests come in all the time; a pod leaves its endpoints some time before it stops.
func TestChangesLoseNoRequest(t *testing.T) {
	h := start(t, pods(t), podinfo(), canaryOf("podinfo-canary", "canary-weight", "0"))
	var done atomic.Bool
	answers := make(chan map[string]int)
	go func() { answers <- h.load(func(int) bool { return !done.Load() }) }()
	for round := range 6 {
		h.after(func() { h.updateIngress(canaryOf("podinfo-canary", "canary-weight", strconv.Itoa(10*round+5))) })
		another := pod(t, "primary")
		slice := sliceOf(fmt.Sprintf("another-%d", round), "podinfo", true, another.Listener.Addr().String())
		h.after(func() { h.create(slice) })
		h.after(func() { h.deleteSlice(slice) })
		h.settled()
		another.Close()
	}
	done.Store(true)
	got := <-answers
	if len(got) != 2 || got["primary"] == 0 || got["canary"] == 0 {
		t.Errorf("answers %v, want only those of pods", got)
	}
	t.Logf("answers %v", got)
}

// A pod that died is still an endpoint until somebody notices; its requests go to another pod.
func TestDeadPodLosesNoRequest(t *testing.T) {
	h := start(t, pods(t), podinfo())
	dead := pod(t, "dead")
	dead.Close()
	h.after(func() { h.create(sliceOf("dead", "podinfo", true, dead.Listener.Addr().String())) })
	h.settled()
	const n = 100
	if answers := h.load(func(sent int) bool { return sent < n }); answers["primary"] != n {
		t.Errorf("answers %v, want all %d from the pod that lives", answers, n)
	}
}

func TestPodSeesWhoAsked(t *testing.T) {
	seen := make(chan *http.Request, 1)
	echo := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r }))
	t.Cleanup(echo.Close)
	h := start(t, map[string]*httptest.Server{"podinfo": echo}, podinfo())
	h.wants("", http.MethodGet, "podinfo.local", "/a%2Fb?c=d", "X-Request-ID", "mine", "X-Forwarded-For", "192.0.2.1", "Proxy", "evil")
	r := <-seen
	_, port, _ := net.SplitHostPort(h.users)
	for name, want := range map[string]string{
		"X-Request-Id": "mine", "X-Real-Ip": "127.0.0.1", "X-Forwarded-For": "127.0.0.1", "X-Original-Forwarded-For": "192.0.2.1",
		"X-Forwarded-Host": "podinfo.local", "X-Forwarded-Port": port, "X-Forwarded-Proto": "http", "X-Forwarded-Scheme": "http", "X-Scheme": "http", "Proxy": "",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if r.Host != "podinfo.local" || r.RequestURI != "/a%2Fb?c=d" || r.Proto != "HTTP/1.1" {
		t.Errorf("the pod saw %s %s%s, want HTTP/1.1 podinfo.local/a%%2Fb?c=d", r.Proto, r.Host, r.RequestURI)
	}
	h.wants("", http.MethodGet, "podinfo.local", "/")
	if id := (<-seen).Header.Get("X-Request-Id"); len(id) != 32 {
		t.Errorf("X-Request-ID is %q, want one made by NGINX", id)
	}
}

func TestUpgradePasses(t *testing.T) {
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, both, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(both, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
		_ = both.Flush()
		line, _ := both.ReadString('\n')
		fmt.Fprint(both, line)
		_ = both.Flush()
	}))
	t.Cleanup(echo.Close)
	h := start(t, map[string]*httptest.Server{"podinfo": echo}, podinfo())
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", h.users)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: podinfo.local\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade answered %v, %v", response, err)
	}
	defer response.Body.Close()
	fmt.Fprint(conn, "hello\n")
	if line, err := reader.ReadString('\n'); line != "hello\n" {
		t.Errorf("after the upgrade came %q, %v; want hello", line, err)
	}
}

func TestEvilIngressesAreDropped(t *testing.T) {
	h := start(t, pods(t), podinfo())
	const evil = `evil"; } server { listen 127.0.0.1:1; } #`
	h.create(
		ingressOf("host", nil, route{evil, "/", prefixed, "podinfo"}),
		ingressOf("path", nil, route{"evil.local", "/" + evil, exact, "podinfo"}),
		ingressOf("variable", nil, route{"evil.local", "/$evil", exact, "podinfo"}),
		ingressOf("service", nil, route{"evil.local", "/", exact, evil}),
		canaryOf("header", "canary-by-header", evil),
		canaryOf("value", "canary-by-header", "X", "canary-by-header-value", "evil\n;"),
		canaryOf("cookie", "canary-by-cookie", evil),
	)
	h.after(func() { h.create(ingressOf("good", nil, route{"good.local", "/", prefixed, "podinfo"})) })
	h.settled()
	h.wants("primary", http.MethodGet, "good.local", "/")
	h.wants("404", http.MethodGet, "evil.local", "/")
	text, err := os.ReadFile(h.controller.nginx.current())
	if err != nil || strings.Contains(string(text), "evil") {
		t.Errorf("the configuration has something evil (%v):\n%s", err, text)
	}
}
