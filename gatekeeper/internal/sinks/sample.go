package sinks

import (
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Sample is made-up news of a kind, clearly marked: to try a sink with, and a template.
func Sample(h rollout.Happening, at time.Time) rollout.News {
	text := "This is a test, no rollout is behind it: 2.0.0 (7c9f6d5b8) of shop/cart"
	reasons := []rollout.Reason{{Kind: "slo", Text: "3.1 % of 412 responses are bad, 0.5 % are allowed; the evidence is 200 : 1"}}
	switch h {
	case rollout.HasStarted:
		text, reasons = text+" is being rolled out", nil
	case rollout.IsWaiting, rollout.IsUnattended, rollout.IsStalled:
		text += " waits for somebody"
	default:
		text += " ended as " + string(h)
	}
	return rollout.News{
		Event: h, Severity: h.Severity(), Policy: "default", Rollout: "shop-cart-7c9f6d5b8-test",
		Canary:   rollout.Key{Namespace: "shop", Name: "cart"},
		Revision: rollout.Revision{Hash: "7c9f6d5b8", Image: "registry.example/shop/cart:2.0.0", DeployID: "build-412", Commit: "9fceb02"},
		Stable:   rollout.Revision{Hash: "5d4f8c7b9", Image: "registry.example/shop/cart:1.9.3"},
		Weight:   25, Text: text, At: at, Reasons: reasons,
	}
}
