package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// The providers of a Canary that lab can bring a way in for.
const (
	NGINX      = "nginx"
	GatewayAPI = "gatewayapi:v1"
)

// GatewayNamespace is where the Gateway is, with the controller that serves it.
const GatewayNamespace = "traefik"

// The Gateway API's own definitions, as Flagger's tests have them. The module has its standard channel as files.
const (
	gatewayModule   = "sigs.k8s.io/gateway-api@v1.5.1"
	routeDefinition = "httproutes.gateway.networking.k8s.io"
)

// EntryURL is where users come in, as the cluster knows it.
func (s *Stack) EntryURL() string {
	if s.Provider == GatewayAPI {
		return "http://traefik." + GatewayNamespace
	}
	return "http://ingress-nginx-controller." + IngressNamespace
}

// entrySteps bring the way in for users.
func (s *Stack) entrySteps() []Step {
	switch {
	case s.Provider == GatewayAPI:
		return []Step{s.definitionsStep(), s.applyStep(s.gateway())}
	case s.Engine.Ingress != nil:
		return []Step{s.applyStep(s.ownIngress())}
	default:
		return []Step{s.helmStep("ingress-nginx", s.ingressNginx)}
	}
}

func (s *Stack) gateway() applied {
	return applied{
		name: "gateway", namespace: GatewayNamespace, deployments: []string{"traefik"},
		text: func() ([]byte, error) { return kustomize(filesys.MakeFsOnDisk(), s.path("lab", "gateway")) },
	}
}

// definitionsStep defines the kinds of the Gateway API where they are not: those of somebody else are left as they are.
func (s *Stack) definitionsStep() Step {
	return Step{
		Name: "gateway api's definitions",
		Done: func(ctx context.Context) (bool, error) {
			client, err := s.client()
			if err != nil {
				return false, err
			}
			return client.Defined(ctx, routeDefinition)
		},
		Run: s.with(func(ctx context.Context, client *kube.Client) error {
			objects, err := gatewayDefinitions(ctx)
			if err != nil {
				return err
			}
			return client.Define(ctx, objects, patience)
		}),
	}
}

// gatewayDefinitions are those of the module, labelled as ours so that Down takes them away.
func gatewayDefinitions(ctx context.Context) ([]*kube.Object, error) {
	download := sh.Command("go", "mod", "download", "-json", gatewayModule)
	download.Dir, download.Env = os.TempDir(), []string{"GOWORK=off", "GOTOOLCHAIN=auto"}
	out, err := download.Output(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the Gateway API's definitions: %w", err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal([]byte(out), &module); err != nil {
		return nil, fmt.Errorf("find the Gateway API's definitions: %w", err)
	}
	text, err := kustomize(filesys.MakeFsOnDisk(), filepath.Join(module.Dir, "config", "crd"))
	if err != nil {
		return nil, err
	}
	all, err := kube.Parse(text)
	if err != nil {
		return nil, err
	}
	var objects []*kube.Object
	for _, o := range all {
		if o.GetKind() != "CustomResourceDefinition" {
			continue // what protects them from being replaced by others stays out, for it would stay behind
		}
		o.SetLabels(map[string]string{ownedKey: ownedValue})
		objects = append(objects, o)
	}
	return objects, nil
}
