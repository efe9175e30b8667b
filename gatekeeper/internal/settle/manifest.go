package settle

import (
	"strings"

	"github.com/goccy/go-yaml"
)

// object is what is read of a manifest's document.
type object struct {
	Kind     string `yaml:"kind"`
	Metadata struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec struct {
		TargetRef struct {
			Kind string `yaml:"kind"`
			Name string `yaml:"name"`
		} `yaml:"targetRef"`
		Template struct {
			Metadata struct {
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"metadata"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

// DeployID is the deploy id in the pod template of the Canary's target, as a manifest of Helm's has it; "" when there is
// none. The target is the one that the Canary in the manifest names, without one the Deployment of the Canary's own name.
func DeployID(manifest, canary string) string {
	kind, name := "Deployment", canary
	var objects []object
	for _, text := range strings.Split("\n"+manifest, "\n---") {
		var o object
		if yaml.Unmarshal([]byte(text), &o) != nil {
			continue // of another shape than what is looked for
		}
		if ref := o.Spec.TargetRef; o.Kind == "Canary" && o.Metadata.Name == canary && ref.Name != "" {
			kind, name = ref.Kind, ref.Name
		}
		objects = append(objects, o)
	}
	for _, o := range objects {
		if o.Kind == kind && o.Metadata.Name == name {
			return o.Spec.Template.Metadata.Annotations["rollout.monitoring/deploy-id"]
		}
	}
	return ""
}
