package kube

import (
	"testing"
	"time"
)

func canaryWith(spec map[string]any) map[string]any { return map[string]any{"spec": spec} }

func TestNextWeight(t *testing.T) {
	list := func(weights ...any) map[string]any { return map[string]any{"stepWeights": weights} }
	ours := list(int64(10), int64(25), int64(50), int64(100))
	short := list(int64(5), int64(50))
	linear := map[string]any{"stepWeight": int64(20), "maxWeight": int64(50)}
	for name, c := range map[string]struct {
		analysis map[string]any
		weight   int
		want     int
	}{
		"list: the first":                     {ours, 0, 10},
		"list: the one after":                 {ours, 25, 50},
		"list: before the last":               {ours, 50, 100},
		"list: the promotion follows 100":     {ours, 100, 100},
		"list: and any other last one":        {short, 50, 100},
		"list: a weight that is not in it":    {ours, 30, 100},
		"list: an element over 100":           {list(int64(50), int64(120)), 50, 100},
		"linear: the first":                   {linear, 0, 20},
		"linear: the next":                    {linear, 20, 40},
		"linear: beyond the highest weight":   {linear, 40, 60},
		"linear: the promotion follows":       {linear, 60, 100},
		"linear: at the highest weight":       {map[string]any{"stepWeight": int64(25), "maxWeight": int64(50)}, 50, 100},
		"linear: up to 100 without a highest": {map[string]any{"stepWeight": int64(30)}, 90, 100},
		"both: steps by one, end by the list": {map[string]any{"stepWeight": int64(10), "stepWeights": []any{int64(20), int64(40)}}, 20, 30},
		"iterations":                          {map[string]any{"iterations": int64(10), "stepWeight": int64(10)}, 0, 100},
		"no steps at all":                     {map[string]any{}, 0, 100},
	} {
		if got := nextWeight(canaryWith(map[string]any{"analysis": c.analysis}), c.weight); got != c.want {
			t.Errorf("%s: after %d comes %d, want %d", name, c.weight, got, c.want)
		}
	}
}

func TestInterval(t *testing.T) {
	for given, want := range map[string]time.Duration{"": time.Minute, "30s": 30 * time.Second, "5s": 10 * time.Second, "2m": 2 * time.Minute, "soon": time.Minute} {
		if got := interval(canaryWith(map[string]any{"analysis": map[string]any{"interval": given}})); got != want {
			t.Errorf("interval %q is %v, want %v", given, got, want)
		}
	}
}

func TestNginx(t *testing.T) {
	for name, c := range map[string]struct {
		provider, ingress string
		want              bool
	}{
		"named": {"nginx", "shop", true}, "Flagger's own provider, and an ingress": {"", "shop", true},
		"another provider": {"traefik", "shop", false}, "no ingress": {"nginx", "", false}, "neither": {"", "", false},
	} {
		if got := nginx(canaryWith(map[string]any{"provider": c.provider, "ingressRef": map[string]any{"name": c.ingress}})); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestSettled(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	condition := func(kind, status, at string) map[string]any {
		return map[string]any{"type": kind, "status": status, "lastTransitionTime": at}
	}
	for name, c := range map[string]struct {
		conditions []any
		want       time.Time
	}{
		"promoted":                  {[]any{condition("Promoted", "True", "2026-01-02T03:04:05Z")}, at},
		"failed":                    {[]any{condition("Promoted", "False", "2026-01-02T04:04:05+01:00")}, at},
		"under way":                 {[]any{condition("Promoted", "Unknown", "2026-01-02T03:04:05Z")}, time.Time{}},
		"another condition":         {[]any{condition("Ready", "True", "2026-01-02T03:04:05Z")}, time.Time{}},
		"a time that is none":       {[]any{condition("Promoted", "True", "lately")}, time.Time{}},
		"a Canary that is just new": {nil, time.Time{}},
	} {
		if got := settled(map[string]any{"status": map[string]any{"conditions": c.conditions}}); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
