package web

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// shelf finds all its rollouts, page by page.
type shelf struct {
	briefs []rollout.Brief
	asked  []rollout.Query
}

func (s *shelf) Find(_ context.Context, q rollout.Query) ([]rollout.Brief, int, error) {
	s.asked = append(s.asked, q)
	from := min(q.Offset, len(s.briefs))
	return s.briefs[from:min(from+q.Limit, len(s.briefs))], len(s.briefs), nil
}

func TestEndedReadsEveryPageOnce(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 2500} {
		s := &shelf{briefs: make([]rollout.Brief, n)}
		for i := range s.briefs {
			s.briefs[i].Weight = i
		}
		from := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		got, err := Ended(t.Context(), s, "demo/podinfo", from)
		if err != nil || !slices.EqualFunc(got, s.briefs, func(a, b rollout.Brief) bool { return a.Weight == b.Weight }) {
			t.Errorf("of %d it finds %d: %v", n, len(got), err)
		}
		if q := s.asked[0]; q.Canary != "demo/podinfo" || !q.Since.Equal(from.Add(-longest)) {
			t.Errorf("asked for %+v", q)
		}
	}
}
