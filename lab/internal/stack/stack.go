// Package stack turns an empty cluster into one with everything a rollout needs, step by step, and back.
package stack

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/cluster"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// The namespaces, beside the one that the service is released in.
const (
	IngressNamespace    = "ingress-nginx"
	FlaggerNamespace    = "flagger-system"
	MonitoringNamespace = "monitoring"
	SystemNamespace     = "rollout-system"
)

// The versions of public charts that are installed when no other chart is given.
const (
	flaggerVersion      = "1.44.0"
	ingressNginxVersion = "4.15.1"
)

// Config is what a stack is made of.
type Config struct {
	Root   string // of the repository
	Engine cluster.Engine

	Version      string   // of gatekeeper, loadgen and receiver
	AppVersions  []string // that will be released
	FlaggerChart string   // "" is the public one
	IngressChart string   // "" is the public one

	IngressValues    []string // files, the last one wins
	FlaggerValues    []string
	GatekeeperValues []string
	GatekeeperVolume string // folder of the node for the gatekeeper's memory; "" is a claim
}

// Stack is what New makes of a Config. Its methods are not safe for concurrent use.
type Stack struct {
	Config
	images map[string]string // full name by short name; written by the images step, read by those after it
}

// New returns the stack of cfg; nothing is done yet.
func New(cfg Config) *Stack { return &Stack{Config: cfg, images: map[string]string{}} }

// Check says what is missing on this machine.
func (s *Stack) Check() error {
	if err := sh.Need(cluster.Advice(), append([]string{"kubectl", "helm"}, s.Engine.Needs...)...); err != nil {
		return err
	}
	return nil
}

// Steps are all steps in their order.
func (s *Stack) Steps() []Step {
	return []Step{
		{Name: "cluster", Done: s.Engine.Made, Run: s.Engine.Make},
		{Name: "images", Run: s.putImages},
		s.helmStep("ingress-nginx", s.ingressNginx),
		s.kubectlStep(applied{
			name: "monitoring", namespace: MonitoringNamespace, args: []string{"-k", s.path("monitoring")},
			inputs: []string{s.path("monitoring")}, deployment: "prometheus",
		}),
		s.helmStep("flagger", s.flagger),
		s.kubectlStep(applied{
			name: "metric template", namespace: FlaggerNamespace, args: []string{"-f", s.path("flagger", "metric-template.yaml")},
			inputs: []string{s.path("flagger", "metric-template.yaml")},
		}),
		s.helmStep("gatekeeper", s.gatekeeper),
		s.helmStep("loadgen", s.loadgen),
		s.receiver(),
	}
}

func (s *Stack) path(parts ...string) string {
	return filepath.Join(append([]string{s.Root}, parts...)...)
}

// putImages builds all images and gets them into the cluster. It has no check: building what has not changed is quick,
// and only a build shows that.
func (s *Stack) putImages(ctx context.Context) error {
	images := []cluster.Image{
		{Name: "gatekeeper", Version: s.Version, Dockerfile: "Dockerfile.gatekeeper", Context: ".", Folder: "gatekeeper"},
		{Name: "loadgen", Version: s.Version, Dockerfile: "Dockerfile.loadgen", Context: ".", Folder: "loadgen"},
		{Name: "receiver", Version: s.Version, Dockerfile: "lab/receiver/Dockerfile", Context: "lab/receiver", Folder: "lab/receiver"},
	}
	for _, version := range s.AppVersions {
		images = append(images, cluster.Image{Name: "app", Version: version, Tag: version, Dockerfile: "Dockerfile.app", Context: ".", Folder: "app"})
	}
	for _, image := range images {
		name, err := s.Engine.Put(ctx, image)
		if err != nil {
			return err
		}
		s.images[image.Name] = name
	}
	return nil
}

// AppRepository is the app's image without its tag; it is known after the images step.
func (s *Stack) AppRepository() string { return s.repository("app") }

func (s *Stack) repository(image string) string {
	name := s.images[image]
	return name[:max(strings.LastIndex(name, ":"), 0)]
}

func (s *Stack) tag(image string) string {
	name := s.images[image]
	return name[strings.LastIndex(name, ":")+1:]
}

// release is a chart to be installed.
type release struct {
	name, namespace string
	chart           []string // the arguments that name it
	inputs          []string // files and folders whose change asks for another installation
	values          []string // files
	sets            []string // key=value
	deployment      string
	crds            bool // it brings custom resource definitions
}

func public(local, name, repository, version string) (chart, inputs []string) {
	if local != "" {
		return []string{local}, []string{local}
	}
	return []string{name, "--repo", repository, "--version", version}, nil
}

func (s *Stack) ingressNginx() release {
	chart, inputs := public(s.IngressChart, "ingress-nginx", "https://kubernetes.github.io/ingress-nginx", ingressNginxVersion)
	return release{
		name: "ingress-nginx", namespace: IngressNamespace, chart: chart, inputs: inputs,
		values:     append([]string{s.path("flagger", "values-ingress-nginx.yaml"), s.path("lab", "values", "ingress-nginx.yaml")}, s.IngressValues...),
		deployment: "ingress-nginx-controller",
	}
}

func (s *Stack) flagger() release {
	chart, inputs := public(s.FlaggerChart, "flagger", "https://flagger.app", flaggerVersion)
	return release{
		name: "flagger", namespace: FlaggerNamespace, chart: chart, inputs: inputs,
		values:     append([]string{s.path("flagger", "values-flagger.yaml")}, s.FlaggerValues...),
		deployment: "flagger", crds: true,
	}
}

func (s *Stack) gatekeeper() release {
	r := s.ours("gatekeeper", append([]string{s.path("lab", "values", "gatekeeper.yaml")}, s.GatekeeperValues...))
	if s.GatekeeperVolume != "" {
		r.sets = append(r.sets, "persistence.hostPath="+s.GatekeeperVolume)
	}
	return r
}

func (s *Stack) loadgen() release { return s.ours("loadgen", nil) }

func (s *Stack) ours(name string, values []string) release {
	chart := s.path("helm", name)
	return release{
		name: name, namespace: SystemNamespace, chart: []string{chart}, inputs: []string{chart}, values: values,
		sets:       []string{"image.repository=" + s.repository(name), "image.tag=" + s.tag(name)},
		deployment: name,
	}
}

// helmStep installs or upgrades a release. What is to be installed is asked for when it is needed: images have no
// names before.
func (s *Stack) helmStep(name string, what func() release) Step {
	return Step{
		Name: name,
		Done: func(ctx context.Context) (bool, error) {
			r := what()
			sum, err := digest(r.args(), append(r.inputs, r.values...))
			if err != nil {
				return false, err
			}
			return s.stamped(ctx, r.namespace, name, sum, r.deployment)
		},
		Run: func(ctx context.Context) error { return s.install(ctx, what()) },
	}
}

func (r release) args() []string {
	args := append([]string{"upgrade", "--install", r.name}, r.chart...)
	args = append(args, "--namespace", r.namespace)
	for _, file := range r.values {
		args = append(args, "--values", file)
	}
	for _, set := range r.sets {
		args = append(args, "--set-string", set)
	}
	return args
}

func (s *Stack) install(ctx context.Context, r release) error {
	sum, err := digest(r.args(), append(r.inputs, r.values...))
	if err != nil {
		return err
	}
	if err := s.namespace(ctx, r.namespace); err != nil {
		return err
	}
	fresh := false
	if r.crds {
		if fresh, err = s.noCRDs(ctx); err != nil {
			return err
		}
	}
	if err := s.Engine.Access.Helm(r.args()...).Run(ctx); err != nil {
		return err
	}
	if fresh {
		if err := s.claimCRDs(ctx); err != nil {
			return err
		}
	}
	return s.settle(ctx, r.namespace, r.name, sum, r.deployment)
}

// applied is a set of manifests.
type applied struct {
	name, namespace string
	args            []string // of kubectl apply, that name them
	stdin           func() (string, error)
	inputs          []string // files and folders they come from
	deployment      string   // to be waited for; "" is none
}

func (s *Stack) kubectlStep(a applied) Step {
	sum := func() (string, string, error) {
		text := ""
		if a.stdin != nil {
			var err error
			if text, err = a.stdin(); err != nil {
				return "", "", err
			}
		}
		hash, err := digest(append([]string{text}, a.args...), a.inputs)
		return text, hash, err
	}
	return Step{
		Name: a.name,
		Done: func(ctx context.Context) (bool, error) {
			_, hash, err := sum()
			if err != nil {
				return false, err
			}
			return s.stamped(ctx, a.namespace, a.name, hash, a.deployment)
		},
		Run: func(ctx context.Context) error {
			text, hash, err := sum()
			if err != nil {
				return err
			}
			if err := s.namespace(ctx, a.namespace); err != nil {
				return err
			}
			apply := s.Engine.Access.Kubectl(append([]string{"apply"}, a.args...)...)
			apply.Stdin = text
			if err := apply.Run(ctx); err != nil {
				return err
			}
			return s.settle(ctx, a.namespace, a.name, hash, a.deployment)
		},
	}
}

//go:embed receiver.yaml
var manifests embed.FS

// receiver is the step for the receiver of notifications, which only the lab has.
func (s *Stack) receiver() Step {
	return s.kubectlStep(applied{
		name: "receiver", namespace: SystemNamespace, args: []string{"-f", "-"}, deployment: "receiver",
		stdin: func() (string, error) {
			text, err := manifests.ReadFile("receiver.yaml")
			if err != nil {
				return "", fmt.Errorf("read receiver's manifest: %w", err)
			}
			image := s.images["receiver"]
			if image == "" {
				return "", errors.New("the receiver's image has no name yet")
			}
			return strings.ReplaceAll(string(text), "RECEIVER_IMAGE", image), nil
		},
	})
}
