package ingress

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"
)

func TestRefusedConfigurationIsNotLoaded(t *testing.T) {
	h := start(t, pods(t), podinfo())
	// Go accepts this expression, NGINX's PCRE does not.
	h.create(canaryOf("podinfo-canary", "canary-weight", "100", "canary-by-header", "X", "canary-by-header-pattern", `\x{10FFFF}`))
	h.until("the configuration is refused", func() bool { return h.metric("nginx_ingress_controller_errors") == 1 })
	h.until("that shows in the health", func() bool { return h.healthStatus() == http.StatusServiceUnavailable })
	if got := h.metric("nginx_ingress_controller_config_last_reload_successful"); got != 0 {
		t.Errorf("last reload successful is %v, want 0", got)
	}
	h.wants("primary", http.MethodGet, "podinfo.local", "/")
	h.after(func() { h.updateIngress(canaryOf("podinfo-canary", "canary-weight", "100")) })
	h.settled()
	h.wants("canary", http.MethodGet, "podinfo.local", "/")
	h.until("it is healthy again", func() bool { return h.healthStatus() == http.StatusOK })
}

func (h *house) master() int {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.controller.nginx.dir, "nginx.pid"))
	if err != nil {
		h.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		h.t.Fatal(err)
	}
	return pid
}

func (h *house) children(pid int) []int {
	h.t.Helper()
	out, err := exec.CommandContext(h.t.Context(), "pgrep", "-P", strconv.Itoa(pid)).Output()
	if err != nil {
		h.t.Fatal(err)
	}
	var pids []int
	for field := range strings.FieldsSeq(string(out)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			h.t.Fatal(err)
		}
		pids = append(pids, child)
	}
	return pids
}

func TestNGINXComesBack(t *testing.T) {
	h := start(t, pods(t), podinfo())
	for range 2 { // the second time after a longer pause
		master := h.master()
		if err := syscall.Kill(master, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		h.until("another master serves", func() bool {
			answer, err := h.ask(http.MethodGet, "podinfo.local", "/")
			return err == nil && answer == "primary" && h.master() != master && h.healthStatus() == http.StatusOK
		})
	}
	h.settled() // no worker of the first master is left

	worker := h.children(h.master())[0]
	if err := syscall.Kill(worker, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.until("another worker is there", func() bool {
		workers := h.children(h.master())
		return len(workers) == 2 && !slices.Contains(workers, worker)
	})
	h.settled()
	h.wants("primary", http.MethodGet, "podinfo.local", "/")

	h.stop()
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", h.users); err == nil {
		_ = conn.Close()
		t.Error("somebody still listens after Run has ended")
	}
	if got := h.metric("nginx_ingress_controller_nginx_process_num_procs"); got != 0 {
		t.Errorf("%v processes are left, want none", got)
	}
}

func TestLastRequestIsAnswered(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		fmt.Fprint(w, "late")
	}))
	t.Cleanup(slow.Close)
	h := start(t, map[string]*httptest.Server{"podinfo": slow}, podinfo())
	answer := make(chan string)
	go func() {
		text, err := h.ask(http.MethodGet, "podinfo.local", "/")
		answer <- fmt.Sprint(text, err)
	}()
	<-arrived
	go h.stop()
	h.until("nobody listens any more", func() bool {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", h.users)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	close(release)
	if got := <-answer; got != "late<nil>" {
		t.Errorf("the last request got %s, want its answer", got)
	}
	h.stop()
}

func TestTakenAddressIsAnError(t *testing.T) {
	taken := pod(t, "somebody else")
	c, err := New(Config{
		Client: fake.NewClientset(), NGINX: nginxPath(t), Dir: t.TempDir(), Listen: taken.Listener.Addr().String(),
		Metrics: freeAddress(t), Class: "nginx", Log: slog.New(slog.NewTextHandler(logTo{t}, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "bind()") {
		t.Errorf("Run says %v, want that it can not bind", err)
	}
}

func TestNextPause(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct{ last, ran, want time.Duration }{
		"the first restart is at once":   {0, 0, firstPause},
		"the second waits":               {firstPause, s, s},
		"then it doubles":                {4 * s, s, 8 * s},
		"up to a limit":                  {20 * s, s, 30 * s},
		"after a long run it is at once": {30 * s, 30 * s, firstPause},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nextPause(c.last, c.ran); got != c.want {
				t.Errorf("pause %s, want %s", got, c.want)
			}
		})
	}
}
