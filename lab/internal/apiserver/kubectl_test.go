package apiserver_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/apiserver"
)

const manifest = `
apiVersion: v1
kind: Namespace
metadata: {name: t}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: t}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: "app:1", ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: t}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: t}
spec:
  ingressClassName: nginx
  rules: [{host: web.local, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
`

// kubectlProgram returns kubectl and the environment that points it at an API.
func kubectlProgram(t *testing.T, a *api) (program string, environment []string) {
	t.Helper()
	program, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skipf("kubectl is not on the PATH: %v", err)
	}
	home := t.TempDir()
	config := filepath.Join(home, "config")
	must(t, os.WriteFile(config, []byte(`{"apiVersion":"v1","kind":"Config","current-context":"a",
		"clusters":[{"name":"a","cluster":{"server":"`+a.config.Host+`","certificate-authority-data":"`+base64.StdEncoding.EncodeToString(a.config.CAData)+`"}}],
		"contexts":[{"name":"a","context":{"cluster":"a","user":"a"}}],"users":[{"name":"a","user":{"token":"secret"}}]}`), 0o600))
	return program, append(os.Environ(), "KUBECONFIG="+config, "HOME="+home)
}

// kubectl returns a function that runs kubectl against an API and checks that its output has a text.
func kubectl(t *testing.T, a *api) func(want string, args ...string) {
	t.Helper()
	program, environment := kubectlProgram(t, a)
	return func(want string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		command := exec.CommandContext(ctx, program, args...)
		command.Env = environment
		command.Stdin = strings.NewReader(manifest)
		out, err := command.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("kubectl %s: %v\ngot  %s\nwant %s", strings.Join(args, " "), err, out, want)
		}
	}
}

func TestKubectl(t *testing.T) {
	a := serve(t, apiserver.Config{Logs: func(context.Context, *corev1.Pod, *corev1.PodLogOptions) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("hello from the pod\n")), nil
	}})
	run := kubectl(t, a)
	run("deployment.apps/web created", "apply", "-f", "-")
	run("deployment.apps/web unchanged", "apply", "-f", "-")
	run("serverside-applied", "apply", "--server-side", "--force-conflicts", "-f", "-")
	run("0/1     0            0", "get", "deployments", "-n", "t")
	run("web.local", "get", "ing", "-A")
	run("ClusterIP", "get", "all", "-n", "t", "-o", "wide")
	run("image: app:1", "get", "deploy", "web", "-n", "t", "-o", "yaml")
	run("RollingUpdate", "describe", "deploy", "web", "-n", "t")
	run("scaled", "scale", "deploy", "web", "-n", "t", "--replicas=2")
	run("annotated", "annotate", "deploy", "web", "-n", "t", "note=yes")
	run("labeled", "label", "deploy", "web", "-n", "t", "kind=demo")
	run("image updated", "set", "image", "deploy/web", "-n", "t", "app=app:2")
	run("patched", "patch", "deploy", "web", "-n", "t", "-p", `{"spec":{"minReadySeconds":1}}`)
	run("restarted", "rollout", "restart", "deploy/web", "-n", "t")
	run("configmap/settings created", "create", "configmap", "settings", "-n", "t", "--from-literal=a=b")
	run("secret/hidden created", "create", "secret", "generic", "hidden", "-n", "t", "--from-literal=a=b")
	run("Opaque", "get", "secrets", "-n", "t")
	run("pod/p created", "run", "p", "-n", "t", "--image=app:1")
	run("Pending", "get", "pods", "-n", "t", "--field-selector", "status.phase=Pending")
	run("hello from the pod", "logs", "p", "-n", "t")
	run("deleted", "delete", "pod", "p", "-n", "t")

	web := value(a.core.AppsV1().Deployments("t").Get(t.Context(), "web", metav1.GetOptions{}))(t)
	web.Status.ObservedGeneration, web.Status.Replicas, web.Status.UpdatedReplicas, web.Status.ReadyReplicas, web.Status.AvailableReplicas = web.Generation, 2, 2, 2, 2
	value(a.core.AppsV1().Deployments("t").UpdateStatus(t.Context(), web, metav1.UpdateOptions{}))(t)
	run("successfully rolled out", "rollout", "status", "deploy/web", "-n", "t", "--timeout=10s")
	run("deleted", "delete", "namespace", "t", "--wait")
	run("kube-system", "get", "namespaces")
}

func TestKubectlKnowsCustomResources(t *testing.T) {
	a := serve(t, apiserver.Config{})
	run := kubectl(t, a)
	value(a.dynamic.Resource(definitions()).Create(t.Context(), object(t, widgets), metav1.CreateOptions{}))(t)
	value(a.dynamic.Resource(widget()).Namespace("default").Create(t.Context(),
		object(t, `{apiVersion: example.com/v1, kind: Widget, metadata: {name: w}, spec: {colour: red}}`), metav1.CreateOptions{}))(t)
	run("condition met", "wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=10s")
	run("red", "get", "wd")
	run("scaled", "scale", "widget", "w", "--replicas=5")
	run("edited", "annotate", "widget", "w", "a=b", "-o", "jsonpath={.metadata.annotations}edited")
	run("deleted", "delete", "widgets", "--all")
}

func TestKubectlForwardsPorts(t *testing.T) {
	a := serve(t, apiserver.Config{})
	behind(t, a, backend(t))
	running := []byte(`{"status":{"phase":"Running"}}`) // kubectl forwards to no other pod
	value(a.core.CoreV1().Pods("default").Patch(t.Context(), "web", types.MergePatchType, running, metav1.PatchOptions{}, "status"))(t)
	program, environment := kubectlProgram(t, a)
	command := exec.CommandContext(t.Context(), program, "port-forward", "pod/web", ":8080", "--address", "127.0.0.1")
	command.Env = environment
	var problems strings.Builder
	command.Stderr = &problems
	out, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	defer func() { _ = command.Process.Kill(); _ = command.Wait() }()
	var local, remote int
	if _, err := fmt.Fscanf(out, "Forwarding from 127.0.0.1:%d -> %d", &local, &remote); err != nil {
		_ = command.Wait()
		t.Fatalf("read what kubectl says: %v: %s", err, problems.String())
	}
	request := value(http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/hello", local), nil))(t)
	answer, err := http.DefaultClient.Do(request)
	must(t, err)
	defer answer.Body.Close()
	if body := string(value(io.ReadAll(answer.Body))(t)); !strings.HasPrefix(body, "GET /hello") {
		t.Errorf("got %s", body)
	}
}
