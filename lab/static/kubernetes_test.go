package static

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/yannh/kubeconform/pkg/validator"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
)

// clusters are the versions of Kubernetes that the charts are for: each minor's newest release whose module can be had.
var clusters = []string{"1.31.14", "1.32.13", "1.33.13", "1.34.4", "1.35.4", "1.36.3"}

// kindsOfOurs are Kubernetes' kinds that charts and manifests have, by kubeconform's name of their schema.
var kindsOfOurs = map[string]string{
	"clusterrole-rbac-v1":                    "io.k8s.api.rbac.v1.ClusterRole",
	"clusterrolebinding-rbac-v1":             "io.k8s.api.rbac.v1.ClusterRoleBinding",
	"configmap-v1":                           "io.k8s.api.core.v1.ConfigMap",
	"deployment-apps-v1":                     "io.k8s.api.apps.v1.Deployment",
	"horizontalpodautoscaler-autoscaling-v2": "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
	"ingress-networking-v1":                  "io.k8s.api.networking.v1.Ingress",
	"namespace-v1":                           "io.k8s.api.core.v1.Namespace",
	"networkpolicy-networking-v1":            "io.k8s.api.networking.v1.NetworkPolicy",
	"persistentvolumeclaim-v1":               "io.k8s.api.core.v1.PersistentVolumeClaim",
	"pod-v1":                                 "io.k8s.api.core.v1.Pod",
	"poddisruptionbudget-policy-v1":          "io.k8s.api.policy.v1.PodDisruptionBudget",
	"role-rbac-v1":                           "io.k8s.api.rbac.v1.Role",
	"rolebinding-rbac-v1":                    "io.k8s.api.rbac.v1.RoleBinding",
	"secret-v1":                              "io.k8s.api.core.v1.Secret",
	"service-v1":                             "io.k8s.api.core.v1.Service",
	"serviceaccount-v1":                      "io.k8s.api.core.v1.ServiceAccount",
}

// definitionsOfOthers are the files with the custom resources that ours use, in Go modules of their makers.
var definitionsOfOthers = map[string][]string{
	"github.com/fluxcd/flagger@v1.44.0": {"artifacts/flagger/crd.yaml"},
	"sigs.k8s.io/gateway-api@v1.6.1": {
		"config/crd/standard/gateway.networking.k8s.io_gatewayclasses.yaml", "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
		"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml", "config/crd/standard/gateway.networking.k8s.io_referencegrants.yaml",
	},
	"github.com/prometheus-operator/prometheus-operator@v0.85.0": {
		"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
	},
}

// schemas is a file of testdata/schemas: JSON schemas by name, and which of them is that of a kind.
type schemas struct {
	Kinds       map[string]string         `json:"kinds"`
	Definitions map[string]map[string]any `json:"definitions"`
}

// Everything that is installed from here is what each version of Kubernetes and the custom resources' makers take, with no
// field that they do not know.
func TestChartsFitEveryKubernetes(t *testing.T) {
	installed := map[string][]byte{}
	for _, u := range uses(t) {
		rendered, err := chart.Render(u.release)
		if err != nil {
			t.Fatal(err)
		}
		installed[u.String()] = slices.Concat(rendered.Objects, rendered.Hooks)
	}
	for _, folder := range []string{"monitoring", "monitoring/views", "monitoring/operator", "lab/monitoring"} {
		text, err := kustomized(t, filepath.Join(root, folder)).AsYaml()
		if err != nil {
			t.Fatal(err)
		}
		installed[folder] = text
	}
	text, err := os.ReadFile(filepath.Join(root, "flagger", "metric-template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	installed["flagger/metric-template.yaml"] = text
	for _, version := range clusters {
		conform := conforms(t, version)
		for _, name := range slices.Sorted(maps.Keys(installed)) {
			for _, result := range conform(name, installed[name]) {
				t.Errorf("Kubernetes %s: %s: %s", version, name, result)
			}
		}
	}
}

// A checker that finds nothing wrong anywhere would look the same.
func TestChartsThatFitNoKubernetesAreFound(t *testing.T) {
	for _, version := range clusters {
		conform := conforms(t, version)
		for object, wrong := range map[string]string{
			"{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80, targetPort: http}]}}":    "",
			"{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {port: [{port: 80}]}}":                       "port",
			"{apiVersion: v1, kind: Service, metadata: {name: a, label: {}}}":                                        "label",
			"{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: '80'}]}}":                    "/spec/ports/0/port",
			"{apiVersion: autoscaling/v2beta2, kind: HorizontalPodAutoscaler, metadata: {name: a}}":                  "could not find schema",
			"{apiVersion: flagger.app/v1beta1, kind: Canary, metadata: {name: a}, spec: {analysis: {tolerated: 1}}}": "tolerated",
		} {
			found := strings.Join(conform("object", []byte(object)), "\n")
			if (found == "") != (wrong == "") || !strings.Contains(found, wrong) {
				t.Errorf("Kubernetes %s: %s: found %q, want %q", version, object, found, wrong)
			}
		}
	}
}

// conforms returns what asks kubeconform with the schemas of one version; it says what is wrong.
func conforms(t *testing.T, version string) func(name string, text []byte) []string {
	t.Helper()
	folder := t.TempDir()
	for _, file := range []string{"v" + version, "others"} {
		text, err := os.ReadFile(filepath.Join("testdata", "schemas", file+".json"))
		if err != nil {
			t.Fatalf("%v; go test ./static -run TestSchemasOfKubernetes -update makes it", err)
		}
		var all schemas
		if err := json.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		give := map[string]any{file: all}
		for kind, name := range all.Kinds {
			give[kind] = map[string]any{"$ref": file + ".json#/definitions/" + name}
		}
		for name, schema := range give {
			text, err := json.Marshal(schema)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, name+".json"), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	check, err := validator.New([]string{folder + "/{{ .ResourceKind }}{{ .KindSuffix }}.json"}, validator.Opts{KubernetesVersion: version, Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	return func(name string, text []byte) (wrong []string) {
		for _, result := range check.Validate(name, io.NopCloser(bytes.NewReader(text))) {
			if result.Status != validator.Valid && result.Status != validator.Empty {
				wrong = append(wrong, result.Err.Error())
			}
		}
		return wrong
	}
}

// With -update the schemas are made from what Kubernetes publishes with each version and others with theirs.
func TestSchemasOfKubernetes(t *testing.T) {
	if !*update {
		t.Skip("needs 300 MB of Go modules: with -update alone")
	}
	modules := t.TempDir()
	for _, version := range clusters {
		var published struct{ Definitions map[string]map[string]any }
		text := fetched(t, modules, "k8s.io/kubernetes@v"+version, "api/openapi-spec/swagger.json")
		if err := json.Unmarshal(text, &published); err != nil {
			t.Fatal(err)
		}
		kept := schemas{Kinds: kindsOfOurs, Definitions: map[string]map[string]any{}}
		for _, name := range kindsOfOurs {
			keep(published.Definitions, name, kept.Definitions)
		}
		writeSchemas(t, "v"+version, kept)
	}
	others := schemas{Kinds: map[string]string{}, Definitions: map[string]map[string]any{}}
	for module, files := range definitionsOfOthers {
		for _, file := range files {
			for _, definition := range documents(t, fetched(t, modules, module, file)) {
				custom(t, definition, others)
			}
		}
	}
	writeSchemas(t, "others", others)
}

// fetched is a file of a module, which is put into a cache of its own: Kubernetes' is large.
func fetched(t *testing.T, cache, module, file string) []byte {
	t.Helper()
	download := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	download.Env = append(os.Environ(), "GOMODCACHE="+cache, "GOFLAGS=-modcacherw", "GOWORK=off")
	download.Dir = cache
	out, err := download.Output()
	var answer struct{ Dir, Error string }
	if bad := json.Unmarshal(out, &answer); bad != nil || err != nil || answer.Dir == "" {
		t.Fatalf("download %s: %v, %v %s", module, err, bad, answer.Error)
	}
	text, err := os.ReadFile(filepath.Join(answer.Dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// custom adds the schemas of one CustomResourceDefinition, by version.
func custom(t *testing.T, definition map[string]any, to schemas) {
	t.Helper()
	if definition["kind"] != "CustomResourceDefinition" {
		return
	}
	group, _, _ := strings.Cut(dig[string](t, definition, "spec", "group"), ".")
	for _, version := range dig[[]any](t, definition, "spec", "versions") {
		name := strings.ToLower(dig[string](t, definition, "spec", "names", "kind")) + "-" + group + "-" + dig[string](t, version, "name")
		to.Kinds[name] = name
		to.Definitions[name] = closed(dig[map[string]any](t, version, "schema", "openAPIV3Schema"))
	}
}

// keep adds a definition and those that it refers to.
func keep(from map[string]map[string]any, name string, to map[string]map[string]any) {
	if to[name] != nil {
		return
	}
	to[name] = closed(from[name])
	for ref := range strings.SplitSeq(compact(to[name]), `"#/definitions/`) {
		if next, _, found := strings.Cut(ref, `"`); found && from[next] != nil {
			keep(from, next, to)
		}
	}
}

// closed is an OpenAPI schema as a JSON schema that refuses keys which it does not list; descriptions are left out.
func closed(schema map[string]any) map[string]any {
	if schema["format"] == "int-or-string" || schema["x-kubernetes-int-or-string"] == true {
		return map[string]any{"type": []string{"integer", "string"}}
	}
	if text, _ := schema["description"].(string); strings.HasPrefix(text, "Quantity is a fixed-point") {
		return map[string]any{"type": []string{"number", "string"}}
	}
	out := map[string]any{}
	for key, value := range schema {
		switch key {
		case "description", "default", "format", "example":
		case "properties":
			properties := map[string]any{}
			for name, inner := range value.(map[string]any) {
				properties[name] = closed(inner.(map[string]any))
			}
			out[key] = properties
		default:
			if !strings.HasPrefix(key, "x-kubernetes-") {
				out[key] = closedAny(value)
			}
		}
	}
	if out["properties"] != nil && out["additionalProperties"] == nil && schema["x-kubernetes-preserve-unknown-fields"] != true {
		out["additionalProperties"] = false
	}
	return out
}

func closedAny(value any) any {
	switch v := value.(type) {
	case map[string]any:
		return closed(v)
	case []any:
		list := []any{}
		for _, item := range v {
			list = append(list, closedAny(item))
		}
		return list
	}
	return value
}

// compact is a value as JSON in one line.
func compact(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // maps of texts and numbers
	}
	return string(text)
}

// writeSchemas writes a line for each definition, so that a newer version's changes can be read.
func writeSchemas(t *testing.T, name string, all schemas) {
	t.Helper()
	var out strings.Builder
	out.WriteString("{\n\"kinds\": " + compact(all.Kinds) + ",\n\"definitions\": {\n")
	for i, name := range slices.Sorted(maps.Keys(all.Definitions)) {
		if i > 0 {
			out.WriteString(",\n")
		}
		out.WriteString(compact(name) + ": " + compact(all.Definitions[name]))
	}
	out.WriteString("\n}\n}\n")
	golden(t, filepath.Join("testdata", "schemas", name+".json"), []byte(out.String()))
}

// The example's base is what the chart renders now; what the overlay changes arrives, and Kubernetes takes the result.
func TestTheKustomizeExampleIsBuilt(t *testing.T) {
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(root, "examples", "kustomize"))); err != nil {
		t.Fatal(err)
	}
	rendered, err := chart.Render(chart.Release{Name: "podinfo", Chart: filepath.Join(root, "helm", "podinfo-like")})
	if err != nil {
		t.Fatal(err)
	}
	base := rendered.Objects
	for _, file := range []string{"README.md", "base/kustomization.yaml"} {
		text, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		// What helm test starts is among what helm template prints, and would be a workload like any other.
		if !strings.Contains(string(text), "helm template podinfo helm/podinfo-like --skip-tests") {
			base = slices.Concat(rendered.Objects, rendered.Hooks)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "base", "podinfo.yaml"), base, 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := kustomized(t, filepath.Join(folder, "production")).AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range conforms(t, clusters[len(clusters)-1])("production", text) {
		t.Error(wrong)
	}
	kinds := map[string]map[string]any{}
	for _, object := range documents(t, text) {
		kinds[dig[string](t, object, "kind")] = object
		if got := dig[string](t, object, "metadata", "namespace"); got != "shop" {
			t.Errorf("%s is in namespace %s", object["kind"], got)
		}
	}
	if kinds["Pod"] != nil {
		t.Error("the pod of helm test is deployed: helm template lacks --skip-tests")
	}
	image := dig[string](t, kinds["Deployment"], "spec", "template", "spec", "containers", 0, "image")
	id := dig[string](t, kinds["Deployment"], "spec", "template", "metadata", "annotations", "rollout.monitoring/deploy-id")
	host := dig[string](t, kinds["Ingress"], "spec", "rules", 0, "host")
	interval := dig[string](t, kinds["Canary"], "spec", "analysis", "interval")
	if !strings.HasPrefix(image, "registry.example.com/shop/app@sha256:") || id == "" || host != "podinfo.example.com" || interval != "1m" {
		t.Errorf("image %s, deploy id %q, host %s, interval %s", image, id, host, interval)
	}
}
