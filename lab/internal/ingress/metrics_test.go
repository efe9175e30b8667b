package ingress

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The names and labels are those of ingress-nginx, internal/ingress/metric/collectors: socket.go with --metrics-per-host
// (the default), controller.go and process.go.
func TestMetricsAreThoseOfIngressNginx(t *testing.T) {
	h := start(t, pods(t), podinfo(), canaryOf("podinfo-canary", "canary-weight", "100"))
	h.wants("canary", http.MethodGet, "podinfo.local", "/a")
	h.wants("canary", "BREW", "podinfo.local", "/b")
	h.until("the requests are counted", func() bool { return h.metric("nginx_ingress_controller_requests") == 2 })
	const controller = "controller_class=nginx controller_namespace=ingress-nginx controller_pod=controller-0"
	const request = "canary=test-podinfo-canary-80 " + controller + " host=podinfo.local ingress=podinfo method=GET namespace=test path=/ service=podinfo status=200"
	want := map[string]string{
		"nginx_ingress_controller_requests":                                        request,
		"nginx_ingress_controller_connect_duration_seconds":                        request,
		"nginx_ingress_controller_header_duration_seconds":                         request,
		"nginx_ingress_controller_response_duration_seconds":                       request,
		"nginx_ingress_controller_request_duration_seconds":                        request,
		"nginx_ingress_controller_request_size":                                    request,
		"nginx_ingress_controller_response_size":                                   request,
		"nginx_ingress_controller_bytes_sent":                                      request,
		"nginx_ingress_controller_ingress_upstream_latency_seconds":                "canary=test-podinfo-canary-80 " + controller + " ingress=podinfo namespace=test service=podinfo",
		"nginx_ingress_controller_config_hash":                                     controller,
		"nginx_ingress_controller_config_last_reload_successful":                   controller,
		"nginx_ingress_controller_config_last_reload_successful_timestamp_seconds": controller,
		"nginx_ingress_controller_success":                                         controller,
		"nginx_ingress_controller_errors":                                          controller,
		"nginx_ingress_controller_nginx_process_num_procs":                         controller,
		"nginx_ingress_controller_build_info":                                      "build=lab " + controller + " release=" + h.version() + " repository=",
	}
	for _, family := range h.families() {
		var labels []string
		for _, l := range family.GetMetric()[len(family.GetMetric())-1].GetLabel() {
			labels = append(labels, l.GetName()+"="+l.GetValue())
		}
		slices.Sort(labels)
		got := strings.Replace(strings.Join(labels, " "), "method=OTHER", "method=GET", 1)
		if wanted, known := want[family.GetName()]; !known || got != wanted {
			t.Errorf("%s has the labels\n%s, want\n%s", family.GetName(), got, wanted)
		}
		delete(want, family.GetName())
	}
	if len(want) > 0 {
		t.Errorf("not there: %v", want)
	}
	if got := h.metric("nginx_ingress_controller_requests", "method", "OTHER"); got != 1 {
		t.Errorf("a method of nobody is counted %v times as OTHER, want once", got)
	}
}

func (h *house) version() string {
	h.t.Helper()
	version, err := versionOf(h.controller.nginx.path)
	if err != nil || version == "" {
		h.t.Fatalf("version %q, %v", version, err)
	}
	return version
}
