package kube

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/apiserver"
)

// emptyCluster is a client for an API with nothing behind it.
func emptyCluster(t *testing.T) *Client {
	t.Helper()
	server := apiserver.New(apiserver.Config{Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(server.Close)
	return clientFor(t, server.ServeHTTP)
}

func apply(t *testing.T, c *Client, text string) {
	t.Helper()
	objects, err := Parse([]byte(text))
	if err == nil {
		err = c.Apply(t.Context(), "default", objects)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// read is a field of the deployment, nil where there is none.
func read(t *testing.T, c *Client, path ...string) any {
	t.Helper()
	objects, err := Parse([]byte(deployment))
	if err != nil {
		t.Fatal(err)
	}
	resource, _, err := c.resource(objects[0].GroupVersionKind(), "default")
	if err != nil {
		t.Fatal(err)
	}
	o, err := resource.Get(t.Context(), objects[0].GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	value, _, err := unstructured.NestedFieldCopy(o.Object, path...)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

const deployment = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: app, labels: {a: "1", b: "1"}}, spec: {selector: {matchLabels: {x: "1"}},
  template: {metadata: {labels: {x: "1"}}, spec: {containers: [{name: c, image: "app:1", env: [{name: A, value: "1"}, {name: B, value: "1"}]}]}}}}`

func TestApplyTakesAwayOnlyWhatItBrought(t *testing.T) {
	c := emptyCluster(t)
	apply(t, c, deployment)
	// Somebody else scales, as Flagger does with a target.
	if err := c.Scale(t.Context(), "default", "app", 0); err != nil {
		t.Fatal(err)
	}
	next := strings.NewReplacer(`a: "1", b: "1"`, `b: "2"`, `{name: A, value: "1"}, `, "", "app:1", "app:2").Replace(deployment)
	apply(t, c, next)
	if got := read(t, c, "spec", "replicas"); got != int64(0) {
		t.Errorf("replicas are %v: what others set must stay", got)
	}
	labels, _ := read(t, c, "metadata", "labels").(map[string]any)
	if _, has := labels["a"]; has || labels["b"] != "2" {
		t.Errorf("labels are %v: what is not applied any more must go", labels)
	}
	containers, _ := read(t, c, "spec", "template", "spec", "containers").([]any)
	container, _ := containers[0].(map[string]any)
	env, _ := container["env"].([]any)
	if container["image"] != "app:2" || len(env) != 1 {
		t.Errorf("the container is %v", container)
	}
	generation := read(t, c, "metadata", "generation")
	apply(t, c, next)
	if again := read(t, c, "metadata", "generation"); again != generation {
		t.Errorf("applied once more the generation goes from %v to %v", generation, again)
	}
}

func TestApplyRefusesWhatTheTypeDoesNotHave(t *testing.T) {
	c := emptyCluster(t)
	objects, err := Parse([]byte(strings.Replace(deployment, "image:", "imagge:", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context(), "default", objects); err == nil || !strings.Contains(err.Error(), "apply Deployment app") || !strings.Contains(err.Error(), "imagge") {
		t.Errorf("got %v", err)
	}
}

func TestASetTakesAwayWhatItNoLongerHas(t *testing.T) {
	c := emptyCluster(t)
	set := func(names ...string) {
		var objects []*Object
		for _, name := range names {
			o, err := Parse([]byte(`{apiVersion: v1, kind: ConfigMap, metadata: {name: ` + name + `}}`))
			if err != nil {
				t.Fatal(err)
			}
			objects = append(objects, o...)
		}
		if err := c.ApplySet(t.Context(), "default", "release", objects); err != nil {
			t.Fatal(err)
		}
	}
	there := func() string {
		text, err := c.YAML(t.Context(), "default", "configmaps")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	set("one", "two")
	set("two", "three")
	if got := there(); strings.Contains(got, "name: one\n") || !strings.Contains(got, "name: two\n") || !strings.Contains(got, "name: three\n") {
		t.Errorf("there is\n%s", got)
	}
	for range 2 { // a second time nothing is left, which is fine
		if err := c.DeleteSet(t.Context(), "default", "release"); err != nil {
			t.Fatal(err)
		}
	}
	if got := there(); strings.Contains(got, "name: two\n") || strings.Contains(got, setPrefix) {
		t.Errorf("there is still\n%s", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"what is not YAML":           "a: [",
		"an object without a kind":   "metadata: {name: x}",
		"an object without its name": "kind: Pod",
	} {
		if objects, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: got %v", name, objects)
		}
	}
	if objects, err := Parse([]byte("---\n# nothing\n---\nkind: Pod\nmetadata: {name: x}\n")); err != nil || len(objects) != 1 {
		t.Errorf("empty documents are left out, got %v, %v", objects, err)
	}
}
