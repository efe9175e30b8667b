package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// stub puts programs on the PATH that write down how they were called and then do what their body says. The returned
// function gives the calls so far.
func stub(t *testing.T, programs map[string]string) func() []string {
	t.Helper()
	dir := t.TempDir()
	calls := filepath.Join(dir, "calls")
	for name, body := range programs {
		script := "#!/bin/sh\necho \"" + name + " $*\" >>" + calls + "\n" + body + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() []string {
		text, err := os.ReadFile(calls)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return slices.Collect(strings.FieldsFuncSeq(string(text), func(r rune) bool { return r == '\n' }))
	}
}

func wantCalls(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("called:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func kindCluster(t *testing.T) Kind {
	return Kind{Source: Source{Root: "/src", Registry: "registry.example", Commit: "abc"}, Name: "lab", State: t.TempDir(), Port: 8080}
}

func TestKindMakesItsClusterOnce(t *testing.T) {
	calls := stub(t, map[string]string{"kind": `case "$*" in
		"get clusters") cat ` + "$0.made 2>/dev/null || true" + `;;
		create*) echo lab >$0.made; touch "${8}";;
		export*) touch "${6}";;
	esac`})
	k := kindCluster(t)
	engine := k.Engine()
	if made, err := engine.Made(t.Context()); err != nil || made {
		t.Fatalf("made is %v, %v before anything was", made, err)
	}
	if err := engine.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	if made, err := engine.Made(t.Context()); err != nil || !made {
		t.Errorf("made is %v, %v afterwards", made, err)
	}
	kubeconfig, config := filepath.Join(k.State, "lab.kubeconfig"), filepath.Join(k.State, "lab.yaml")
	wantCalls(t, calls(), []string{
		"kind get clusters",
		"kind get clusters",
		"kind create cluster --name lab --config " + config + " --kubeconfig " + kubeconfig + " --wait 3m",
		"kind get clusters",
	})
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kindest/node:v1.34.11@sha256:", "containerPort: 30080, hostPort: 8080"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("configuration has no %q:\n%s", want, text)
		}
	}

	if err := os.Remove(kubeconfig); err != nil {
		t.Fatal(err)
	}
	if made, err := engine.Made(t.Context()); err != nil || made {
		t.Errorf("without its kubeconfig it can not be used, but made is %v, %v", made, err)
	}
	before := len(calls())
	if err := engine.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCalls(t, calls()[before:], []string{"kind get clusters", "kind export kubeconfig --name lab --kubeconfig " + kubeconfig})
}

func TestKindBuildsNamesAndLoadsImages(t *testing.T) {
	const id = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	calls := stub(t, map[string]string{"docker": `[ "$1" != build ] || echo ` + id, "kind": ""})
	engine := kindCluster(t).Engine()
	app := Image{Name: "app", Version: "2.0.0", Tag: "2.0.0", Dockerfile: "Dockerfile.app", Context: ".", Folder: "app"}
	if name, err := engine.Put(t.Context(), app); err != nil || name != "registry.example/app:2.0.0" {
		t.Errorf("got %q, %v", name, err)
	}
	receiver := Image{Name: "receiver", Version: "dev", Dockerfile: "lab/receiver/Dockerfile", Context: "lab/receiver", Folder: "lab/receiver"}
	if name, err := engine.Put(t.Context(), receiver); err != nil || name != "registry.example/receiver:dev-0123456789ab" {
		t.Errorf("without a tag of its own an image is named by its content, got %q, %v", name, err)
	}
	wantCalls(t, calls(), []string{
		"docker build -q -f /src/Dockerfile.app --build-arg VERSION=2.0.0 --build-arg COMMIT=abc /src",
		"docker tag " + id + " registry.example/app:2.0.0",
		"kind load docker-image registry.example/app:2.0.0 --name lab",
		"docker build -q -f /src/lab/receiver/Dockerfile --build-arg VERSION=dev --build-arg COMMIT=abc /src/lab/receiver",
		"docker tag " + id + " registry.example/receiver:dev-0123456789ab",
		"kind load docker-image registry.example/receiver:dev-0123456789ab --name lab",
	})
}

func TestKindRemovesWhatItMade(t *testing.T) {
	calls := stub(t, map[string]string{"kind": ""})
	k := kindCluster(t)
	if err := os.WriteFile(k.kubeconfig(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second time there is nothing left, which is fine
		if err := k.Engine().Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(k.kubeconfig()); !os.IsNotExist(err) {
		t.Errorf("the kubeconfig of a deleted cluster is still there: %v", err)
	}
	line := "kind delete cluster --name lab --kubeconfig " + k.kubeconfig()
	wantCalls(t, calls(), []string{line, line})
}

func TestAFailedBuildShowsItsCommandAndOutput(t *testing.T) {
	stub(t, map[string]string{"docker": "echo no space left >&2; exit 1"})
	_, err := kindCluster(t).Engine().Put(t.Context(), Image{Name: "app", Version: "1.0.0", Tag: "1.0.0", Dockerfile: "Dockerfile.app", Context: "."})
	var failed *sh.Error
	if !errors.As(err, &failed) || !strings.Contains(failed.Command, "docker build -q -f /src/Dockerfile.app") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(err.Error(), "build image app") || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("got %v", err)
	}
}

func TestExistingHandsABinaryToTheImageCommand(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "loadgen"), 0o755); err != nil {
		t.Fatal(err)
	}
	calls := stub(t, map[string]string{
		"go":   `echo "  in $PWD CGO_ENABLED=$CGO_ENABLED GOWORK=$GOWORK" >>$(dirname $0)/calls; while [ "$1" != -o ]; do shift; done; echo binary >"$2"`,
		"pack": "",
	})
	e := Existing{Source: Source{Root: root, Registry: "registry.example", Commit: "abc"}, ImageCommand: `pack "$IMAGE" "$BINARY" "$ENTRYPOINT" "$TAR"`}
	image := Image{Name: "loadgen", Version: "dev", Folder: "loadgen"}
	name, err := e.Engine().Put(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	if want := "registry.example/loadgen:dev-58eaf5a78d58"; name != want { // the digest of what the stub wrote
		t.Errorf("name is %q, want %q", name, want)
	}
	binary := filepath.Join(root, "build", "images", "loadgen-dev")
	wantCalls(t, calls(), []string{
		"go build -trimpath -buildvcs=false -ldflags -s -w -X main.version=dev -X main.commit=abc -o " + binary + " .",
		"  in " + filepath.Join(root, "loadgen") + " CGO_ENABLED=0 GOWORK=off",
		"pack " + name + " " + binary + " /loadgen " + binary + ".tar",
	})
}

func TestExistingWithoutAnImageCommandTrustsTheRegistry(t *testing.T) {
	source := Source{Registry: "ghcr.io/us"}
	for name, c := range map[string]struct {
		tag   string
		image Image
		want  string
		fail  string
	}{
		"a version of the app has its own tag":  {"v9", Image{Name: "app", Tag: "2.0.0"}, "ghcr.io/us/app:2.0.0", ""},
		"all others have the tag that is given": {"v9", Image{Name: "gatekeeper"}, "ghcr.io/us/gatekeeper:v9", ""},
		"without one there is nothing to trust": {"", Image{Name: "gatekeeper"}, "", "--tag"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Existing{Source: source, Tag: c.tag}.Engine().Put(t.Context(), c.image)
			if got != c.want || (err != nil) != (c.fail != "") || err != nil && !strings.Contains(err.Error(), c.fail) {
				t.Errorf("got %q, %v; want %q, %q", got, err, c.want, c.fail)
			}
		})
	}
}

func TestExistingSaysHowToReachACluster(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "config")
	text := `{apiVersion: v1, kind: Config, current-context: mine, clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}],
  contexts: [{name: mine, context: {cluster: c}}]}`
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	engine := Existing{Access: Access{Kubeconfig: kubeconfig, Context: "mine"}}.Engine()
	if made, err := engine.Made(t.Context()); err != nil || made {
		t.Errorf("made is %v, %v", made, err)
	}
	err := engine.Make(t.Context())
	for _, want := range []string{"--kubeconfig", "http://127.0.0.1:1/readyz", "connection refused"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error must have %q: %v", want, err)
		}
	}
	if engine.Remove != nil {
		t.Error("a cluster that is not ours must not be removed")
	}
}

func TestAccessTellsHelmWhichClusterIsMeant(t *testing.T) {
	calls := stub(t, map[string]string{"helm": ""})
	r := chart.Release{Name: "podinfo", Namespace: "demo", Chart: "./helm/podinfo-like", Sets: []string{"a=b"}}
	if err := (Access{Kubeconfig: "/k", Context: "c"}).Upgrade(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := (Access{}).Uninstall(t.Context(), "demo", "podinfo"); err != nil {
		t.Fatal(err)
	}
	wantCalls(t, calls(), []string{
		"helm --kubeconfig /k --kube-context c upgrade --install podinfo ./helm/podinfo-like --namespace demo --set-string a=b",
		"helm uninstall podinfo --namespace demo --ignore-not-found",
	})
}
