package stack

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/cluster"
)

// kubectlStub is a kubectl with a memory: namespaces it was told to create, and their annotations.
const kubectlStub = `#!/bin/sh
here=$(dirname "$0"); echo "kubectl $*" >>"$here/calls"
case "$*" in
"create -f -") sed -n 's/^  name: //p' >>"$here/ours" ;;
"get namespace --selector"*) sed 's|^|namespace/|' "$here/ours" 2>/dev/null || true ;;
"get namespace "*" -o name") grep -qx "$3" "$here/ours" "$here/foreign" 2>/dev/null && echo "namespace/$3" || true ;;
"get namespace "*jsonpath*) cat "$here/$3.$(echo "$*" | sed 's/.*lab-\([a-z-]*\).*/\1/')" 2>/dev/null || true ;;
"annotate namespace "*) step=${5%%=*}; printf %s "${5#*=}" >"$here/$3.${step##*lab-}" ;;
"get crd "*) ! [ -e "$here/crds" ] || echo crd ;;
esac
`

// machine is a PATH with stubs for kubectl and helm.
type machine struct {
	t   *testing.T
	dir string
}

func newMachine(t *testing.T) machine {
	t.Helper()
	m := machine{t, t.TempDir()}
	m.write("kubectl", kubectlStub)
	m.write("helm", "#!/bin/sh\necho \"helm $*\" >>$(dirname $0)/calls\n")
	t.Setenv("PATH", m.dir+":"+os.Getenv("PATH"))
	return m
}

func (m machine) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// calls gives those since the last time that begin with prefix.
func (m machine) calls(prefix string) []string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, "calls"))
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	m.write("calls", "")
	var found []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, prefix) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

func newStack(t *testing.T, cfg Config) *Stack {
	t.Helper()
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
		t.Fatal(err)
	}
	cfg.Root, cfg.Engine = root, cluster.Engine{Name: "test", Made: yes, Put: put}
	cfg.AppVersions = []string{"1.0.0", "2.0.0"}
	return New(cfg)
}

func up(t *testing.T, s *Stack) {
	t.Helper()
	if err := Run(t.Context(), &Progress{Out: t.Output()}, s.Steps()); err != nil {
		t.Fatal(err)
	}
}

func TestUpInstallsEverythingOnce(t *testing.T) {
	m := newMachine(t)
	s := newStack(t, Config{IngressValues: []string{"more.yaml"}, GatekeeperVolume: "/data"})
	m.write("more.yaml", "a: 1\n")
	s.IngressValues = []string{filepath.Join(m.dir, "more.yaml")}
	up(t, s)
	root := s.Root
	want := []string{
		"helm upgrade --install ingress-nginx ingress-nginx --repo https://kubernetes.github.io/ingress-nginx --version 4.15.1 --namespace ingress-nginx" +
			" --values " + root + "/flagger/values-ingress-nginx.yaml --values " + root + "/lab/values/ingress-nginx.yaml --values " + m.dir + "/more.yaml",
		"helm upgrade --install flagger flagger --repo https://flagger.app --version 1.44.0 --namespace flagger-system --values " + root + "/flagger/values-flagger.yaml",
		"helm upgrade --install gatekeeper " + root + "/helm/gatekeeper --namespace rollout-system --values " + root + "/lab/values/gatekeeper.yaml" +
			" --set-string image.repository=registry.example/gatekeeper --set-string image.tag=dev-1 --set-string persistence.hostPath=/data",
		"helm upgrade --install loadgen " + root + "/helm/loadgen --namespace rollout-system" +
			" --set-string image.repository=registry.example/loadgen --set-string image.tag=dev-1",
	}
	if got := m.calls("helm"); !slices.Equal(got, want) {
		t.Errorf("called\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if s.AppRepository() != "registry.example/app" {
		t.Errorf("the app's repository is %q", s.AppRepository())
	}

	again := newStack(t, s.Config)
	up(t, again)
	if got := m.calls("helm"); len(got) > 0 {
		t.Errorf("nothing has changed, but called\n%s", strings.Join(got, "\n"))
	}

	m.write("more.yaml", "a: 2\n")
	up(t, newStack(t, s.Config))
	if got := m.calls("helm"); len(got) != 1 || !strings.Contains(got[0], " ingress-nginx ") {
		t.Errorf("values of ingress-nginx have changed, but called %q", got)
	}
}

func TestUpTakesOtherCharts(t *testing.T) {
	m := newMachine(t)
	for _, chart := range []string{"flagger", "nginx"} {
		m.write(chart+".tgz", chart)
	}
	s := newStack(t, Config{FlaggerChart: m.dir + "/flagger.tgz", IngressChart: m.dir + "/nginx.tgz"})
	up(t, s)
	calls := strings.Join(m.calls("helm"), "\n")
	for _, want := range []string{"--install flagger " + m.dir + "/flagger.tgz --namespace", "--install ingress-nginx " + m.dir + "/nginx.tgz --namespace"} {
		if !strings.Contains(calls, want) {
			t.Errorf("no %q in\n%s", want, calls)
		}
	}
	if strings.Contains(calls, "--repo") {
		t.Errorf("a public repository was asked:\n%s", calls)
	}
}

func TestOnlyOurOwnDefinitionsAreClaimed(t *testing.T) {
	m := newMachine(t)
	up(t, newStack(t, Config{}))
	if got := m.calls("kubectl label crd"); len(got) != 1 {
		t.Errorf("on an empty cluster Flagger's definitions are ours, called %q", got)
	}
	m = newMachine(t)
	m.write("crds", "")
	up(t, newStack(t, Config{}))
	if got := m.calls("kubectl label crd"); len(got) != 0 {
		t.Errorf("definitions that were there are not ours, called %q", got)
	}
}

func TestANamespaceOfSomebodyElseIsLeftAlone(t *testing.T) {
	m := newMachine(t)
	m.write("foreign", "flagger-system\ndemo\n")
	s := newStack(t, Config{})
	err := Run(t.Context(), &Progress{Out: t.Output()}, s.Steps())
	if err == nil || !strings.Contains(err.Error(), "namespace flagger-system was not made by lab") {
		t.Errorf("got %v", err)
	}
	if calls := m.calls("helm upgrade --install flagger"); len(calls) > 0 {
		t.Errorf("called %q", calls)
	}
	access := cluster.Access{}
	if err := Empty(t.Context(), access, "demo", "podinfo"); err == nil || !strings.Contains(err.Error(), "was not made by lab") {
		t.Errorf("got %v", err)
	}
	_ = Run(t.Context(), &Progress{Out: t.Output()}, s.Down("demo", "podinfo")[3:])
	for _, call := range m.calls("") {
		if strings.Contains(call, "uninstall flagger") || strings.Contains(call, "delete namespace flagger-system") || strings.Contains(call, "delete namespace demo") {
			t.Errorf("down must not %s", call)
		}
	}
}

func TestDownTakesAwayWhatUpMade(t *testing.T) {
	m := newMachine(t)
	s := newStack(t, Config{})
	up(t, s)
	m.calls("")
	if err := Run(t.Context(), &Progress{Out: t.Output()}, s.Down("demo", "podinfo")); err != nil {
		t.Fatal(err)
	}
	calls := strings.Join(m.calls(""), "\n")
	for _, want := range []string{
		"helm uninstall gatekeeper --namespace rollout-system --ignore-not-found",
		"helm uninstall loadgen --namespace rollout-system --ignore-not-found",
		"helm uninstall flagger --namespace flagger-system --ignore-not-found",
		"helm uninstall ingress-nginx --namespace ingress-nginx --ignore-not-found",
		"kubectl delete -k " + s.Root + "/monitoring --ignore-not-found",
		"kubectl delete crd --selector app.kubernetes.io/managed-by=rollout-lab --ignore-not-found",
		"kubectl delete namespace rollout-system",
	} {
		if !strings.Contains(calls, want) {
			t.Errorf("no %q in\n%s", want, calls)
		}
	}
}

func TestDownOfAClusterOfOursIsOneStep(t *testing.T) {
	removed := false
	s := newStack(t, Config{})
	s.Engine.Remove = func(context.Context) error { removed = true; return nil }
	if err := Run(t.Context(), &Progress{Out: t.Output()}, s.Down("demo", "podinfo")); err != nil || !removed {
		t.Errorf("removed is %v, %v", removed, err)
	}
}

func TestLogsSayWhatCanNotBeHad(t *testing.T) {
	m := newMachine(t)
	m.write("kubectl", "#!/bin/sh\ncase \"$*\" in *events*) echo an event;; *) echo no such thing >&2; exit 1;; esac\n")
	folder := filepath.Join(t.TempDir(), "logs")
	if err := newStack(t, Config{}).Logs(t.Context(), folder, "demo"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"events.txt": "an event", "gatekeeper.log": "no such thing", "canary.txt": "describe canaries.flagger.app"} {
		if text, err := os.ReadFile(filepath.Join(folder, name)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s has no %q: %s %v", name, want, text, err)
		}
	}
}
