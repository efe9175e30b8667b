module github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring

go 1.26.0

// Node's packages, when make pictures has fetched them, are no part of this module.
ignore ./pictures/node_modules

require (
	github.com/alecthomas/kong v1.17.0
	github.com/goccy/go-yaml v1.19.2
	github.com/google/renameio/v2 v2.0.2
	github.com/grafana/grafana-foundation-sdk/go v0.0.22
	github.com/prometheus/common v0.73.1
)

require (
	github.com/prometheus/client_model v0.6.3 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
