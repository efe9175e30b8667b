// Package stack turns an empty cluster into one with everything a rollout needs, step by step, and back.
package stack

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/cluster"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
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
	FlaggerVersion      = "1.44.0"
	ingressNginxVersion = "4.15.1"
)

// ReceiverURL is the lab's own receiver, as the cluster knows it. It takes spans, too.
const ReceiverURL = "http://receiver." + SystemNamespace + ":8080"

// Config is what a stack is made of.
type Config struct {
	Root   string // of the repository
	Engine cluster.Engine

	Provider     string   // of the Canaries; "" is NGINX
	Version      string   // of gatekeeper, loadgen and receiver
	AppVersions  []string // that will be released
	FlaggerChart string   // "" is the public one
	IngressChart string   // "" is the public one

	IngressValues    []string // files, the last one wins
	FlaggerValues    []string
	GatekeeperBase   string // in the place of the lab's own values for it; "" is those
	GatekeeperValues []string
	GatekeeperVolume string // folder of the node for the gatekeeper's memory; "" is a claim
	NetworkPolicies  bool   // with those of our charts
	Views            bool   // also Grafana, Jaeger and a collector
	Traces           string // OTLP endpoint for the spans of gatekeeper and loadgen; "" is none
}

// Stack is what New makes of a Config. Its methods are not safe for concurrent use.
type Stack struct {
	Config
	images map[string]string // full name by short name; written by the images step, read by those after it
	kube   *kube.Client      // made by client, when the cluster is there
}

// New returns the stack of cfg; nothing is done yet.
func New(cfg Config) *Stack { return &Stack{Config: cfg, images: map[string]string{}} }

// Check says what is missing on this machine.
func (s *Stack) Check() error { return sh.Need(cluster.Advice(), s.Engine.Needs...) }

// Steps are all steps in their order.
func (s *Stack) Steps() []Step { return append(s.Ground(), s.Charts()...) }

// Charts are the steps of our own charts beside the app's, in the order in which they are upgraded.
func (s *Stack) Charts() []Step {
	return []Step{s.helmStep("gatekeeper", s.gatekeeper), s.helmStep("loadgen", s.loadgen)}
}

// Ground are the steps of all that our charts stand on.
func (s *Stack) Ground() []Step {
	var steps []Step
	for _, task := range s.Engine.Before {
		steps = append(steps, Step(task))
	}
	steps = append(
		steps,
		Step{Name: "cluster", Done: s.Engine.Made, Run: s.Engine.Make},
		Step{Name: "images", Run: s.putImages},
	)
	steps = append(steps, s.entrySteps()...)
	steps = append(steps, s.tokensStep(), s.applyStep(s.monitoring()))
	if s.Views {
		steps = append(steps, s.applyStep(s.views()))
	}
	return append(
		steps,
		s.helmStep("flagger", s.flagger),
		s.applyStep(s.metricTemplate()),
		s.applyStep(s.receiver()),
	)
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
		{Name: "receiver", Version: s.Version, Dockerfile: "lab/receiver/Dockerfile", Context: "lab", Folder: "lab/receiver"},
	}
	for _, version := range s.AppVersions {
		images = append(images, cluster.Image{Name: "app", Version: version, Tag: version, Dockerfile: "Dockerfile.app", Context: ".", Folder: "app"})
	}
	// One after the other, for they share most of what is compiled; what is beside them shares nothing.
	making, ctx := errgroup.WithContext(ctx)
	making.Go(func() error {
		for _, image := range images {
			name, err := s.Engine.Put(ctx, image)
			if err != nil {
				return err
			}
			s.images[image.Name] = name
		}
		return nil
	})
	for _, task := range s.Engine.Beside {
		making.Go(func() error {
			if _, err := Step(task).do(ctx); err != nil {
				return fmt.Errorf("%s: %w", task.Name, err)
			}
			return nil
		})
	}
	return making.Wait()
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
