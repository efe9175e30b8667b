module github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring

go 1.26.0

require (
	github.com/alecthomas/kong v1.17.0
	github.com/grafana/grafana-foundation-sdk/go v0.0.22
)
