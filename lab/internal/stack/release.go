package stack

import (
	"cmp"
	"context"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
)

// release is a chart to be installed.
type release struct {
	chart.Release
	inputs     []string // files and folders, beside values, whose change asks for another installation
	deployment string
	crds       bool // it brings custom resource definitions
}

func (r release) digest() (string, error) { return digest(r.Args(), append(r.inputs, r.Values...)) }

// source points a release at a local chart, or else at the public one.
func (r release) source(local, name, repository, version string) release {
	if local != "" {
		r.Chart, r.inputs = local, []string{local}
		return r
	}
	r.Chart, r.Repository, r.Version = name, repository, version
	return r
}

func (s *Stack) ingressNginx(context.Context) (release, error) {
	r := release{deployment: "ingress-nginx-controller", Release: chart.Release{
		Name: "ingress-nginx", Namespace: IngressNamespace,
		Values: append([]string{s.path("flagger", "values-ingress-nginx.yaml"), s.path("lab", "values", "ingress-nginx.yaml")}, s.IngressValues...),
	}}
	return r.source(s.IngressChart, "ingress-nginx", "https://kubernetes.github.io/ingress-nginx", ingressNginxVersion), nil
}

func (s *Stack) flagger(ctx context.Context) (release, error) {
	r := release{deployment: "flagger", crds: true, Release: chart.Release{
		Name: "flagger", Namespace: FlaggerNamespace,
		Values: append([]string{s.path("flagger", "values-flagger.yaml")}, s.FlaggerValues...),
	}}
	local := s.FlaggerChart
	if local == "" && s.Engine.Flagger != nil {
		var err error
		if local, err = s.Engine.Flagger(ctx); err != nil {
			return release{}, err
		}
	}
	return r.source(local, "flagger", "https://flagger.app", FlaggerVersion), nil
}

func (s *Stack) gatekeeper(context.Context) (release, error) {
	base := cmp.Or(s.GatekeeperBase, s.path("lab", "values", "gatekeeper.yaml"))
	values := []string{base}
	if s.NetworkPolicies {
		values = append(values, s.path("lab", "values", "gatekeeper-network-policy.yaml"))
	}
	r := s.ours("gatekeeper", append(values, s.GatekeeperValues...))
	if s.GatekeeperVolume != "" {
		r.Sets = append(r.Sets, "persistence.hostPath="+s.GatekeeperVolume)
	}
	return r, nil
}

func (s *Stack) loadgen(context.Context) (release, error) {
	values := []string{s.path("lab", "values", "loadgen.yaml")}
	if s.NetworkPolicies {
		values = append(values, s.path("lab", "values", "network-policies.yaml"))
	}
	return s.ours("loadgen", values), nil
}

func (s *Stack) ours(name string, values []string) release {
	folder := s.path("helm", name)
	sets := []string{"image.repository=" + s.repository(name), "image.tag=" + s.tag(name)}
	if s.Traces != "" {
		sets = append(sets, "tracing.endpoint="+s.Traces)
	}
	return release{inputs: []string{folder}, deployment: name, Release: chart.Release{
		Name: name, Namespace: SystemNamespace, Chart: folder, Values: values,
		Sets: sets,
	}}
}

// helmStep installs or upgrades a release. What is to be installed is asked for when it is needed: images have no
// names before.
func (s *Stack) helmStep(name string, what func(context.Context) (release, error)) Step {
	return Step{
		Name: name,
		Done: func(ctx context.Context) (bool, error) {
			r, err := what(ctx)
			if err != nil {
				return false, err
			}
			sum, err := r.digest()
			if err != nil {
				return false, err
			}
			client, err := s.client()
			if err != nil {
				return false, err
			}
			return stamped(ctx, client, r.Namespace, name, sum, r.deployment)
		},
		Run: func(ctx context.Context) error {
			r, err := what(ctx)
			if err != nil {
				return err
			}
			return s.install(ctx, r)
		},
	}
}

// Loadgen is the load generator's chart as it is installed, for one more of them; it is known after the images step.
func (s *Stack) Loadgen(ctx context.Context) (chart.Release, error) {
	r, err := s.loadgen(ctx)
	return r.Release, err
}

// Upgrade installs a chart or upgrades it, and does not wait for what it brings.
func (s *Stack) Upgrade(ctx context.Context, r chart.Release) error { return s.Engine.Upgrade(ctx, r) }

func (s *Stack) install(ctx context.Context, r release) error {
	sum, err := r.digest()
	if err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	if err := namespace(ctx, client, r.Namespace); err != nil {
		return err
	}
	known := true
	if r.crds {
		if known, err = client.Defined(ctx, canaryDefinition); err != nil {
			return err
		}
	}
	if err := s.Engine.Upgrade(ctx, r.Release); err != nil {
		return err
	}
	if !known {
		if err := claimCRDs(ctx, client); err != nil {
			return err
		}
	}
	return settle(ctx, client, r.Namespace, r.Name, sum, r.deployment)
}
