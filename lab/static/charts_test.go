package static

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
)

// hooks are the routes of the gatekeeper's hook door: each the path of one hook type.
var hooks = []string{
	"confirm-rollout", "pre-rollout", "rollout", "confirm-traffic-increase",
	"confirm-promotion", "post-rollout", "rollback", "event",
}

func TestEveryHookOfTheCanaryIsARouteOfItsOwnType(t *testing.T) {
	kinds := render(t, chart.Release{Chart: "podinfo-like", JSON: []string{"load.enabled=true"}})
	if len(kinds["Canary"]) != 1 {
		t.Fatalf("there are %d Canaries, want 1", len(kinds["Canary"]))
	}
	seen := map[string]int{}
	var load []string
	for _, hook := range dig[[]any](t, kinds["Canary"][0], "spec", "analysis", "webhooks") {
		kind, address := dig[string](t, hook, "type"), dig[string](t, hook, "url")
		url, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		switch url.Host {
		case "gatekeeper.rollout-system:8080":
			seen[kind]++
			if want := "/hooks/v1/" + kind; url.Path != want || url.RawQuery != "" {
				t.Errorf("the %s hook goes to %s, want %s: the gatekeeper knows a hook's type by its path alone", kind, address, want)
			}
			if dig[string](t, hook, "metadata", "policy") == "" {
				t.Errorf("the %s hook names no policy", kind)
			}
		case "loadgen.rollout-system:8080":
			load = append(load, kind)
			if url.Path != "/hooks/v1/load" {
				t.Errorf("the load hook goes to %s", address)
			}
		default:
			t.Errorf("the %s hook goes to %s, which is no part of ours", kind, address)
		}
	}
	shaped := render(t, chart.Release{Chart: "podinfo-like", JSON: []string{"load.enabled=true", `load.shape={"shape":"steps","steps":"10x30s,50x1m"}`}})
	for _, hook := range dig[[]any](t, shaped["Canary"][0], "spec", "analysis", "webhooks") {
		if !strings.HasSuffix(dig[string](t, hook, "url"), "/load") {
			continue
		}
		metadata := dig[map[string]any](t, hook, "metadata")
		if metadata["shape"] != "steps" || metadata["steps"] != "10x30s,50x1m" || metadata["rate"] != nil || metadata["duration"] != nil {
			t.Errorf("the load hook sends %v: steps bring their own rates and times, and loadgen refuses others beside them", metadata)
		}
	}
	for _, kind := range hooks {
		if seen[kind] != 1 {
			t.Errorf("the gatekeeper is called %d times for %s, want once", seen[kind], kind)
		}
	}
	if want := []string{"post-rollout", "pre-rollout"}; !slices.Equal(sorted(load), want) {
		t.Errorf("loadgen is called for %v, want %v: it starts with the one and stops with the other", load, want)
	}
}

// Several replicas share a database and agree by a Lease; a single one with a file is replaced before the next one starts.
func TestReplicasOfTheGatekeeperShareADatabase(t *testing.T) {
	one := render(t, chart.Release{Chart: "gatekeeper", Namespace: "rollout-system"})
	if got := dig[string](t, one["Deployment"][0], "spec", "strategy", "type"); got != "Recreate" || len(one["PersistentVolumeClaim"]) != 1 || len(one["PodDisruptionBudget"])+len(one["Role"]) != 0 {
		t.Errorf("with a file: strategy %s, %d claims, %d budgets, %d roles", got, len(one["PersistentVolumeClaim"]), len(one["PodDisruptionBudget"]), len(one["Role"]))
	}
	two := render(t, chart.Release{Chart: "gatekeeper", Namespace: "rollout-system", Sets: []string{"database.existingSecret=ledger"}, JSON: []string{"replicas=2"}})
	if got := dig[string](t, two["Deployment"][0], "spec", "strategy", "type"); got != "RollingUpdate" || len(two["PersistentVolumeClaim"]) != 0 || len(two["PodDisruptionBudget"]) != 1 {
		t.Errorf("with a database: strategy %s, %d claims, %d budgets", got, len(two["PersistentVolumeClaim"]), len(two["PodDisruptionBudget"]))
	}
	for _, volume := range dig[[]any](t, two["Deployment"][0], "spec", "template", "spec", "volumes") {
		if dig[string](t, volume, "name") == "data" {
			t.Error("with a database no files are written, and there is a volume for them")
		}
	}
	var lease string
	for _, variable := range dig[[]any](t, two["Deployment"][0], "spec", "template", "spec", "containers", 0, "env") {
		if dig[string](t, variable, "name") == "GATEKEEPER_LEASE" {
			lease = dig[string](t, variable, "value")
		}
	}
	if name := dig[string](t, two["Role"][0], "rules", 1, "resourceNames", 0); lease != "rollout-system/"+name {
		t.Errorf("the Lease is %q, but the role lets the gatekeeper write %q", lease, name)
	}
	if _, err := chart.Render(chart.Release{Name: "gatekeeper", Chart: filepath.Join(root, "helm", "gatekeeper"), JSON: []string{"replicas=2"}}); err == nil || !strings.Contains(err.Error(), "database.existingSecret") {
		t.Errorf("two replicas with a file each: %v", err)
	}
}

// Who may do what comes from values: the gatekeeper ends where the file of tokens is missing, so it is only named where the
// Secret's key is mounted.
func TestAccessToTheGatekeeperComesFromValues(t *testing.T) {
	variables := func(r chart.Release) (pod map[string]any, values map[string]string) {
		r.Chart = "gatekeeper"
		pod = dig[map[string]any](t, render(t, r)["Deployment"][0], "spec", "template", "spec")
		values = map[string]string{}
		for _, variable := range dig[[]any](t, pod, "containers", 0, "env") {
			if value, ok := dig[map[string]any](t, variable)["value"].(string); ok {
				values[dig[string](t, variable, "name")] = value
			}
		}
		return pod, values
	}
	_, plain := variables(chart.Release{})
	for name, want := range map[string]string{
		"GATEKEEPER_TOKENS_FILE": "", "GATEKEEPER_ANONYMOUS": "viewer", "GATEKEEPER_HOOK_AUTH": "", "GATEKEEPER_RATE": "50", "GATEKEEPER_TRUSTED_PROXIES": "",
		"GATEKEEPER_OIDC_AUDIENCE": "", "GATEKEEPER_OIDC_ISSUER": "", "GATEKEEPER_KEEP_TICKS": "720h",
	} {
		if plain[name] != want {
			t.Errorf("%s is %q by default, want %q", name, plain[name], want)
		}
	}
	pod, set := variables(chart.Release{
		Sets: []string{"tokens.existingSecret=people", "tokens.file=tokens.txt", "access.anonymous=none", "access.pipelines.audience=gatekeeper", "retention.keepTicks=48h"},
		JSON: []string{"access.hookAuth=true", "access.rate=2.5", `access.trustedProxies=["10.42.0.0/16","fd00::/8"]`, `access.pipelines.repositories=["acme/shop","acme/cart-*"]`, `access.pipelines.environments=["production"]`},
	})
	for name, want := range map[string]string{
		"GATEKEEPER_TOKENS_FILE": "/etc/gatekeeper/tokens/tokens", "GATEKEEPER_ANONYMOUS": "none", "GATEKEEPER_HOOK_AUTH": "true", "GATEKEEPER_RATE": "2.5", "GATEKEEPER_TRUSTED_PROXIES": "10.42.0.0/16,fd00::/8",
		"GATEKEEPER_OIDC_AUDIENCE": "gatekeeper", "GATEKEEPER_OIDC_ISSUER": "https://token.actions.githubusercontent.com", "GATEKEEPER_OIDC_REPOSITORIES": "acme/shop,acme/cart-*",
		"GATEKEEPER_OIDC_SUBJECTS": "", "GATEKEEPER_OIDC_ENVIRONMENTS": "production", "GATEKEEPER_KEEP_TICKS": "48h",
	} {
		if set[name] != want {
			t.Errorf("%s is %q, want %q", name, set[name], want)
		}
	}
	mounted := ""
	for _, volume := range dig[[]any](t, pod, "volumes") {
		if dig[string](t, volume, "name") == "tokens" {
			mounted = dig[string](t, volume, "secret", "secretName") + " " + dig[string](t, volume, "secret", "items", 0, "key") + " " + dig[string](t, volume, "secret", "items", 0, "path")
		}
	}
	if mounted != "people tokens.txt tokens" {
		t.Errorf("mounted is %q", mounted)
	}
	for refused, says := range map[string]string{
		`tokens.file="tokens"`:                         "tokens.existingSecret",
		`access.hookAuth=true`:                         "tokens.file",
		`access.anonymous="operator"`:                  "/access/anonymous",
		`access.rate=0`:                                "/access/rate",
		`access.trustedProxies=["10.42.0.1"]`:          "/access/trustedProxies",
		`access.pipelines.issuer="http://example.org"`: "/access/pipelines/issuer",
		`access.pipelines.repositories=["a/b,c/d"]`:    "/access/pipelines/repositories",
		`access.pipelines.repository=["a/b"]`:          "/access/pipelines",
		`retention.keepTicks="90d"`:                    "/retention/keepTicks",
	} {
		_, err := chart.Render(chart.Release{Name: "gatekeeper", Chart: filepath.Join(root, "helm", "gatekeeper"), JSON: []string{refused}})
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), ".", "/"), strings.ReplaceAll(says, ".", "/")) {
			t.Errorf("%s: %v, want one that names %s", refused, err, says)
		}
	}
}

// The charts check values against their schemas, and lab's values must fit what lab itself does.
func TestLabValuesFitTheCharts(t *testing.T) {
	values := func(name string) string { return filepath.Join(root, "lab", "values", name+".yaml") }
	podinfo := render(t, chart.Release{
		Chart: "podinfo-like", Values: []string{values("podinfo")}, JSON: []string{`chaos.plan={"errorRate":0.2,"status":500,"ttl":"30m"}`},
	})
	pod := dig[map[string]any](t, podinfo["Deployment"][0], "spec", "template", "spec")
	if got := dig[string](t, pod, "volumes", 0, "secret", "secretName"); got != "lab-chaos" {
		t.Errorf("the token of /chaos is in %s, but lab makes lab-chaos", got)
	}
	if host := dig[string](t, podinfo["Ingress"][0], "spec", "rules", 0, "host"); host != "podinfo.example" {
		t.Errorf("the host is %s, but lab's users ask for podinfo.example", host)
	}
	for _, object := range podinfo["Service"] {
		// The one through which pods find each other has no address that users could come to.
		name, spec := dig[string](t, object, "metadata", "name"), dig[map[string]any](t, object, "spec")
		if name != "podinfo-pods" || spec["clusterIP"] != "None" {
			t.Errorf("the chart makes a Service %s: Flagger makes it, and at each upgrade this one would send users to an unjudged version", name)
		}
	}
	if _, set := dig[map[string]any](t, podinfo["Deployment"][0], "spec")["replicas"]; set {
		t.Error("the chart sets the number of pods, which is Flagger's")
	}

	gatekeeper := render(t, chart.Release{Chart: "gatekeeper", Values: []string{values("gatekeeper")}})
	var policy map[string]any
	for _, object := range gatekeeper["ConfigMap"] {
		if !strings.HasSuffix(dig[string](t, object, "metadata", "name"), "-policies") {
			continue
		}
		text := dig[string](t, object, "data", "default.yaml")
		policy = documents(t, []byte(text))[0]
	}
	if got := dig[string](t, policy, "bake", "first"); got != "20s" {
		t.Errorf("the first weight is baked for %s, but lab's windows are made for 20s", got)
	}

	loadgen := render(t, chart.Release{Chart: "loadgen", Values: []string{values("loadgen")}})
	allowed := ""
	for _, variable := range dig[[]any](t, loadgen["Deployment"][0], "spec", "template", "spec", "containers", 0, "env") {
		if dig[string](t, variable, "name") == "LOADGEN_ALLOWED_HOSTS" {
			allowed = dig[string](t, variable, "value")
		}
	}
	for _, entry := range []string{"ingress-nginx-controller.ingress-nginx", "traefik.traefik"} {
		if !slices.Contains(strings.Split(allowed, ","), entry) {
			t.Errorf("loadgen may only reach %q, but lab's users go to %s", allowed, entry)
		}
	}
}

func TestDockerfilesArePinnedAndNotRoot(t *testing.T) {
	files := map[string]string{
		"Dockerfile.app": "app", "Dockerfile.gatekeeper": "gatekeeper", "Dockerfile.loadgen": "loadgen", "lab/receiver/Dockerfile": "receiver",
	}
	bases := map[string]string{} // image with tag by file: one base must not have two digests
	for file, name := range files {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		var stages []string
		last := map[string]string{} // of the final stage
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(line)
			if len(words) < 2 {
				continue
			}
			instruction := strings.ToUpper(words[0])
			last[instruction] = strings.TrimSpace(strings.TrimPrefix(line, words[0]))
			if instruction != "FROM" {
				continue
			}
			last = map[string]string{}
			base := words[1]
			if strings.HasPrefix(base, "--platform") {
				base = words[2]
			}
			image, digest, pinned := strings.Cut(base, "@sha256:")
			if !pinned || len(digest) != 64 {
				t.Errorf("%s: %s is not pinned by digest", file, base)
			}
			if other, known := bases[image]; known && other != digest {
				t.Errorf("%s: %s has another digest elsewhere", file, image)
			}
			bases[image] = digest
			stages = append(stages, image)
		}
		if len(stages) != 2 || strings.HasPrefix(stages[1], "golang") {
			t.Errorf("%s: stages are %v, want a build and a small final one", file, stages)
		}
		if user := last["USER"]; user != "65532:65532" {
			t.Errorf("%s: runs as %q, want 65532:65532", file, user)
		}
		if want := `["/` + name + `"]`; last["ENTRYPOINT"] != want {
			t.Errorf("%s: entrypoint is %s, want %s", file, last["ENTRYPOINT"], want)
		}
	}
}

// A digest is the content itself: what a tag says beside it does not count, and the chart's own version is not put there.
func TestImagesAreNamedByTagOrDigest(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	for _, name := range []string{"gatekeeper", "loadgen", "podinfo-like"} {
		image := func(sets ...string) string {
			kinds := render(t, chart.Release{Chart: name, Sets: append([]string{"image.repository=registry:5000/x"}, sets...)})
			return dig[string](t, kinds["Deployment"][0], "spec", "template", "spec", "containers", 0, "image")
		}
		for want, sets := range map[string][]string{
			"registry:5000/x:1.10":           {"image.tag=1.10"},
			"registry:5000/x@" + digest:      {"image.digest=" + digest},
			"registry:5000/x:1.10@" + digest: {"image.tag=1.10", "image.digest=" + digest},
		} {
			if got := image(sets...); got != want {
				t.Errorf("%s with %q: %s, want %s", name, sets, got, want)
			}
		}
		if got := image(); !strings.HasPrefix(got, "registry:5000/x:") || strings.Contains(got, "@") {
			t.Errorf("%s with neither: %s", name, got)
		}
	}
}

// A tag may be longer than a label, and begin or end as none may.
func TestEveryTagBecomesALabel(t *testing.T) {
	for _, name := range chartsOfPrograms {
		for _, tag := range []string{"1.10", "_edge-", strings.Repeat("a", 62) + "-b", strings.Repeat("a", 60) + "..." + strings.Repeat("b", 60), "___"} {
			for kind, objects := range render(t, chart.Release{Chart: name, Sets: []string{"image.tag=" + tag}}) {
				label := dig[string](t, objects[0], "metadata", "labels", "app.kubernetes.io/version")
				if wrong := validation.IsValidLabelValue(label); len(wrong) > 0 {
					t.Errorf("%s with the tag %s: %s has the label %q: %q", name, tag, kind, label, wrong)
				}
			}
		}
	}
}

// Where hooks need a token, it stands in the gatekeeper's address and every hook of the Canary has it.
func TestACanarysHooksBringTheirToken(t *testing.T) {
	canary := render(t, chart.Release{Chart: "podinfo-like", JSON: []string{`gatekeeper.url="http://flagger:0123456789abcdef@gatekeeper.rollout-system:8080"`}})["Canary"][0]
	for _, hook := range dig[[]any](t, canary, "spec", "analysis", "webhooks") {
		if address, err := url.Parse(dig[string](t, hook, "url")); err != nil || address.User.String() != "flagger:0123456789abcdef" {
			t.Errorf("the hook %v has no token: %v", dig[string](t, hook, "name"), err)
		}
	}
}
