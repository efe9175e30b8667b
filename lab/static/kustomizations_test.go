package static

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	kubelabels "k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/resid"
	strict "sigs.k8s.io/yaml"
)

// kustomized is what kubectl apply -k would send of a folder.
func kustomized(t *testing.T, folder string) resmap.ResMap {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatalf("build %s: %v", folder, err)
	}
	return resources
}

// only is the one object of a kind with a name, read strictly.
func only[T any](t *testing.T, resources resmap.ResMap, kind, name string) T {
	t.Helper()
	var object T
	found, err := resources.Select(types.Selector{ResId: resid.ResId{Gvk: resid.Gvk{Kind: kind}, Name: name}})
	if err != nil || len(found) != 1 {
		t.Fatalf("there are %d of %s %s, %v; want one", len(found), kind, name, err)
	}
	text, err := found[0].AsYAML()
	if err != nil {
		t.Fatal(err)
	}
	if err := strict.UnmarshalStrict(text, &object); err != nil {
		t.Fatalf("%s %s: %v", kind, name, err)
	}
	return object
}

// Whoever looks for Prometheus looks for one address, with the operator or without it. Flagger's check that can not ask it fails,
// and good releases go back.
func TestPrometheusIsAtOneAddress(t *testing.T) {
	for folder, pods := range map[string]kubelabels.Set{
		"monitoring": {"app.kubernetes.io/name": "prometheus"},
		// What the operator puts on the pods of a Prometheus k8s (prometheus-operator, pkg/prometheus/server/statefulset.go).
		"monitoring/operator": {
			"app.kubernetes.io/name": "prometheus", "app.kubernetes.io/managed-by": "prometheus-operator", "app.kubernetes.io/instance": "k8s",
			"operator.prometheus.io/name": "k8s", "operator.prometheus.io/shard": "0", "prometheus": "k8s",
		},
	} {
		service := only[corev1.Service](t, kustomized(t, filepath.Join(root, folder)), "Service", "prometheus")
		if !kubelabels.SelectorFromSet(service.Spec.Selector).Matches(pods) {
			t.Errorf("Service prometheus of %s selects %v, not its pods", folder, service.Spec.Selector)
		}
		address := fmt.Sprintf("http://%s.%s:%d", service.Name, service.Namespace, service.Spec.Ports[0].Port)
		for file, path := range map[string][]any{
			"flagger/values-flagger.yaml":               {"metricsServer"},
			"flagger/metric-template.yaml":              {"spec", "provider", "address"},
			"monitoring/views/grafana/datasources.yaml": {"datasources", 0, "url"},
		} {
			text, err := os.ReadFile(filepath.Join(root, file))
			if err != nil {
				t.Fatal(err)
			}
			if looked := dig[string](t, documents(t, text)[0], path...); looked != address {
				t.Errorf("%s looks for %s, and Prometheus of %s is at %s", file, looked, folder, address)
			}
		}
	}
}

// kubectl delete -k must not take the namespace away in which the operator's own Prometheus lives.
func TestTheOperatorsNamespaceIsNotOurs(t *testing.T) {
	found, err := kustomized(t, filepath.Join(root, "monitoring", "operator")).Select(types.Selector{ResId: resid.ResId{Gvk: resid.Gvk{Kind: "Namespace"}}})
	if err != nil || len(found) != 0 {
		t.Errorf("monitoring/operator has %d namespaces, %v", len(found), err)
	}
}

// Other rules must not cost the 30 days: the pod stays as it is, and Prometheus reads them.
func TestOtherRulesKeepPrometheusMemory(t *testing.T) {
	resources := kustomized(t, filepath.Join(root, "monitoring"))
	only[corev1.ConfigMap](t, resources, "ConfigMap", "prometheus")
	d := only[appsv1.Deployment](t, resources, "Deployment", "prometheus")
	if config := d.Spec.Template.Spec.Volumes[0].ConfigMap; config == nil || config.Name != "prometheus" {
		t.Errorf("the pod has its configuration from %v: another name with each content is another pod", config)
	}
	// A file that is mounted by a subPath never changes.
	for _, mount := range d.Spec.Template.Spec.Containers[0].VolumeMounts {
		if mount.SubPath != "" {
			t.Errorf("%s is mounted by a subPath", mount.MountPath)
		}
	}
	if args := strings.Join(d.Spec.Template.Spec.Containers[0].Args, " "); !strings.Contains(args, "--enable-feature=auto-reload-config") {
		t.Errorf("Prometheus does not look for changed files: %s", args)
	}
}

var yamlBlocks = regexp.MustCompile("(?s)```yaml\n(.*?)\n```")

// The kustomizations of the page are built with this repository in the place of the remote one; the one that gives Prometheus a
// volume brings the claim along.
func TestTheKustomizationsOfThePageAreBuilt(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "monitoring", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	repository, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	remote := regexp.MustCompile(`https://github.com/rollout-monitoring/microservice_rollout_monitoring//([\w/]+)\?ref=main`)
	kept, elsewhere := false, false
	for _, block := range yamlBlocks.FindAllStringSubmatch(string(page), -1) {
		folder := t.TempDir()
		to, err := filepath.Rel(folder, repository)
		if err != nil {
			t.Fatal(err)
		}
		text := remote.ReplaceAllString(block[1], to+"/$1")
		if text == block[1] {
			t.Errorf("this kustomization takes nothing of ours:\n%s", text)
		}
		if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		resources := kustomized(t, folder)
		switch {
		case strings.Contains(text, "monitoring/storage"):
			kept = true
			claim := only[corev1.PersistentVolumeClaim](t, resources, "PersistentVolumeClaim", "prometheus")
			d := only[appsv1.Deployment](t, resources, "Deployment", "prometheus")
			data := volume(d.Spec.Template.Spec, "/prometheus")
			if data.PersistentVolumeClaim == nil || data.PersistentVolumeClaim.ClaimName != claim.Name || data.EmptyDir != nil || claim.Namespace != d.Namespace {
				t.Errorf("Prometheus keeps its data in %+v", data)
			}
		case strings.Contains(text, "monitoring/operator"):
			elsewhere = true
			service := only[corev1.Service](t, resources, "Service", "prometheus")
			if service.Spec.Type != corev1.ServiceTypeExternalName || service.Spec.ExternalName == "" || len(service.Spec.Selector) != 0 {
				t.Errorf("a Prometheus elsewhere is reached by %+v", service.Spec)
			}
		}
	}
	if !kept || !elsewhere {
		t.Error("the page has no kustomization for a volume, or none for an operator's Prometheus in another namespace")
	}
}

// volume is what is mounted at a path of the first container.
func volume(pod corev1.PodSpec, path string) corev1.VolumeSource {
	for _, mount := range pod.Containers[0].VolumeMounts {
		for _, v := range pod.Volumes {
			if mount.MountPath == path && v.Name == mount.Name {
				return v.VolumeSource
			}
		}
	}
	return corev1.VolumeSource{}
}
