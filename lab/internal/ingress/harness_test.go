package ingress

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/packages"
)

// house is a running Controller with a real NGINX; the objects come from client-go's fake.
type house struct {
	t          *testing.T
	client     *fake.Clientset
	controller *Controller
	users      string // address
	http       *http.Client
	stop       func() // ends Run and waits for it
}

// start waits until the Controller serves the objects it is given.
func start(t *testing.T, pods map[string]*httptest.Server, ingresses ...*networkingv1.Ingress) *house {
	t.Helper()
	h := &house{
		t: t, client: fake.NewClientset(), users: freeAddress(t),
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	for service, pod := range pods {
		h.create(serviceOf(service), sliceOf(service, service, true, pod.Listener.Addr().String()))
	}
	for _, ing := range ingresses {
		h.create(ing)
	}
	controller, err := New(Config{
		Client: h.client, NGINX: nginxPath(t), Dir: filepath.Join(t.TempDir(), `a "folder"; $x`), Listen: h.users, Metrics: freeAddress(t),
		Class: "nginx", Namespace: "ingress-nginx", Pod: "controller-0",
		Log: slog.New(slog.NewTextHandler(logTo{t}, &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
	if err != nil {
		t.Fatal(err)
	}
	h.controller = controller
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- controller.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run ended with: %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Error("Run does not end")
		}
	})
	t.Cleanup(h.stop)
	h.until("the controller is healthy", func() bool {
		if len(ended) > 0 {
			t.FailNow() // stop says why
		}
		return h.healthStatus() == http.StatusOK
	})
	h.settled()
	return h
}

type logTo struct{ t *testing.T }

func (l logTo) Write(line []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(line)))
	return len(line), nil
}

// nginxPath is this machine's NGINX, or the one that the lab fetches.
func nginxPath(t *testing.T) string {
	t.Helper()
	cache, err := filepath.Abs("../../../.lab/cache/packages")
	if err != nil {
		t.Fatal(err)
	}
	finder := packages.Finder{Dir: cache, Say: func(text string) { t.Log(text) }, Env: os.Getenv}
	if err := finder.Fetch(t.Context()); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	programs, _ := finder.Find()
	return programs.NGINX
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// pod answers with its name.
func pod(t *testing.T, name string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, name)
	}))
	t.Cleanup(s.Close)
	return s
}

func pods(t *testing.T) map[string]*httptest.Server {
	t.Helper()
	return map[string]*httptest.Server{"podinfo": pod(t, "primary"), "podinfo-canary": pod(t, "canary")}
}

func (h *house) create(objects ...runtime.Object) {
	h.t.Helper()
	for _, o := range objects {
		if err := h.client.Tracker().Add(o); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *house) updateIngress(ing *networkingv1.Ingress) {
	h.t.Helper()
	if _, err := h.client.NetworkingV1().Ingresses(ing.Namespace).Update(h.t.Context(), ing, metav1.UpdateOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) updateSlice(slice *discoveryv1.EndpointSlice) {
	h.t.Helper()
	if _, err := h.client.DiscoveryV1().EndpointSlices(slice.Namespace).Update(h.t.Context(), slice, metav1.UpdateOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) deleteSlice(slice *discoveryv1.EndpointSlice) {
	h.t.Helper()
	if err := h.client.DiscoveryV1().EndpointSlices(slice.Namespace).Delete(h.t.Context(), slice.Name, metav1.DeleteOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

// after changes something and waits until NGINX has loaded it.
func (h *house) after(change func()) {
	h.t.Helper()
	before := h.metric("nginx_ingress_controller_success")
	change()
	h.until("the change is loaded", func() bool { return h.metric("nginx_ingress_controller_success") > before })
}

// settled waits until the workers of older configurations are gone.
func (h *house) settled() {
	h.t.Helper()
	h.until("a master and two workers are there", func() bool { return h.metric("nginx_ingress_controller_nginx_process_num_procs") == 3 })
}

func (h *house) until(what string, is func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("waited 30 s in vain until %s", what)
		}
	}
}

func (h *house) healthStatus() int {
	request, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, "http://"+h.controller.config.Metrics+"/healthz", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	response, err := h.http.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

func (h *house) families() []*dto.MetricFamily {
	h.t.Helper()
	families, err := h.controller.metrics.registry.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	return families
}

// metric sums the counters and gauges of a name over those series that have all the labels, given in pairs.
func (h *house) metric(name string, labels ...string) float64 {
	h.t.Helper()
	sum := 0.0
	for _, family := range h.families() {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && has(m, labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func has(m *dto.Metric, labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		found := false
		for _, l := range m.GetLabel() {
			found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}

// ask sends one request and returns what answered: the name of a pod, or a status that is not 200. Headers are pairs.
func (h *house) ask(method, host, path string, headers ...string) (string, error) {
	request, err := http.NewRequestWithContext(h.t.Context(), method, "http://"+h.users+path, strings.NewReader("x"))
	if err != nil {
		return "", err
	}
	request.Host = host
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := h.http.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		return strconv.Itoa(response.StatusCode), err
	}
	return string(body), err
}

func (h *house) wants(want, method, host, path string, headers ...string) {
	h.t.Helper()
	if got, err := h.ask(method, host, path, headers...); got != want || err != nil {
		h.t.Errorf("%s %s%s %q answered %q, %v; want %q", method, host, path, headers, got, err, want)
	}
}

// load sends requests from eight users until more says no, and counts the answers; an error is an answer too.
func (h *house) load(more func(sent int) bool) map[string]int {
	var mu sync.Mutex
	var users sync.WaitGroup
	answers, sent := map[string]int{}, 0
	for user := range 8 {
		users.Go(func() {
			method := []string{http.MethodGet, http.MethodPost}[user%2]
			for {
				mu.Lock()
				if !more(sent) {
					mu.Unlock()
					return
				}
				sent++
				mu.Unlock()
				answer, err := h.ask(method, "podinfo.local", "/")
				if err != nil {
					answer = err.Error()
				}
				mu.Lock()
				answers[answer]++
				mu.Unlock()
			}
		})
	}
	users.Wait()
	return answers
}
