package chart

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	sorter "helm.sh/helm/v4/pkg/release/v1/util"
	"helm.sh/helm/v4/pkg/strvals"
)

// kubeVersion is what templates see as the cluster's version: the one that all our engines have.
const kubeVersion = "v1.34.0"

// Rendered is what a chart comes to: YAML documents in the order of their installation.
type Rendered struct {
	Definitions []byte // of custom resources; they are installed once and never upgraded
	Objects     []byte // hooks and tests are not among them
	Hooks       []byte // those: what helm test starts, in our charts
	Notes       string // what helm says at the end
}

// Render renders a chart in a folder or archive as `helm template` does, its schema included.
func Render(r Release) (Rendered, error) {
	fail := func(err error) (Rendered, error) {
		return Rendered{}, fmt.Errorf("render chart %s: %w", r.Chart, err)
	}
	chrt, err := loader.Load(r.Chart)
	if err != nil {
		return fail(err)
	}
	given, err := r.values()
	if err != nil {
		return fail(err)
	}
	version, err := common.ParseKubeVersion(kubeVersion)
	if err != nil {
		return fail(err)
	}
	caps := common.DefaultCapabilities.Copy()
	caps.KubeVersion = *version
	values, err := util.ToRenderValues(chrt, given, common.ReleaseOptions{Name: r.Name, Namespace: r.Namespace, Revision: 1, IsInstall: true}, caps)
	if err != nil {
		return fail(err)
	}
	files, err := engine.Render(chrt, values)
	if err != nil {
		return fail(err)
	}
	var notes string
	for name, text := range files {
		if strings.HasSuffix(name, "NOTES.txt") {
			notes += text
			delete(files, name)
		}
	}
	hooks, manifests, err := sorter.SortManifests(files, caps.APIVersions, sorter.InstallOrder)
	if err != nil {
		return fail(err)
	}
	var definitions, objects, tests bytes.Buffer
	for _, crd := range chrt.CRDObjects() {
		fmt.Fprintf(&definitions, "---\n%s\n", crd.File.Data)
	}
	for _, m := range manifests {
		fmt.Fprintf(&objects, "---\n# %s\n%s\n", m.Name, m.Content)
	}
	for _, hook := range hooks {
		fmt.Fprintf(&tests, "---\n# %s\n%s\n", hook.Path, hook.Manifest)
	}
	return Rendered{Definitions: definitions.Bytes(), Objects: objects.Bytes(), Hooks: tests.Bytes(), Notes: notes}, nil
}

// values are those of all files and settings together.
func (r Release) values() (map[string]any, error) {
	all := map[string]any{}
	for _, file := range r.Values {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read values: %w", err)
		}
		more, err := loader.LoadValues(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("read values %s: %w", file, err)
		}
		all = loader.MergeMaps(all, more)
	}
	for _, set := range r.JSON {
		if err := strvals.ParseJSON(set, all); err != nil {
			return nil, fmt.Errorf("value %s: %w", set, err)
		}
	}
	for _, set := range r.Sets {
		if err := strvals.ParseIntoString(set, all); err != nil {
			return nil, fmt.Errorf("value %s: %w", set, err)
		}
	}
	return all, nil
}
