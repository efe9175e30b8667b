// Package dashboards builds the three Grafana dashboards.
package dashboards
