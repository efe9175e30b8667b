package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/doctor"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
)

// cluster is an API server that has these Canaries and the Deployment podinfo-primary, and writes the way to it.
func cluster(t *testing.T, canaries string) (kubeconfig string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/apis/flagger.app/v1beta1/canaries", "/apis/flagger.app/v1beta1/namespaces/demo/canaries":
			fmt.Fprintf(w, `{"apiVersion":"flagger.app/v1beta1","kind":"CanaryList","items":[%s]}`, canaries)
		case "/apis/apps/v1/namespaces/demo/deployments/podinfo-primary":
			fmt.Fprint(w, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"demo","name":"podinfo-primary"},"status":{"availableReplicas":1}}`)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
		}
	}))
	t.Cleanup(server.Close)
	kubeconfig = filepath.Join(t.TempDir(), "config")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: c\n", server.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

const sick = `{"apiVersion":"flagger.app/v1beta1","kind":"Canary","metadata":{"namespace":"demo","name":"podinfo"},
	"spec":{"provider":"nginx","targetRef":{"kind":"Deployment","name":"podinfo"},"analysis":{"interval":"10s","threshold":10,"stepWeights":[10,50],
	"webhooks":[{"name":"ab\u001bort","type":"rollback","url":"http://gatekeeper:8080/healthz","metadata":{"policy":"careful"}}]}},"status":{"phase":"Succeeded"}}`

func TestDoctor(t *testing.T) {
	config := cluster(t, sick)
	policies := t.TempDir()
	if err := os.WriteFile(filepath.Join(policies, "careful.yaml"), []byte("name: careful\nbake: {first: 2m}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	down := httptest.NewServer(http.NotFoundHandler())
	defer down.Close()
	asked := ""
	prometheus := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.FormValue("query")
		fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1.2"]}]}}`)
	}))
	defer prometheus.Close()

	for name, c := range map[string]struct {
		args []string
		says []string
		err  string
		code int
	}{
		"errors end it with 3":                 {[]string{"demo/podinfo"}, []string{"demo/podinfo, policy careful: ", "error rollback-url  Canary spec.analysis.webhooks[0] (ab ort).url", "Change: let the URL end in /hooks/v1/rollback.", "traffic-unknown"}, "Canaries examined: 1", 3},
		"all Canaries without a name":          {nil, []string{"demo/podinfo"}, "Canaries examined: 1", 3},
		"a policy that is known":               {[]string{"--policies", policies}, []string{"policy careful"}, "errors found", 3},
		"a gatekeeper that does not answer":    {[]string{"--gatekeeper-url", down.URL}, []string{"gatekeeper-silent"}, "errors found", 3},
		"the traffic from Prometheus":          {[]string{"--prometheus", prometheus.URL, "--policies", policies}, []string{"At 1.2 requests/s the canary gets 0.12/s at 10 %"}, "errors found", 3},
		"a Prometheus that does not answer":    {[]string{"--prometheus", down.URL}, []string{"traffic-unknown", "ask Prometheus"}, "errors found", 3},
		"a Canary that is not there":           {[]string{"demo/none"}, nil, "unknown canary", 1},
		"half a name":                          {[]string{"podinfo"}, nil, "namespace/name", 1},
		"an output that is none":               {[]string{"--output", "xml"}, nil, "--output", 1},
		"no cluster where the kubeconfig says": {[]string{"--kubeconfig", "/none"}, nil, "kubeconfig", 1},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			err := run(t.Context(), append([]string{"doctor", "--kubeconfig", config}, c.args...), &out, &errs)
			if err == nil || !strings.Contains(err.Error(), c.err) || exitCode(err) != c.code {
				t.Errorf("error %v with code %d, want %q with %d", err, exitCode(err), c.err, c.code)
			}
			for _, want := range c.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, out.String())
				}
			}
			if strings.Contains(out.String(), "\x1b") {
				t.Error("colours, but no terminal")
			}
		})
	}
	t.Setenv("KUBECONFIG", config)
	var inherited bytes.Buffer
	if err := run(t.Context(), []string{"doctor", "demo/podinfo"}, &inherited, io.Discard); exitCode(err) != 3 || !strings.Contains(inherited.String(), "rollback-url") {
		t.Errorf("with kubectl's KUBECONFIG alone: %v\n%s", err, inherited.String())
	}
	if want := `sum(rate(http_requests_total{namespace="demo",pod=~"podinfo-primary-[0-9a-z]+-[0-9a-z]+"}[5m]))`; asked != want {
		t.Errorf("Prometheus was asked for\n%s, want\n%s", asked, want)
	}

	var out, errs bytes.Buffer
	_ = run(t.Context(), []string{"doctor", "--kubeconfig", config, "--output", "json"}, &out, &errs) // its error is tested above
	var all []examined
	if err := json.Unmarshal(out.Bytes(), &all); err != nil || len(all) != 1 || len(all[0].Findings) == 0 || all[0].Findings[0].Severity != doctor.Error {
		t.Errorf("error %v, JSON %s", err, out.String())
	}

	out.Reset()
	if err := run(t.Context(), []string{"doctor", "--kubeconfig", cluster(t, "")}, &out, &errs); err != nil || !strings.Contains(out.String(), "no Canary") {
		t.Errorf("an empty cluster: %v, %q", err, out.String())
	}
}

func TestRateOfTwoReadings(t *testing.T) {
	at := time.Unix(100, 0)
	before := reading{at, map[string]uint64{"a": 100, "restarted": 900, "gone": 5}, nil}
	after := reading{at.Add(5 * time.Second), map[string]uint64{"a": 160, "restarted": 3, "new": 70}, nil}
	if got := after.since(before); got != 12 {
		t.Errorf("60 requests in 5 s are %v/s, want 12", got)
	}
	if got := before.since(before); got != 0 {
		t.Errorf("no time in between gives %v", got)
	}
}

func TestExitCode(t *testing.T) {
	if got := exitCode(fmt.Errorf("run: %w", exitError{errors.New("x"), 3})); got != 3 {
		t.Errorf("a wrapped code is %d", got)
	}
	if got := exitCode(errors.New("x")); got != 1 {
		t.Errorf("any other error is %d", got)
	}
}

func TestColoursAreForTerminals(t *testing.T) {
	if got := painter(true)(doctor.Error); got != "\x1b[31merror\x1b[0m" && got != "\x1b[31merror\x1b[0;0m" {
		t.Errorf("on a terminal: %q", got)
	}
	if got := painter(false)(doctor.Warn); got != "warn " {
		t.Errorf("elsewhere: %q", got)
	}
}

func TestAPodThatHasAnsweredNothingIsNoTrouble(t *testing.T) {
	sli := policy.Default().SLI()
	const five, none, broken = "http_requests_total{status=\"200\"} 5\n", "process_start_time_seconds 1\n", "http_requests_total{status=\"200\"} -1\n"
	for name, test := range map[string]struct {
		pages   map[string]string
		want    map[string]uint64
		trouble string
	}{
		"one of two has answered":            {map[string]string{"a": five, "b": none}, map[string]uint64{"a": 5, "b": 0}, ""},
		"none has: it may have no counter":   {map[string]string{"a": none, "b": none}, nil, "the counter of responses is not on the metrics page"},
		"a page that can not be true counts": {map[string]string{"a": five, "b": broken}, nil, "pod b: "},
	} {
		got, err := counted(test.pages, sli)
		if !maps.Equal(got, test.want) || (err != nil) != (test.trouble != "") || err != nil && !strings.Contains(err.Error(), test.trouble) {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
}
