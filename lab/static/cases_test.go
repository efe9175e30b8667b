package static

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pmezard/go-difflib/difflib"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	strict "sigs.k8s.io/yaml"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
)

var update = flag.Bool("update", false, "write the golden files")

// chartsOfPrograms are those that an installation consists of.
var chartsOfPrograms = []string{"gatekeeper", "loadgen", "podinfo-like"}

// use is a chart with values of one of its features (helm/<chart>/ci), for one kind of cluster (helm/values/<cluster>) or of a
// fault to rehearse (helm/podinfo-like/faults).
type use struct {
	chart, name string
	release     chart.Release
}

func (u use) String() string { return u.chart + "/" + u.name }

func uses(t *testing.T) []use {
	t.Helper()
	var list []use
	for _, name := range chartsOfPrograms {
		files := slices.Concat(glob(t, "helm", name, "ci", "*-values.yaml"), glob(t, "helm", "values", "*", name+".yaml"))
		if name == "podinfo-like" {
			files = slices.Concat(files, glob(t, "helm", name, "faults", "*.yaml"))
		}
		for _, file := range files {
			folder, base := filepath.Base(filepath.Dir(file)), strings.TrimSuffix(filepath.Base(file), ".yaml")
			u := use{chart: name, name: folder}
			switch folder {
			case "ci":
				u.name = strings.TrimSuffix(base, "-values")
			case "faults":
				u.name = "fault-" + base
			}
			u.release = chart.Release{Name: "shop", Namespace: "demo", Chart: filepath.Join(root, "helm", name), Values: []string{file}}
			list = append(list, u)
		}
	}
	return list
}

// glob are the files of the repository that a pattern names; there must be some.
func glob(t *testing.T, pattern ...string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(append([]string{root}, pattern...)...))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: %d files, %v", pattern, len(files), err)
	}
	return files
}

// whole is everything that Helm makes of a release, in one text.
func whole(t *testing.T, r chart.Release) []byte {
	t.Helper()
	rendered, err := chart.Render(r)
	if err != nil {
		t.Fatal(err)
	}
	return joined(rendered)
}

func joined(r chart.Rendered) []byte {
	return slices.Concat(r.Objects, r.Hooks, []byte("---\n# NOTES.txt\n"+comment(r.Notes)))
}

func comment(text string) string {
	var out strings.Builder
	for line := range strings.Lines(strings.TrimSpace(text) + "\n") {
		out.WriteString(strings.TrimRight("# "+line, " \n") + "\n")
	}
	return out.String()
}

// What a chart comes to is kept as it is by default, and what each feature changes in that. The version is not: it changes
// with each release.
func TestChartsRenderAsTheyDid(t *testing.T) {
	for _, u := range uses(t) {
		t.Run(u.String(), func(t *testing.T) {
			file := filepath.Join("testdata", "charts", u.chart, u.name)
			plain := u.release
			plain.Values = nil
			got := unversioned(t, whole(t, u.release))
			if u.name == "default" {
				golden(t, file+".yaml", got)
				return
			}
			want := unversioned(t, whole(t, plain))
			changes, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{A: difflib.SplitLines(string(want)), B: difflib.SplitLines(string(got)), Context: 2})
			if err != nil {
				t.Fatal(err)
			}
			// Without numbers of lines: a change above would be one in every file.
			golden(t, file+".diff", regexp.MustCompile(`(?m)^@@.*@@$`).ReplaceAll([]byte(changes), []byte("@@")))
		})
	}
}

// unversioned is text with a word in the place of the version of labels and images.
func unversioned(t *testing.T, text []byte) []byte {
	t.Helper()
	version, err := os.ReadFile(filepath.Join(root, "VERSION"))
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`([-":])`+regexp.QuoteMeta(strings.TrimSpace(string(version)))+`\b`).ReplaceAll(text, []byte("${1}VERSION"))
}

// golden compares with a file, or writes it.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; make charts ARGS=-update writes it", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is another; where that is meant, make charts ARGS=-update writes it. First difference:\n%s", file, difference(string(want), string(got)))
	}
}

// difference is the first line that differs, with the number it has.
func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("%d:\n- %s\n+ %s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("one has %d lines, the other %d", len(a), len(b))
}

func documentsOf(t *testing.T, file string) []map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return documents(t, text)
}

// A value that changes nothing is dead, and one that no feature's file sets is untested.
func TestChartsHaveNoDeadValues(t *testing.T) {
	for _, name := range chartsOfPrograms {
		paths := leaves(documentsOf(t, filepath.Join(root, "helm", name, "values.yaml"))[0])
		alive := map[string]bool{}
		for _, u := range uses(t) {
			if u.chart != name {
				continue
			}
			given := documentsOf(t, u.release.Values[0])[0]
			all := whole(t, u.release)
			for _, path := range paths {
				less, had := without(given, path)
				if !had || alive[strings.Join(path, ".")] {
					continue
				}
				release := u.release
				release.Values = []string{written(t, less)}
				rendered, err := chart.Render(release)
				alive[strings.Join(path, ".")] = err != nil || !bytes.Equal(all, joined(rendered))
			}
		}
		for _, path := range paths {
			if key := strings.Join(path, "."); !alive[key] {
				t.Errorf("%s: no file in helm/%s/ci has a %s that changes anything", name, name, key)
			}
		}
	}
}

// leaves are the paths to all values that are no map with keys.
func leaves(values map[string]any) [][]string {
	var paths [][]string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		more, _ := values[key].(map[string]any)
		if len(more) == 0 {
			paths = append(paths, []string{key})
		}
		for _, rest := range leaves(more) {
			paths = append(paths, append([]string{key}, rest...))
		}
	}
	return paths
}

// without is a copy that lacks the value at path, and whether there was one.
func without(values map[string]any, path []string) (map[string]any, bool) {
	less := maps.Clone(values)
	if len(path) == 1 {
		_, had := less[path[0]]
		delete(less, path[0])
		return less, had
	}
	more, _ := less[path[0]].(map[string]any)
	if more == nil {
		return less, false
	}
	inner, had := without(more, path[1:])
	less[path[0]] = inner
	return less, had
}

// with is a nest of maps that has just this value.
func with(path []string, value any) map[string]any {
	if len(path) > 1 {
		value = with(path[1:], value)
	}
	return map[string]any{path[0]: value}
}

func written(t *testing.T, values map[string]any) string {
	t.Helper()
	text, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A key that is not known, or a map or text where something else belongs, is refused at every place, and the message names it.
func TestChartsRefuseWhatTheyDoNotKnow(t *testing.T) {
	for _, name := range chartsOfPrograms {
		tried := map[string]bool{}
		refused := func(path []string, value any) {
			t.Helper()
			key := fmt.Sprint(path, reflect.TypeOf(value))
			if tried[key] {
				return
			}
			tried[key] = true
			_, err := chart.Render(chart.Release{Name: "shop", Chart: filepath.Join(root, "helm", name), Values: []string{written(t, with(path, value))}})
			if err == nil || !strings.Contains(err.Error(), path[len(path)-1]) || !strings.Contains(err.Error(), path[0]) {
				t.Errorf("%s: %s is set to %v: %v", name, strings.Join(path, "."), value, err)
			}
		}
		values := documentsOf(t, filepath.Join(root, "helm", name, "values.yaml"))[0]
		for _, path := range leaves(values) {
			var value any = map[string]any{"nosuchkey": []any{1}}
			if reflect.ValueOf(at(values, path)).Kind() == reflect.Map {
				refused(path, "no map")
				path, value = append(slices.Clone(path), "nosuchkey"), []any{1}
			}
			refused(path, value)
			for n := range path {
				refused(append(slices.Clone(path[:n]), "nosuchkey"), 1)
			}
		}
	}
}

func at(values map[string]any, path []string) any {
	if len(path) == 1 {
		return values[path[0]]
	}
	more, _ := values[path[0]].(map[string]any)
	return at(more, path[1:])
}

func TestChartsRefuseWrongValues(t *testing.T) {
	for value, says := range map[string]string{
		`image.digest="sha256:123"`:                                       "/image/digest",
		`image.digest="latest"`:                                           "/image/digest",
		`image.repository="https://ghcr.io/x"`:                            "/image/repository",
		`image.repository="ghcr.io/x:1.0"`:                                "/image/repository",
		`image.tag=1.1`:                                                   "/image/tag",
		`image.tag="a b"`:                                                 "/image/tag",
		`image.pullPolicy="Sometimes"`:                                    "/image/pullPolicy",
		`imagePullSecrets=["ghcr"]`:                                       "/imagePullSecrets/0",
		`logLevel="loud"`:                                                 "/logLevel",
		`podLabels={"app.kubernetes.io/name":"other"}`:                    "/podLabels/app.kubernetes.io~1name",
		`commonLabels={"helm.sh/chart":"other"}`:                          "/commonLabels/helm.sh~1chart",
		`commonLabels={"team":"a b"}`:                                     "/commonLabels/team",
		`nodeSelector={"spot":true}`:                                      "/nodeSelector/spot",
		`tolerations=[{"key":"spot","effect":"NoRun"}]`:                   "/tolerations/0/effect",
		`affinity={"nodesAffinity":{}}`:                                   "/affinity",
		`priorityClassName="High Priority"`:                               "/priorityClassName",
		`resources={"limits":{"memory":"1 GB"}}`:                          "/resources/limits/memory",
		`resources={"limit":{}}`:                                          "/resources",
		`networkPolicy.egress=[{"to":[{"ipBlock":{"cidr":"10.0.0.1"}}]}]`: "/networkPolicy/egress/0/to/0/ipBlock/cidr",
		`networkPolicy.egress=[{"ports":[{"port":70000}]}]`:               "/networkPolicy/egress/0/ports/0/port",
		`networkPolicy.egress=[{"to":[{}]}]`:                              "/networkPolicy/egress/0/to/0",
		`networkPolicy.egress=[{"from":[]}]`:                              "/networkPolicy/egress/0",
		`gatekeeper replicas=0`:                                           "/replicas",
		`gatekeeper publicUrl="gate.example"`:                             "/publicUrl",
		`gatekeeper policies.default.slo.objective=101`:                   "/policies/default/slo/objective",
		`gatekeeper policies.default.bake.again="1m"`:                     "/policies/default/bake",
		`gatekeeper policies.Default={}`:                                  "/policies'",
		`gatekeeper persistence.size="big"`:                               "/persistence/size",
		`gatekeeper database.existingSecret="Ledger"`:                     "/database/existingSecret",
		`gatekeeper topologySpreadConstraints=[{"maxSkew":1}]`:            "/topologySpreadConstraints/0",
		`loadgen limits.maxRate=0`:                                        "/limits/maxRate",
		`loadgen limits.maxDuration="forever"`:                            "/limits/maxDuration",
		`loadgen allowedHosts=["http://shop"]`:                            "/allowedHosts/0",
		`loadgen tracing.samplerArg=0.1`:                                  "/tracing/samplerArg",
		`podinfo-like autoscaling.behavior={"scaleSideways":{}}`:          "/autoscaling/behavior",
		`podinfo-like autoscaling={"minReplicas":5,"maxReplicas":2}`:      "autoscaling.minReplicas 5 is more than",
		`podinfo-like canary.provider="istio"`:                            "/canary/provider",
		`podinfo-like canary.provider="gatewayapi:v1"`:                    "canary.gatewayRefs",
		`podinfo-like canary.stepWeights=[10,120]`:                        "/canary/stepWeights/1",
		`podinfo-like canary.interval="fast"`:                             "/canary/interval",
		`podinfo-like commitTime="yesterday"`:                             "/commitTime",
		`podinfo-like ingress.host=""`:                                    "/ingress/host",
		`podinfo-like chaos={"enabled":true}`:                             "chaos.token",
		`podinfo-like chaos.plan={"errorRate":2,"ttl":"1m"}`:              "/chaos/plan",
		`podinfo-like podDisruptionBudget.maxUnavailable="half"`:          "/podDisruptionBudget/maxUnavailable",
		`podinfo-like load.shape={"shape":"square"}`:                      "/load/shape/shape",
		`podinfo-like note="` + strings.Repeat("much ", 100) + `"`:        "/note",
		`podinfo-like traceparent="00-0-0-0"`:                             "/traceparent",
	} {
		charts := chartsOfPrograms
		if name, rest, one := strings.Cut(value, " "); one && slices.Contains(charts, name) {
			charts, value = []string{name}, rest
		}
		for _, name := range charts {
			_, err := chart.Render(chart.Release{Name: "shop", Chart: filepath.Join(root, "helm", name), JSON: []string{value}})
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s with %s: %v, want one that names %s", name, value, err, says)
			}
		}
	}
}

// Schemas list what they know wherever there is something to know; only maps that people name keys in are open.
func TestChartsHaveClosedSchemas(t *testing.T) {
	var walk func(where string, node any)
	walk = func(where string, node any) {
		schema, _ := node.(map[string]any)
		if list, ok := node.([]any); ok {
			for i, item := range list {
				walk(fmt.Sprintf("%s/%d", where, i), item)
			}
		}
		if schema["properties"] != nil && reflect.TypeOf(schema["properties"]).Kind() == reflect.Map && schema["additionalProperties"] != false && !strings.HasSuffix(where, "/properties") {
			t.Errorf("%s takes keys that it does not know", where)
		}
		for key, inner := range schema {
			walk(where+"/"+key, inner)
		}
	}
	for _, name := range append(slices.Clone(chartsOfPrograms), "rollout-canary") {
		walk(name, documentsOf(t, filepath.Join(root, "helm", name, "values.schema.json"))[0])
	}
}

// Helm's own lint, with the values of each feature. Its remarks count too, but for the icon, which we have none of.
func TestChartsAreLinted(t *testing.T) {
	for _, u := range uses(t) {
		linted := lint.RunAll(u.release.Chart, documentsOf(t, u.release.Values[0])[0], "demo")
		for _, m := range linted.Messages {
			if m.Severity > support.InfoSev || !strings.Contains(m.Err.Error(), "icon") {
				t.Errorf("%s: %v", u, m)
			}
		}
	}
}

// Kubernetes' own check of the strictest Pod Security Standard, for the pods of helm test too; no pod has a token for the
// API that needs none.
func TestChartsPassPodSecurity(t *testing.T) {
	restricted, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	for _, u := range uses(t) {
		for _, pod := range pods(t, u.release) {
			for _, result := range restricted.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec) {
				if !result.Allowed && (u.name != "hostpath" || result.ForbiddenReason != "restricted volume types" && result.ForbiddenReason != "hostPath volumes") {
					t.Errorf("%s: %s: %s", u, result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
			gatekeeper := u.chart == "gatekeeper" && pod.Spec.RestartPolicy != corev1.RestartPolicyNever
			if token := pod.Spec.AutomountServiceAccountToken; !gatekeeper && (token == nil || *token) {
				t.Errorf("%s: a pod has a token for the API, and asks it nothing", u)
			}
			for _, c := range pod.Spec.Containers {
				if !*c.SecurityContext.ReadOnlyRootFilesystem || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
					t.Errorf("%s: container %s can write to its image, or is not bounded", u, c.Name)
				}
			}
		}
	}
}

// pods are those of a release's Deployments and tests.
func pods(t *testing.T, r chart.Release) []corev1.PodTemplateSpec {
	t.Helper()
	rendered, err := chart.Render(r)
	if err != nil {
		t.Fatal(err)
	}
	var list []corev1.PodTemplateSpec
	for _, doc := range documents(t, slices.Concat(rendered.Objects, rendered.Hooks)) {
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		switch doc["kind"] {
		case "Deployment":
			var d appsv1.Deployment
			err = strict.UnmarshalStrict(text, &d)
			list = append(list, d.Spec.Template)
		case "Pod":
			var p corev1.Pod
			err = strict.UnmarshalStrict(text, &p)
			list = append(list, corev1.PodTemplateSpec{ObjectMeta: p.ObjectMeta, Spec: p.Spec})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(list) != 2 {
		t.Fatalf("%s has %d pods, want a Deployment's and a test's", r.Chart, len(list))
	}
	return list
}

// The README of each chart is made of its values.yaml by helm-docs, and has a word on every value.
func TestChartsAreDocumented(t *testing.T) {
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(root, "helm"))); err != nil {
		t.Fatal(err)
	}
	docs := exec.CommandContext(t.Context(), "go", "run", "github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2",
		"--chart-search-root", folder, "--template-files", "./README.md.gotmpl", "--sort-values-order", "file", "--log-level", "warning")
	docs.Env = append(os.Environ(), "GOWORK=off")
	if out, err := docs.CombinedOutput(); err != nil || len(out) > 0 && !bytes.Contains(out, []byte("go: downloading")) {
		t.Fatalf("%v: %v\n%s", docs.Args, err, out)
	}
	for _, file := range glob(t, "helm", "*", "Chart.yaml") {
		name := filepath.Base(filepath.Dir(file))
		text, err := os.ReadFile(filepath.Join(folder, name, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join(root, "helm", name, "README.md"), text)
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "| `") && strings.HasSuffix(line, "|  |\n") {
				t.Errorf("helm/%s/values.yaml says nothing of this value: %s", name, line)
			}
		}
	}
}
