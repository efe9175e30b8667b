package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	rungroup "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/dora"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/web"
)

// deliveryInterval is how often the delivery metrics are worked out: from the ledger, not at each scrape.
const deliveryInterval = time.Minute

// delivery works out the delivery metrics every minute.
func (c serveCmd) delivery(group *rungroup.Group, ctx context.Context, memory *store.Store, reg prometheus.Registerer, log *slog.Logger) error {
	vec := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gatekeeper_dora_" + name, Help: help + ", over 30 days."}, append([]string{"namespace", "canary"}, labels...))
	}
	g := gauges{
		deployments: vec("deployments", "Rollouts that were promoted"),
		perDay:      vec("deployments_per_day", "Rollouts that were promoted, by the day"),
		decided:     vec("decided", "Rollouts that were promoted, rolled back or got stuck"),
		failureRate: vec("change_failure_ratio", "Share of the decided rollouts, 0 to 1, that were rolled back or got stuck"),
		leadTime:    vec("lead_time_seconds", "From the commit to the promotion", "quantile"),
		restore:     vec("time_to_restore_seconds", "From the first traffic of a rollout that was rolled back to its end", "quantile"),
	}
	for _, v := range g.all() {
		if err := reg.Register(v); err != nil {
			return fmt.Errorf("register delivery metrics: %w", err)
		}
	}
	add(group, ctx, func(ctx context.Context) error {
		ticker := time.NewTicker(deliveryInterval)
		defer ticker.Stop()
		for {
			to := time.Now()
			from := to.Add(-dora.Window)
			switch rollouts, err := web.Ended(ctx, memory, "", from); {
			case err == nil:
				g.set(dora.ByCanary(rollouts, from, to))
			case ctx.Err() == nil:
				log.Warn("delivery metrics are not worked out, they are tried again in a minute", "error", err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
			}
		}
	})
	return nil
}

// gauges are the metrics of dora.dev, of each Canary.
type gauges struct{ deployments, perDay, decided, failureRate, leadTime, restore *prometheus.GaugeVec }

func (g gauges) all() []*prometheus.GaugeVec {
	return []*prometheus.GaugeVec{g.deployments, g.perDay, g.decided, g.failureRate, g.leadTime, g.restore}
}

// set shows the figures. What is made of no rollout is left out: 0 would be a figure.
func (g gauges) set(all []dora.OfCanary) {
	for _, v := range g.all() {
		v.Reset()
	}
	for _, f := range all {
		ns, name := f.Canary.Namespace, f.Canary.Name
		g.deployments.WithLabelValues(ns, name).Set(float64(f.Deployments))
		g.perDay.WithLabelValues(ns, name).Set(f.PerDay)
		g.decided.WithLabelValues(ns, name).Set(float64(f.Decided))
		if f.Decided > 0 {
			g.failureRate.WithLabelValues(ns, name).Set(f.FailureRate)
		}
		for v, s := range map[*prometheus.GaugeVec]dora.Spread{g.leadTime: f.LeadTime, g.restore: f.Restore} {
			if s.N > 0 {
				v.WithLabelValues(ns, name, "0.5").Set(s.Median)
				v.WithLabelValues(ns, name, "0.9").Set(s.P90)
			}
		}
	}
}
