package kube

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Flagger's own limits (pkg/apis/flagger/v1beta1/canary.go: GetAnalysisInterval).
const (
	defaultInterval = 60 * time.Second
	leastInterval   = 10 * time.Second
)

// interval is how often Flagger looks at the Canary o.
func interval(o map[string]any) time.Duration {
	given, err := time.ParseDuration(text(o, "spec", "analysis", "interval"))
	if err != nil {
		return defaultInterval
	}
	return max(given, leastInterval)
}

// nextWeight is the weight, in percent, that Flagger gives the Canary o after weight; 100 where it promotes instead: at
// the last weight, and where the analysis counts iterations and not weights. As pkg/controller/scheduler.go has it
// (nextStepWeight, runCanary): a linear step may go beyond maxWeight, and from a weight that is not in the list the step
// goes to 100.
func nextWeight(o map[string]any, weight int) int {
	step, list := number(o, "spec", "analysis", "stepWeight"), weights(o)
	if number(o, "spec", "analysis", "iterations") > 0 || step == 0 && len(list) == 0 {
		return 100
	}
	last := 100
	if maxWeight := number(o, "spec", "analysis", "maxWeight"); maxWeight > 0 {
		last = maxWeight
	}
	if len(list) > 0 {
		last = min(100, list[len(list)-1])
	}
	switch i := slices.Index(list, weight); {
	case weight >= last:
		return 100
	case step > 0:
		return min(100, weight+step)
	case weight == 0:
		return min(100, list[0])
	case i >= 0 && i+1 < len(list):
		return min(100, list[i+1])
	default:
		return 100
	}
}

// weights are the elements of stepWeights that are numbers.
func weights(o map[string]any) (list []int) {
	found, _, _ := unstructured.NestedFieldNoCopy(o, "spec", "analysis", "stepWeights")
	elements, _ := found.([]any)
	for _, e := range elements {
		if n, ok := e.(int64); ok {
			list = append(list, int(n))
		}
	}
	return list
}

func number(o map[string]any, path ...string) int {
	n, _, _ := unstructured.NestedInt64(o, path...)
	return int(n)
}

// nginx reports whether an ingress splits the traffic of the Canary o. A Canary that names no provider has Flagger's
// own, which nobody can see from here; only nginx needs an ingressRef.
func nginx(o map[string]any) bool {
	provider := text(o, "spec", "provider")
	return text(o, "spec", "ingressRef", "name") != "" && (provider == "" || provider == "nginx")
}

// settled is when the condition Promoted last became true or false. The status's own lastTransitionTime moves at every
// look (flagger-facts §1.6).
func settled(o map[string]any) time.Time {
	found, _, _ := unstructured.NestedFieldNoCopy(o, "status", "conditions")
	conditions, _ := found.([]any)
	for _, c := range conditions {
		condition, ok := c.(map[string]any)
		if ok && text(condition, "type") == "Promoted" && text(condition, "status") != "Unknown" {
			at, _ := time.Parse(time.RFC3339, text(condition, "lastTransitionTime")) // zero: not known
			return at
		}
	}
	return time.Time{}
}
