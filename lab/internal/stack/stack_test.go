package stack

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/apiserver"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/cluster"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
)

// world is a cluster with an API and nothing that follows it: whatever is asked for there counts as running. Charts
// bring a Deployment of their own name.
type world struct {
	t      *testing.T
	access cluster.Access
	client *kube.Client

	mu    sync.Mutex
	calls []string // of the engine; guarded by mu
}

const flaggerDefinitions = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %s.flagger.app}
spec:
  group: flagger.app
  scope: Namespaced
  names: {plural: %[1]s, singular: %[2]s, kind: %[3]s, listKind: %[3]sList}
  versions: [{name: v1beta1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

func newWorld(t *testing.T) *world {
	t.Helper()
	server := apiserver.New(apiserver.Config{Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	api := httptest.NewServer(server)
	t.Cleanup(api.Close)
	t.Cleanup(server.Close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: x, clusters: [{name: x, cluster: {server: "%s"}}], contexts: [{name: x, context: {cluster: x}}]}`, api.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, access: cluster.Access{Kubeconfig: kubeconfig}}
	var err error
	if w.client, err = w.access.Client(); err != nil {
		t.Fatal(err)
	}
	w.runEverything(api.URL)
	return w
}

// runEverything lets each Deployment be available as soon as it is there.
func (w *world) runEverything(url string) {
	core, err := kubernetes.NewForConfig(&rest.Config{Host: url, QPS: 500, Burst: 500})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			list, err := core.AppsV1().Deployments("").List(ctx, metav1.ListOptions{})
			for i := 0; err == nil && i < len(list.Items); i++ {
				d := list.Items[i]
				n := *d.Spec.Replicas
				d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
				_, _ = core.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, &d, metav1.UpdateOptions{}) // seen again in a moment
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	w.t.Cleanup(func() { cancel(); running.Wait() })
}

func (w *world) called(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, fmt.Sprintf(format, args...))
}

// since are the calls since the last time.
func (w *world) since() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return calls
}

func (w *world) apply(namespace, text string) {
	w.t.Helper()
	objects, err := kube.Parse([]byte(text))
	if err == nil {
		err = w.client.Apply(w.t.Context(), namespace, objects)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// upgrade stands for helm: it brings what this package waits for.
func (w *world) upgrade(ctx context.Context, r chart.Release) error {
	w.called("helm %s", strings.Join(r.Args(), " "))
	name := r.Name
	if name == "ingress-nginx" {
		name += "-controller"
	}
	text := fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: %s}, spec: {selector: {matchLabels: {a: b}},
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}`, name)
	if name == "flagger" {
		for _, n := range [][3]string{{"canaries", "canary", "Canary"}, {"metrictemplates", "metrictemplate", "MetricTemplate"}, {"alertproviders", "alertprovider", "AlertProvider"}} {
			text += "\n---" + fmt.Sprintf(flaggerDefinitions, n[0], n[1], n[2])
		}
	}
	objects, err := kube.Parse([]byte(text))
	if err != nil {
		return err
	}
	return w.client.Apply(ctx, r.Namespace, objects)
}

func (w *world) uninstall(_ context.Context, namespace, name string) error {
	w.called("uninstall %s of %s", name, namespace)
	return nil
}

func (w *world) stack(cfg Config) *Stack {
	w.t.Helper()
	yes := func(context.Context) (bool, error) { return true, nil }
	put := func(_ context.Context, i cluster.Image) (string, error) {
		tag := i.Tag
		if tag == "" {
			tag = "dev-1"
		}
		return "registry.example/" + i.Name + ":" + tag, nil
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		w.t.Fatal(err)
	}
	cfg.Root = root
	cfg.Engine = cluster.Engine{Name: "test", Access: w.access, Made: yes, Put: put, Upgrade: w.upgrade, Uninstall: w.uninstall}
	cfg.AppVersions = []string{"1.0.0", "2.0.0"}
	return New(cfg)
}

func up(t *testing.T, s *Stack) {
	t.Helper()
	if err := Run(t.Context(), &Progress{Out: t.Output()}, s.Steps()); err != nil {
		t.Fatal(err)
	}
}

func TestNetworkPoliciesAreForAllOfOurCharts(t *testing.T) {
	w := newWorld(t)
	s := w.stack(Config{NetworkPolicies: true})
	up(t, s)
	for _, call := range w.since() {
		_, ours, _ := strings.Cut(call, s.Root+"/helm/")
		if has := strings.Contains(call, "network-polic"); has != (ours != "") {
			t.Errorf("called %s", call)
		}
	}
}

func TestUpInstallsEverythingOnce(t *testing.T) {
	w := newWorld(t)
	more := filepath.Join(t.TempDir(), "more.yaml")
	write := func(text string) {
		if err := os.WriteFile(more, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a: 1\n")
	s := w.stack(Config{IngressValues: []string{more}, GatekeeperVolume: "/data", Traces: ReceiverURL})
	up(t, s)
	root := s.Root
	want := []string{
		"helm upgrade --install ingress-nginx ingress-nginx --repo https://kubernetes.github.io/ingress-nginx --version 4.15.1 --namespace ingress-nginx" +
			" --values " + root + "/flagger/values-ingress-nginx.yaml --values " + root + "/lab/values/ingress-nginx.yaml --values " + more,
		"helm upgrade --install flagger flagger --repo https://flagger.app --version 1.44.0 --namespace flagger-system --values " + root + "/flagger/values-flagger.yaml",
		"helm upgrade --install gatekeeper " + root + "/helm/gatekeeper --namespace rollout-system --values " + root + "/lab/values/gatekeeper.yaml" +
			" --set-string image.repository=registry.example/gatekeeper --set-string image.tag=dev-1 --set-string tracing.endpoint=http://receiver.rollout-system:8080" +
			" --set-string persistence.hostPath=/data",
		"helm upgrade --install loadgen " + root + "/helm/loadgen --namespace rollout-system --values " + root + "/lab/values/loadgen.yaml" +
			" --set-string image.repository=registry.example/loadgen --set-string image.tag=dev-1 --set-string tracing.endpoint=http://receiver.rollout-system:8080",
	}
	if got := w.since(); !slices.Equal(got, want) {
		t.Errorf("called\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if s.AppRepository() != "registry.example/app" {
		t.Errorf("the app's repository is %q", s.AppRepository())
	}
	for _, deployment := range [][2]string{{MonitoringNamespace, "prometheus"}, {MonitoringNamespace, "alertmanager"}, {SystemNamespace, "receiver"}} {
		if r, err := w.client.Release(t.Context(), deployment[0], deployment[1]); err != nil || !r.Ready {
			t.Errorf("%v: %+v, %v", deployment, r, err)
		}
	}

	tokens := secrets(t, w)
	if tokens[0] == "" || tokens[1] == "" || tokens[1] != tokens[2] || tokens[3] == "" {
		t.Errorf("the tokens are %q, and Alertmanager must have the gatekeeper's", tokens)
	}

	up(t, w.stack(s.Config))
	if got := secrets(t, w); got != tokens {
		t.Errorf("tokens have become others: %q, were %q", got, tokens)
	}
	if got := w.since(); len(got) > 0 {
		t.Errorf("nothing has changed, but called\n%s", strings.Join(got, "\n"))
	}

	write("a: 2\n")
	up(t, w.stack(s.Config))
	if got := w.since(); len(got) != 1 || !strings.Contains(got[0], " ingress-nginx ") {
		t.Errorf("values of ingress-nginx have changed, but called %q", got)
	}
}

// secrets are the values that tokensStep makes.
func secrets(t *testing.T, w *world) (values [4]string) {
	t.Helper()
	for i, at := range [][3]string{
		{SystemNamespace, TokensSecret, OperatorToken},
		{SystemNamespace, TokensSecret, alertsToken},
		{MonitoringNamespace, alertmanagerSecret, gatekeeperToken},
		{MonitoringNamespace, alertmanagerSecret, slackURL},
	} {
		var err error
		if values[i], err = w.client.Secret(t.Context(), at[0], at[1], at[2]); err != nil {
			t.Fatal(err)
		}
	}
	return values
}

func TestViewsAreInstalledWhenAskedFor(t *testing.T) {
	for _, views := range []bool{false, true} {
		w := newWorld(t)
		up(t, w.stack(Config{Views: views}))
		for _, name := range []string{"grafana", "jaeger", "otel-collector"} {
			r, err := w.client.Release(t.Context(), MonitoringNamespace, name)
			if ready := err == nil && r.Ready; ready != views {
				t.Errorf("asked for: %v, but %s is %+v, %v", views, name, r, err)
			}
		}
	}
}

func TestUpTakesOtherCharts(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	for _, chart := range []string{"flagger.tgz", "nginx.tgz"} {
		if err := os.WriteFile(filepath.Join(dir, chart), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	up(t, w.stack(Config{FlaggerChart: dir + "/flagger.tgz", IngressChart: dir + "/nginx.tgz"}))
	calls := strings.Join(w.since(), "\n")
	for _, want := range []string{"--install flagger " + dir + "/flagger.tgz --namespace", "--install ingress-nginx " + dir + "/nginx.tgz --namespace"} {
		if !strings.Contains(calls, want) {
			t.Errorf("no %q in\n%s", want, calls)
		}
	}
	if strings.Contains(calls, "--repo") {
		t.Errorf("a public repository was asked:\n%s", calls)
	}
}

func TestAnEngineMayBringPartsItself(t *testing.T) {
	w := newWorld(t)
	s := w.stack(Config{})
	ready := false
	s.Engine.Before = []cluster.Task{{Name: "packages", Run: func(context.Context) error { ready = true; return nil }}}
	beside := false
	s.Engine.Beside = []cluster.Task{{Name: "a program", Run: func(context.Context) error { beside = true; return nil }}}
	s.Engine.Flagger = func(context.Context) (string, error) { return filepath.Join(s.Root, "helm", "gatekeeper"), nil }
	s.Engine.Ingress = []byte(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: ingress-nginx-controller}, spec: {selector: {matchLabels: {a: b}},
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: own}]}}}}`)
	up(t, s)
	calls := strings.Join(w.since(), "\n")
	if !ready || !beside || strings.Contains(calls, "install ingress-nginx") || !strings.Contains(calls, "--install flagger "+s.Root+"/helm/gatekeeper --namespace") {
		t.Errorf("tasks done: %v, %v; called\n%s", ready, beside, calls)
	}
	if r, err := w.client.Release(t.Context(), IngressNamespace, "ingress-nginx-controller"); err != nil || r.Image != "own" {
		t.Errorf("the ingress controller is %+v, %v", r, err)
	}
}

func TestAGatewayTakesThePlaceOfTheIngress(t *testing.T) {
	w := newWorld(t)
	s := w.stack(Config{Provider: GatewayAPI})
	up(t, s)
	if calls := strings.Join(w.since(), "\n"); strings.Contains(calls, "ingress-nginx") || s.EntryURL() != "http://traefik.traefik" {
		t.Errorf("users go to %s; called\n%s", s.EntryURL(), calls)
	}
	if r, err := w.client.Release(t.Context(), GatewayNamespace, "traefik"); err != nil || !r.Ready {
		t.Errorf("the Gateway's controller is %+v, %v", r, err)
	}
	rules, err := s.monitoring().text()
	if err != nil || strings.Contains(string(rules), "nginx_ingress_controller_requests") {
		t.Errorf("the rules count what ingress-nginx counts, and there is none: %v", err)
	}
	if text := definitionLabels(t, w); !strings.Contains(text, routeDefinition) || strings.Count(text, ownedKey+": "+ownedValue) != 3+8 {
		t.Errorf("Flagger's three definitions and the Gateway API's eight must be there and ours:\n%s", text)
	}
	up(t, w.stack(s.Config))
	if got := w.since(); len(got) > 0 {
		t.Errorf("nothing has changed, but called %q", got)
	}
	if err := Run(t.Context(), &Progress{Out: t.Output()}, s.Down("demo", "podinfo")); err != nil {
		t.Fatal(err)
	}
	if text := definitionLabels(t, w); strings.Contains(text, "gateway.networking.k8s.io") {
		t.Errorf("the Gateway API's definitions are still there:\n%s", text)
	}
}

func definitionLabels(t *testing.T, w *world) string {
	t.Helper()
	text, err := w.client.YAML(t.Context(), "", "customresourcedefinitions.apiextensions.k8s.io")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestOnlyOurOwnDefinitionsAreClaimed(t *testing.T) {
	w := newWorld(t)
	up(t, w.stack(Config{}))
	if n := strings.Count(definitionLabels(t, w), ownedKey+": "+ownedValue); n != 3 {
		t.Errorf("on an empty cluster Flagger's three definitions are ours, labelled are %d", n)
	}
	w = newWorld(t)
	w.apply("", fmt.Sprintf(flaggerDefinitions, "canaries", "canary", "Canary"))
	up(t, w.stack(Config{}))
	if n := strings.Count(definitionLabels(t, w), ownedKey+": "+ownedValue); n != 0 {
		t.Errorf("definitions that were there are not ours, labelled are %d", n)
	}
}

func TestANamespaceOfSomebodyElseIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{FlaggerNamespace, "demo"} {
		if err := w.client.CreateNamespace(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	s := w.stack(Config{})
	err := Run(t.Context(), &Progress{Out: t.Output()}, s.Steps())
	if err == nil || !strings.Contains(err.Error(), "namespace flagger-system was not made by lab") {
		t.Errorf("got %v", err)
	}
	if err := s.Empty(t.Context(), "demo", "podinfo"); err == nil || !strings.Contains(err.Error(), "was not made by lab") {
		t.Errorf("got %v", err)
	}
	_ = Run(t.Context(), &Progress{Out: t.Output()}, s.Down("demo", "podinfo")[3:])
	for _, call := range w.since() {
		if strings.Contains(call, "install flagger") {
			t.Errorf("called %s", call)
		}
	}
	for _, name := range []string{FlaggerNamespace, "demo"} {
		if is, err := w.client.Namespace(t.Context(), name); is == nil || err != nil {
			t.Errorf("%s is gone: %v", name, err)
		}
	}
}

func TestDownTakesAwayWhatUpMade(t *testing.T) {
	w := newWorld(t)
	s := w.stack(Config{})
	up(t, s)
	if err := s.Namespace(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	w.apply("demo", `{apiVersion: flagger.app/v1beta1, kind: Canary, metadata: {name: podinfo}}`)
	w.since()
	for range 2 { // a second time there is nothing left, which is fine
		if err := Run(t.Context(), &Progress{Out: t.Output()}, s.Down("demo", "podinfo")); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"uninstall podinfo of demo", "uninstall loadgen of rollout-system", "uninstall gatekeeper of rollout-system",
		"uninstall flagger of flagger-system", "uninstall ingress-nginx of ingress-nginx",
	}
	if got := w.since(); !slices.Equal(got, want) {
		t.Errorf("called %q, want %q", got, want)
	}
	for _, name := range []string{"demo", SystemNamespace, FlaggerNamespace, MonitoringNamespace, IngressNamespace} {
		if is, err := w.client.Namespace(t.Context(), name); is != nil || err != nil {
			t.Errorf("namespace %s is still there: %v", name, err)
		}
	}
	if text := definitionLabels(t, w); strings.Contains(text, "flagger.app") {
		t.Errorf("Flagger's definitions are still there:\n%s", text)
	}
}

func TestDownOfAClusterOfOursIsOneStep(t *testing.T) {
	removed := false
	s := newWorld(t).stack(Config{})
	s.Engine.Remove = func(context.Context) error { removed = true; return nil }
	if err := Run(t.Context(), &Progress{Out: t.Output()}, s.Down("demo", "podinfo")); err != nil || !removed {
		t.Errorf("removed is %v, %v", removed, err)
	}
}

func TestLogsSayWhatCanNotBeHad(t *testing.T) {
	w := newWorld(t)
	w.apply("default", `{apiVersion: v1, kind: Event, metadata: {name: e}, message: something happened, involvedObject: {kind: Pod, name: p, namespace: default}}`)
	folder := filepath.Join(t.TempDir(), "logs")
	if err := w.stack(Config{}).Logs(t.Context(), folder, "demo"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"events.yaml": "something happened", "objects.yaml": "find canaries.flagger.app", "rollouts.json": "gatekeeper"} {
		if text, err := os.ReadFile(filepath.Join(folder, name)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s has no %q: %s %v", name, want, text, err)
		}
	}
}
