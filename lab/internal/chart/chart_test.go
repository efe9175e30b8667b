package chart

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const podinfo = "../../../helm/podinfo-like"

func TestArgs(t *testing.T) {
	r := Release{
		Name: "flagger", Namespace: "flagger-system", Chart: "flagger", Repository: "https://flagger.app", Version: "1.44.0",
		Values: []string{"a.yaml", "b.yaml"}, Sets: []string{"x=1"}, JSON: []string{`y={"z":2}`},
	}
	want := []string{
		"upgrade", "--install", "flagger", "flagger", "--repo", "https://flagger.app", "--version", "1.44.0", "--namespace", "flagger-system",
		"--values", "a.yaml", "--values", "b.yaml", "--set-string", "x=1", "--set-json", `y={"z":2}`,
	}
	if got := r.Args(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRender(t *testing.T) {
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte("logLevel: warn\nchaos: {enabled: true, existingSecret: hidden}\nimage: {tag: from-file}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Render(Release{
		Name: "shop", Namespace: "demo", Chart: podinfo, Values: []string{"../../values/podinfo.yaml", values},
		Sets: []string{"image.tag=1.10"}, JSON: []string{`chaos.plan={"errorRate":0.2,"ttl":"10m"}`},
	})
	if err != nil {
		t.Fatal(err)
	}
	text := string(got.Objects)
	for name, want := range map[string]string{
		"the release's name is the object's":       "name: shop\n",
		"a set value wins and stays text":          "/app:1.10",
		"the last file wins over the one before":   "secretName: hidden",
		"a file's other values are kept":           "host: \"podinfo.example\"",
		"JSON comes through as it is":              `{\"errorRate\":0.2,\"ttl\":\"10m\"}`,
		"the Canary is among the objects":          "kind: Canary",
		"what no value changes has its default":    "terminationGracePeriodSeconds: 30",
		"a file's value wins over the chart's own": "value: warn",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s: no %q in\n%s", name, want, text)
		}
	}
	if strings.Contains(text, "helm.sh/hook") {
		t.Error("a test pod must not be installed with the release")
	}
	if account, canary := strings.Index(text, "kind: ServiceAccount"), strings.Index(text, "kind: Canary"); account > canary {
		t.Error("a ServiceAccount must come before what uses it")
	}
}

func TestRenderRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		r    Release
		want string
	}{
		"a chart that is not there":        {Release{Name: "a", Chart: "nowhere"}, "render chart nowhere"},
		"a value that the schema forbids":  {Release{Name: "a", Chart: podinfo, JSON: []string{"terminationDrain=-1"}}, "terminationDrain"},
		"a file that is not there":         {Release{Name: "a", Chart: podinfo, Values: []string{"no.yaml"}}, "no.yaml"},
		"a setting without a value":        {Release{Name: "a", Chart: podinfo, Sets: []string{"novalue"}}, "novalue"},
		"what the chart itself calls fail": {Release{Name: "a", Chart: podinfo, JSON: []string{`chaos.plan={"ttl":"1m"}`}}, "chaos.enabled is false"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Render(c.r); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}
