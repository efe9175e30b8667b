package static

import (
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/crowd"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/stack"
)

// scraped are the series that Prometheus has: by their name, the values of each label. Values that are not a closed set,
// or not known here, are nil.
type scraped map[string]map[string][]string

// open are the labels whose values are anybody's: names of objects, versions, paths.
var open = []string{"namespace", "canary", "pod", "app", "job", "instance", "version", "revision", "commit", "rollout", "stable", "attack", "code", "status", "method", "route", "sink", "le"}

func (s scraped) add(name, label string, value ...string) {
	if s[name] == nil {
		s[name] = map[string][]string{}
	}
	switch {
	case label == "":
	case slices.Contains(open, label):
		s[name][label] = nil
	default:
		s[name][label] = append(s[name][label], value...)
	}
}

// histogram adds the bound of its buckets and returns the names of its series.
func (s scraped) histogram(name string) []string {
	s.add(name+"_bucket", "le")
	return []string{name + "_bucket", name + "_sum", name + "_count"}
}

// families adds what a page of metrics shows.
func (s scraped) families(families map[string]*dto.MetricFamily) {
	for name, family := range families {
		for _, m := range family.GetMetric() {
			names := []string{name}
			switch family.GetType() {
			case dto.MetricType_HISTOGRAM:
				names = s.histogram(name)
			case dto.MetricType_SUMMARY:
				names = []string{name, name + "_sum", name + "_count"}
				s.add(name, "quantile")
			default:
			}
			for _, n := range names {
				s.add(n, "")
				for _, l := range m.GetLabel() {
					s.add(n, l.GetName(), l.GetValue())
				}
			}
		}
	}
}

// source adds the metrics that a package of another's module makes, read from its code: whatever is called with options
// that have a Name, followed by a list of labels. Their values are not known.
func (s scraped) source(t *testing.T, module, folder, prefix string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(moduleDir(t, module), folder, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("find the source of %s: %v, %v", module, files, err)
	}
	lists := map[string][]string{} // package variables that are lists of strings
	var calls []*ast.CallExpr
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.ValueSpec:
				for i, value := range node.Values {
					lists[node.Names[i].Name] = texts(value)
				}
			case *ast.CallExpr:
				calls = append(calls, node)
			}
			return true
		})
	}
	for _, call := range calls {
		name, histogram := optionsName(call)
		if name == "" || len(call.Args) < 2 {
			continue
		}
		labels := texts(call.Args[1])
		if variable, is := call.Args[1].(*ast.Ident); is {
			labels = lists[variable.Name]
		}
		names := []string{prefix + name}
		if histogram {
			names = s.histogram(prefix + name)
		}
		for _, n := range names {
			s.add(n, "")
			for _, l := range labels {
				s[n][l] = nil
			}
		}
	}
}

// optionsName is the Name in the options that a call begins with, such as prometheus.GaugeOpts{Name: "…"}.
func optionsName(call *ast.CallExpr) (name string, histogram bool) {
	if len(call.Args) == 0 {
		return "", false
	}
	argument := call.Args[0]
	if pointer, is := argument.(*ast.UnaryExpr); is {
		argument = pointer.X
	}
	options, is := argument.(*ast.CompositeLit)
	if !is {
		return "", false
	}
	kind, _ := options.Type.(*ast.SelectorExpr)
	for _, element := range options.Elts {
		if pair, is := element.(*ast.KeyValueExpr); is {
			if key, is := pair.Key.(*ast.Ident); is && key.Name == "Name" {
				if value := texts(pair.Value); len(value) == 1 {
					name = value[0]
				}
			}
		}
	}
	return name, kind != nil && kind.Sel.Name == "HistogramOpts"
}

// texts are the strings that an expression is made of, when it is one or a list of them.
func texts(expression ast.Expr) []string {
	switch e := expression.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil {
			return []string{text}
		}
	case *ast.CompositeLit:
		var all []string
		for _, element := range e.Elts {
			all = append(all, texts(element)...)
		}
		return all
	}
	return nil
}

// moduleDir is where the module proxy's copy of a module is.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	download := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	download.Dir, download.Env = t.TempDir(), append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	out, err := download.Output()
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("download %s: %v", module, err)
		}
		t.Skipf("the source of %s can not be had: %v", module, err)
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatal(err)
	}
	return found.Dir
}

// The programs run as they ship, with all that a metric may hang on: a chaos token, an attack, releases that wait, ended and
// were rehearsed, somebody to tell, a collector for traces.
func TestMetrics(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	app := startApp(t, "APP_CHAOS_TOKEN_FILE="+token)
	pages := map[string]map[string]*dto.MetricFamily{
		"app": scrape(t, app), "loadgen": scrape(t, startLoadgen(t, app)), "gatekeeper": scrape(t, startGatekeeper(t)),
	}
	t.Run("are documented", func(t *testing.T) {
		for program, families := range pages {
			agrees(t, program, families)
		}
	})
	t.Run("are all that queries read", func(t *testing.T) {
		all := scraped{"up": {}}
		for _, families := range pages {
			all.families(families)
		}
		all.source(t, "github.com/fluxcd/flagger@v"+stack.FlaggerVersion, "pkg/metrics", "flagger_")
		// Releases of the controller are no versions of the module. This is v1.11, whose labels are those of today.
		all.source(t, "k8s.io/ingress-nginx@v0.0.0-20240708192948-52c50467d67d", "internal/ingress/metric/collectors", "nginx_ingress_controller_")
		all.recorded(t, shipped)
		all.declared(t, filepath.Join(root, "monitoring", "slo.yaml"))
		queriesAreLive(t, all)
	})
}

// startLoadgen starts the load generator's service with one attack on a URL, and returns its own.
func startLoadgen(t *testing.T, target string) string {
	t.Helper()
	address := freeAddress(t)
	start(t, build(t, "loadgen"), "serve", "--listen", address, "--allowed-hosts", "127.0.0.1")
	url := "http://" + address
	wait(t, "the load generator", func() bool { return answers(t, url+"/healthz") })
	body := `{"name":"x","targets":[{"url":"` + target + `/api/items"}],"shape":"constant","rate":20,"duration":"1m"}`
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/api/v1/attacks", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); response.StatusCode > 299 {
		t.Fatalf("start an attack: %s %s", response.Status, text)
	}
	return url
}

// startGatekeeper starts the gatekeeper on a made-up cluster, with a release under analysis, one that waits for a person and
// a rehearsed one that was rolled back, and returns the URL of the people's door.
func startGatekeeper(t *testing.T) string {
	t.Helper()
	cluster, err := crowd.New(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	dir := t.TempDir()
	for name, text := range map[string]string{"kubeconfig": cluster.Kubeconfig(), "policies/default.yaml": "name: default\ngates: {approval: both}\n"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program, address := build(t, "gatekeeper"), freeAddress(t)
	url := "http://" + address
	begin := func() (end func()) {
		return start(t, program, "serve", "--hook-listen", freeAddress(t), "--listen", address, "--data", dir,
			"--policies", filepath.Join(dir, "policies"), "--kubeconfig", filepath.Join(dir, "kubeconfig"), "--webhook-url", "http://127.0.0.1:1/")
	}
	shows := func(n float64, name string) {
		t.Helper()
		wait(t, name, func() bool { return answers(t, url+"/readyz") && valueOf(scrape(t, url), name) >= n })
	}
	underWay := func(n float64) func() bool {
		return func() bool { return valueOf(scrape(t, url), "gatekeeper_rollouts_under_way") == n }
	}
	end := begin()
	release(t, cluster, "waits", false, 0, "Waiting", 0)
	shows(1, "gatekeeper_waiting_since_timestamp_seconds")
	bad := release(t, cluster, "bad", false, 1, "Progressing", 10)
	drill := release(t, cluster, "drill", true, 1, "Progressing", 10)
	good := release(t, cluster, "good", false, 0, "Progressing", 10)
	wait(t, "five releases under way", underWay(5))
	for _, step := range []error{
		bad.Move(t.Context(), "Failed", 0), drill.Move(t.Context(), "Failed", 0),
		good.Move(t.Context(), "Promoting", 100), good.Promote(t.Context(), "v2"), good.Move(t.Context(), "Succeeded", 0),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	wait(t, "the end of three of them", underWay(2))
	// The delivery metrics are worked out once a minute, and when it starts.
	end()
	begin()
	shows(2, "gatekeeper_dora_decided")
	wait(t, "the other two under way", underWay(2))
	shows(1, "gatekeeper_evidence_timestamp_seconds")
	return url
}

// release lets a Canary have a new version, which may be a rehearsal, a share of whose responses are errors, and brings it
// to a phase and weight.
func release(t *testing.T, cluster *crowd.Crowd, name string, drill bool, bad float64, phase string, weight int) *crowd.Member {
	t.Helper()
	member, err := cluster.Join(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	member.Annotations = map[string]string{
		"rollout.monitoring/drill": strconv.FormatBool(drill), "rollout.monitoring/commit-time": time.Now().Add(-time.Hour).Format(time.RFC3339),
	}
	if err := member.Release(t.Context(), "v2", bad); err != nil {
		t.Fatal(err)
	}
	if err := member.Move(t.Context(), phase, weight); err != nil {
		t.Fatal(err)
	}
	return member
}

// start runs a program until end, or the end of the test.
func start(t *testing.T, program string, args ...string) (end func()) {
	t.Helper()
	log := &strings.Builder{}
	command := exec.CommandContext(t.Context(), program, args...)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = command.Process.Signal(os.Interrupt) // one that has ended already shows below
			if err := command.Wait(); t.Failed() {
				t.Logf("%s %v: %v\n%s", program, args, err, log)
			}
		}
	}
	t.Cleanup(end)
	return end
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

func answers(t *testing.T, url string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// wait asks until there is what it waits for; half a minute without is a failure.
func wait(t *testing.T, what string, there func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !there(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited half a minute for %s", what)
		}
	}
}

// valueOf adds up the series of a counter or gauge.
func valueOf(families map[string]*dto.MetricFamily, name string) float64 {
	sum := 0.0
	for _, m := range families[name].GetMetric() {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sum
}
