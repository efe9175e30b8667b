package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
)

// release is a set of pods behind the name of a headless Service, each a real
// server on an address of its own.
type release struct {
	t    *testing.T
	port string
	pods map[string]*service // by name

	mu    sync.Mutex
	order []string // the addresses that the name has now
	fail  error    // of the look-up
}

func (r *release) lookup(_ context.Context, host string) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if host != "app-pods" {
		return nil, fmt.Errorf("no such host: %s", host)
	}
	return slices.Clone(r.order), r.fail
}

func (r *release) set(change func(order []string) []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.order = change(slices.Clone(r.order))
}

// listen opens address:port, any port for the first.
func (r *release) listen(address string) net.Listener {
	r.t.Helper()
	listener, err := new(net.ListenConfig).Listen(r.t.Context(), "tcp", net.JoinHostPort(address, r.port))
	if err != nil {
		r.t.Fatal(err)
	}
	if _, r.port, err = net.SplitHostPort(listener.Addr().String()); err != nil {
		r.t.Fatal(err)
	}
	return listener
}

func (r *release) serve(listener net.Listener, handler http.Handler) string {
	server := httptest.NewUnstartedServer(handler)
	if err := server.Listener.Close(); err != nil { // the one it made for itself
		r.t.Fatal(err)
	}
	server.Listener = listener
	server.Start()
	r.t.Cleanup(server.Close)
	host, _, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.set(func(order []string) []string { return append(order, host) })
	return server.URL
}

// add starts one pod. Its address is 127.0.0.n.
func (r *release) add(name, revision string, change ...func(*Config)) *service {
	r.t.Helper()
	listener := r.listen(fmt.Sprintf("127.0.0.%d", len(r.pods)+1))
	s := build(r.t, secret, append([]func(*Config){func(cfg *Config) {
		cfg.Hostname, cfg.Revision = name, revision
		cfg.Peers, cfg.Lookup = "app-pods:"+r.port, r.lookup
		cfg.Propagator = propagation.TraceContext{}
	}}, change...)...)
	s.url = r.serve(listener, s.Handler())
	r.pods[name] = s
	return s
}

// deploy starts three primaries and three canaries.
func deploy(t *testing.T) *release {
	t.Helper()
	r := &release{t: t, port: "0", pods: map[string]*service{}}
	for i := range 3 {
		r.add(fmt.Sprintf("primary-%d", i+1), "old")
		r.add(fmt.Sprintf("canary-%d", i+1), "new")
	}
	return r
}

// failing names the pods that answer users with 500.
func (r *release) failing() []string {
	r.t.Helper()
	failing := []string{}
	for name, pod := range r.pods {
		if pod.do("GET", "/api/items", "").status == 500 {
			failing = append(failing, name)
		}
	}
	slices.Sort(failing)
	return failing
}

func (r *release) wantFailing(want ...string) {
	r.t.Helper()
	if got := r.failing(); !slices.Equal(got, want) {
		r.t.Errorf("users of %v get errors, want those of %v", got, want)
	}
}

// toldAnswer is what the pod says that passed something on.
type toldAnswer struct {
	Applied       []string
	OtherRevision int
	Failed        []struct{ Address, Cause string }
	Revisions     []string
	Detail        string
}

func read(t *testing.T, a answer, status int) toldAnswer {
	t.Helper()
	var got toldAnswer
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != status {
		t.Fatalf("got %d %s, want %d: %v", a.status, a.body, status, err)
	}
	return got
}

func canaries() []string { return []string{"canary-1", "canary-2", "canary-3"} }

const breakAll = `{"errorRate":1,"ttl":"10m","scope":"version"}`

func TestAPlanForAVersionReachesAllItsPodsAndNoOther(t *testing.T) {
	r := deploy(t)
	got := read(t, r.pods["canary-2"].admin("PUT", breakAll), 200)
	if !slices.Equal(got.Applied, canaries()) || got.OtherRevision != 3 || len(got.Failed) != 0 {
		t.Errorf("got %+v", got)
	}
	r.wantFailing(canaries()...)

	// Its life ends everywhere by itself.
	for _, pod := range r.pods {
		pod.clock.advance(10 * time.Minute)
	}
	r.wantFailing()

	// Through a pod of another revision, as an ingress may choose: by the revision's name.
	got = read(t, r.pods["primary-1"].admin("PUT", `{"errorRate":1,"ttl":"10m","scope":"version","revision":"new"}`), 200)
	if !slices.Equal(got.Applied, canaries()) || got.OtherRevision != 3 {
		t.Errorf("got %+v", got)
	}
	r.wantFailing(canaries()...)

	// Deleting it at one of them ends it at all.
	got = read(t, r.pods["canary-3"].admin("DELETE", ""), 200)
	if !slices.Equal(got.Applied, canaries()) {
		t.Errorf("got %+v", got)
	}
	r.wantFailing()
}

func TestAVersionIsClearedThroughAnyPod(t *testing.T) {
	r := deploy(t)
	clear := func(pod, query string) answer {
		return r.pods[pod].do("DELETE", "/chaos"+query, "", "Authorization", "Bearer "+secret)
	}
	read(t, r.pods["canary-1"].admin("PUT", breakAll), 200)
	clear("primary-1", "") // has no plan: clears nothing but itself
	r.wantFailing(canaries()...)
	read(t, clear("primary-1", "?scope=version&revision=new"), 200)
	r.wantFailing()

	read(t, r.pods["canary-1"].admin("PUT", breakAll), 200)
	clear("canary-1", "?scope=pod")
	r.wantFailing("canary-2", "canary-3")
	read(t, clear("canary-1", "?scope=version"), 200)
	r.wantFailing()

	isProblem(t, clear("canary-1", "?scope=all"), 400, "scope")
	isProblem(t, clear("canary-1", "?revision=new"), 400, "revision")
	read(t, clear("canary-1", "?scope=version&revision=newest"), 404)
}

func TestAPlanWithScopePodStaysInItsPod(t *testing.T) {
	r := deploy(t)
	r.pods["canary-1"].admin("PUT", `{"errorRate":1,"ttl":"10m"}`)
	r.wantFailing("canary-1")
}

func TestARevisionThatDoesNotExistIsNotFoundAndChangesNothing(t *testing.T) {
	r := deploy(t)
	got := read(t, r.pods["canary-1"].admin("PUT", `{"errorRate":1,"ttl":"10m","scope":"version","revision":"newest"}`), 404)
	if !slices.Equal(got.Revisions, []string{"new", "old"}) || got.OtherRevision != 6 {
		t.Errorf("got %+v", got)
	}
	r.wantFailing()
}

func TestASiblingThatIsDeadIsNamedAndTheOthersHaveThePlan(t *testing.T) {
	t.Parallel() // it waits for three seconds of trying again
	for name, trouble := range map[string]func(r *release, listener net.Listener){
		"it refuses": func(r *release, listener net.Listener) {
			if err := listener.Close(); err != nil {
				r.t.Fatal(err)
			}
		},
		"it hangs": func(*release, net.Listener) {}, // its connections are never accepted
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := deploy(t)
			listener := r.listen("127.0.0.9")
			defer listener.Close()
			r.set(func(order []string) []string { return append(order, "127.0.0.9") })
			trouble(r, listener)
			got := read(t, r.pods["canary-1"].admin("PUT", breakAll), 502)
			if !slices.Equal(got.Applied, canaries()) || len(got.Failed) != 1 || got.Failed[0].Address != "127.0.0.9" || got.Failed[0].Cause == "" {
				t.Errorf("got %+v", got)
			}
			if !strings.Contains(got.Detail, "3 pods of revision new took it") || !strings.Contains(got.Detail, "DELETE /chaos?scope=version&revision=new") {
				t.Errorf("the answer does not say what to do: %s", got.Detail)
			}
			r.wantFailing(canaries()...)

			// Once it is gone from the name too, repeating the request succeeds.
			r.set(func(order []string) []string { return order[:len(order)-1] })
			read(t, r.pods["canary-1"].admin("PUT", breakAll), 200)
		})
	}
}

func TestPodsThatComeAndGoWhileAPlanIsPassedOnAreNoFailure(t *testing.T) {
	r := deploy(t)
	r.set(func(order []string) []string { return append(order, "127.0.0.9") }) // nobody listens there
	looks := 0
	canary := r.add("canary-4", "new", func(cfg *Config) {
		cfg.Lookup = func(ctx context.Context, host string) ([]string, error) {
			if looks++; looks == 2 { // the dead pod goes, a new one comes
				r.set(func(order []string) []string {
					return slices.DeleteFunc(order, func(a string) bool { return a == "127.0.0.9" })
				})
				r.add("canary-5", "new")
			}
			return r.lookup(ctx, host)
		}
	})
	got := read(t, canary.admin("PUT", breakAll), 200)
	if want := append(canaries(), "canary-4", "canary-5"); !slices.Equal(got.Applied, want) {
		t.Errorf("got %+v, want %v", got, want)
	}
	r.wantFailing(append(canaries(), "canary-4", "canary-5")...)
	for name, pod := range r.pods { // nobody was told twice because another had to be asked again
		if n := strings.Count(pod.log.String(), `"msg":"chaos plan set"`); strings.HasPrefix(name, "canary") && n != 1 {
			t.Errorf("%s was told %d times", name, n)
		}
	}
}

func TestAPodThatIsNotBehindTheNameYetAppliesThePlanToItself(t *testing.T) {
	r := deploy(t)
	r.set(func([]string) []string { return nil })
	got := read(t, r.pods["canary-1"].admin("PUT", breakAll), 200)
	if !slices.Equal(got.Applied, []string{"canary-1"}) {
		t.Errorf("got %+v", got)
	}
	r.wantFailing("canary-1")
}

func TestALookUpThatFailsIsSaidAndChangesNothing(t *testing.T) {
	t.Parallel() // it waits for three seconds of trying again
	r := deploy(t)
	r.fail = errors.New("the name server is away")
	got := read(t, r.pods["canary-1"].admin("PUT", breakAll), 502)
	if len(got.Failed) != 1 || got.Failed[0].Address != "app-pods" || !strings.Contains(got.Failed[0].Cause, "is away") {
		t.Errorf("got %+v", got)
	}
	r.wantFailing()
}

func TestASiblingMayHaveAnIPv6Address(t *testing.T) {
	t.Parallel() // it waits for three seconds of trying again
	r := deploy(t)
	r.set(func(order []string) []string { return append(order, "::1") })
	got := read(t, r.pods["canary-1"].admin("PUT", breakAll), 502) // nobody listens there
	if len(got.Failed) != 1 || !strings.Contains(got.Failed[0].Cause, "dial tcp [::1]:"+r.port) {
		t.Errorf("got %+v", got)
	}
}

func TestSiblingsThatCanNotBeAskedAreOfAnotherRevision(t *testing.T) {
	r := deploy(t)
	r.add("primary-4", "old", func(cfg *Config) { cfg.ChaosToken = "another token" })
	r.add("primary-5", "old", func(cfg *Config) { cfg.ChaosToken = "" })
	got := read(t, r.pods["canary-1"].admin("PUT", breakAll), 200)
	if !slices.Equal(got.Applied, canaries()) || got.OtherRevision != 5 {
		t.Errorf("got %+v", got)
	}
}

func TestASiblingThatRefusesTheTokenOrSendsAwayIsAFailure(t *testing.T) {
	t.Parallel() // it waits for three seconds of trying again
	r := deploy(t)
	r.add("canary-4", "new", func(cfg *Config) { cfg.ChaosToken = "another token" })
	var stolen string
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) { stolen = q.Header.Get("Authorization") }))
	defer thief.Close()
	r.serve(r.listen("127.0.0.10"), http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	got := read(t, r.pods["canary-1"].admin("PUT", breakAll), 502)
	if len(got.Failed) != 2 || !strings.Contains(got.Failed[0].Cause, "307") || !strings.Contains(got.Failed[1].Cause, "401") {
		t.Errorf("got %+v", got)
	}
	if stolen != "" {
		t.Error("the token went to where the redirect leads")
	}
}

func TestAForwardedPlanIsNeverForwardedAgain(t *testing.T) {
	r := deploy(t)
	pod := r.pods["canary-1"]
	header := []string{"Authorization", "Bearer " + secret, "Chaos-Revision", "new"}
	if got := pod.do("PUT", "/chaos", `{"errorRate":1,"ttl":"1m","scope":"version","revision":"new"}`, header...); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	r.wantFailing("canary-1")
	if got := pod.do("DELETE", "/chaos", "", header...); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	r.wantFailing()
	header[3] = "newest"
	isProblem(t, pod.do("PUT", "/chaos", breakAll, header...), 409, "")
	isProblem(t, pod.do("PUT", "/chaos", breakAll, "Chaos-Revision", "new"), 401, "")
	r.wantFailing()
}

func TestEveryChangeOfAVersionIsInTheLogOfItsPod(t *testing.T) {
	r := deploy(t)
	const trace = "0af7651916cd43dd8448eb211c80319c"
	headers := []string{"Authorization", "Bearer " + secret, "Traceparent", "00-" + trace + "-b7ad6b7169203331-01"}
	read(t, r.pods["primary-1"].do("PUT", "/chaos", `{"errorRate":1,"ttl":"10m","scope":"version","revision":"new"}`, headers...), 200)
	for _, name := range canaries() {
		line := logged(t, r.pods[name].log, "chaos plan set")
		if line["by"] != "127.0.0.1" || line["scope"] != "version" || line["until"] == nil || line["plan"] == nil {
			t.Errorf("%s logged %v", name, line)
		}
	}
	if line := logged(t, r.pods["primary-1"].log, "chaos passed on"); line["revision"] != "new" || line["otherRevision"] != 3.0 {
		t.Errorf("logged %v", line)
	}
}

// logged finds the one line with this message.
func logged(t *testing.T, l *logs, msg string) map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range bytes.Lines([]byte(l.String())) {
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatal(err)
		}
		if fields["msg"] == msg {
			found = append(found, fields)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d lines say %q:\n%s", len(found), msg, l)
	}
	return found[0]
}

func TestScopeVersionSaysWhatIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no addresses of siblings": {func(cfg *Config) { cfg.Peers = "" }, "APP_PEERS"},
		"no revision":              {func(cfg *Config) { cfg.Revision = "" }, "REVISION"},
		"revision none":            {func(cfg *Config) { cfg.Revision = "none" }, "REVISION"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &release{t: t, port: "0", pods: map[string]*service{}}
			s := r.add("pod", "new", c.change)
			for _, got := range []answer{
				s.admin("PUT", breakAll),
				s.do("DELETE", "/chaos?scope=version", "", "Authorization", "Bearer "+secret),
			} {
				isProblem(t, got, 400, "scope")
				if !strings.Contains(got.body, c.want) {
					t.Errorf("the answer does not say what is missing: %s", got.body)
				}
			}
			r.wantFailing()
		})
	}
	if err := build(t, secret).StartChaos([]byte(breakAll)); err == nil || !strings.HasPrefix(err.Error(), "scope ") {
		t.Errorf("a start-up plan for a version: %v", err)
	}
}

func TestNewRefusesWhatCanNotWork(t *testing.T) {
	good := Config{Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	for name, change := range map[string]func(*Config){
		"no clock":               func(cfg *Config) { cfg.Now = nil },
		"chaos without a crash":  func(cfg *Config) { cfg.ChaosToken = "a" },
		"peers without look-up":  func(cfg *Config) { cfg.Peers = "a:1" },
		"peers without a port":   func(cfg *Config) { cfg.Peers, cfg.Lookup = "a", net.DefaultResolver.LookupHost },
		"peers without any host": func(cfg *Config) { cfg.Peers, cfg.Lookup = ":80", net.DefaultResolver.LookupHost },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			change(&cfg)
			if _, err := New(cfg); err == nil {
				t.Error("it is taken")
			}
		})
	}
}
