package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func TestHistoryFilters(t *testing.T) {
	for query, want := range map[string]struct{ filter, older string }{
		"":                          {"{Canary: Result: From: To: Text: Page:1}", "/rollouts?page=2"},
		"page=3":                    {"{Canary: Result: From: To: Text: Page:3}", "/rollouts?page=4"},
		"page=-3":                   {"{Canary: Result: From: To: Text: Page:1}", "/rollouts?page=2"},
		"page=99999999999999999999": {"{Canary: Result: From: To: Text: Page:100000}", "/rollouts?page=100001"},
		"result=open&from=2026-01-02&to=2026-01-02":  {"{Canary: Result:open From:2026-01-02 To:2026-01-02 Text: Page:1}", "/rollouts?from=2026-01-02&page=2&result=open&to=2026-01-02"},
		"result=nonsense&from=yesterday&to=99":       {"{Canary: Result: From: To: Text: Page:1}", "/rollouts?page=2"},
		"canary=a%2Fb&q=" + strings.Repeat("x", 300): {"{Canary:a/b Result: From: To: Text:" + strings.Repeat("x", 200) + " Page:1}", "/rollouts?canary=a%2Fb&page=2&q=" + strings.Repeat("x", 200)},
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		f := newFilter(values)
		if got := fmt.Sprintf("%+v", f); got != want.filter || f.at(f.Page+1) != want.older {
			t.Errorf("%s: %s, then %s; want %s, then %s", query, got, f.at(f.Page+1), want.filter, want.older)
		}
	}
	f := filter{From: "2026-01-02", To: "2026-01-03", Page: 2}
	q := f.query()
	if q.Since != time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC) || q.Before != time.Date(2026, 1, 4, 0, 0, 0, 0, time.UTC) || q.Limit != perPage || q.Offset != perPage {
		t.Errorf("it asks for %+v", q)
	}
}

const many = 10_000

// remember lets the store have so many rollouts that are over: one each hour, of ten Canaries in turn, every fifth rolled
// back.
func (s *scene) remember(n int) {
	s.t.Helper()
	var changes []rollout.Change
	for i := range n {
		key := rollout.Key{Namespace: "team", Name: fmt.Sprintf("service-%d", i%10)}
		begun := s.now.Add(time.Duration(i-n) * time.Hour)
		r := rollout.New(rollout.Canary{
			Key: key, Policy: "default", Stable: rollout.Revision{Hash: "before", Image: "registry.example/app:1"},
			Revision: rollout.Revision{Hash: fmt.Sprintf("%08x", i), Image: fmt.Sprintf("registry.example/app:2.0.%d", i), DeployID: fmt.Sprintf("build-%d", i)},
		}, begun)
		for second, weight := range []int{10, 25, 50, 100} {
			r.Observe(rollout.Tick{At: begun.Add(time.Duration(60*second) * time.Second), Weight: weight, Canary: rollout.Counts{Good: uint64(1000 * (second + 1))}, Primary: rollout.Counts{Good: 9000}})
		}
		result := rollout.Promoted
		if i%5 == 0 {
			result = rollout.RolledBack
		}
		r.Judge(rollout.Verdict{Outcome: rollout.Pass, At: begun, Reasons: []rollout.Reason{{Kind: "step-done", Text: "99.9 % of 4000 canary requests were good"}}})
		r.End(result, rollout.Succeeded, begun.Add(5*time.Minute))
		r.Reported = true
		changes = append(changes, rollout.Change{Rollout: r})
	}
	if err := s.store.Save(s.t.Context(), changes...); err != nil {
		s.t.Fatal(err)
	}
}

// historyPaths are ways to ask for some of many rollouts, each with the counts that must stand on its page.
func historyPaths() map[string]string {
	return map[string]string{
		"/rollouts":                                                   "1–50 of 10,000 rollouts",
		"/rollouts?page=200":                                          "9,951–10,000 of 10,000 rollouts",
		"/rollouts?result=rolled-back&page=2":                         "51–100 of 2,000 rollouts",
		"/rollouts?canary=team%2Fservice-3":                           "1–50 of 1,000 rollouts",
		"/rollouts?q=BUILD-1234":                                      "1–1 of 1 rollouts",
		"/rollouts?q=app:2.0.9&canary=team%2Fservice-9":               "1–50 of 112 rollouts",
		"/rollouts?from=2026-03-01&to=2026-03-02":                     "1–48 of 48 rollouts",
		"/rollouts?from=2026-03-01&to=2026-03-02&result=promoted&q=a": "1–38 of 38 rollouts",
		"/": "All 10,000 rollouts",
	}
}

func TestAmongTenThousandRollouts(t *testing.T) {
	s := newScene(t)
	s.remember(many)
	for path, want := range historyPaths() {
		status, text := get(s.door, path)
		if status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: %d, and not %q but %q", path, status, want, regexp.MustCompile(`class="(count|empty)"[^<]*`).FindString(text))
		}
	}
	_, first := get(s.door, "/rollouts")
	seen(t, "the newest", first, `>2.0.9999 (0000270f)</a>`, `rel="next" href="/rollouts?page=2"`)
	_, last := get(s.door, "/rollouts?page=200")
	seen(t, "the oldest", last, `>2.0.0 (00000000)</a>`, `rel="prev" href="/rollouts?page=199"`)
	_, beyond := get(s.door, "/rollouts?page=300")
	seen(t, "beyond the oldest", beyond, "There is no page so far back: 10,000 rollouts match", `rel="prev" href="/rollouts?page=200"`)
}

// The server's time for one page among 10,000 rollouts: docs/page.md has what it was.
func BenchmarkTenThousandRollouts(b *testing.B) {
	s := newScene(b)
	s.remember(many)
	for path := range historyPaths() {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				rec := httptest.NewRecorder()
				s.door.ServeHTTP(rec, httptest.NewRequestWithContext(b.Context(), http.MethodGet, path, nil))
				if rec.Code != http.StatusOK {
					b.Fatal(rec.Code)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/page")
		})
	}
}
