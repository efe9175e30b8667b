package stack

import "sigs.k8s.io/kustomize/kyaml/filesys"

// CollectorURL is where the collector of the views takes spans, as the cluster knows it.
const CollectorURL = "http://otel-collector." + MonitoringNamespace + ":4318"

// views are Grafana with the dashboards, and Jaeger with its collector. Their images come from public registries, so not every
// cluster can have them.
func (s *Stack) views() applied {
	return applied{
		name: "views", namespace: MonitoringNamespace, deployments: []string{"grafana", "jaeger", "otel-collector"},
		text: func() ([]byte, error) { return kustomize(filesys.MakeFsOnDisk(), s.path("monitoring", "views")) },
	}
}
