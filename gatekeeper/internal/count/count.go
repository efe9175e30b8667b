// Package count reads how many responses each version has given, from the counters of its pods, and loses or doubles none.
package count

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// requestsMetric and statusLabel are the names of design §4; the app's contract test holds the other side.
const (
	requestsMetric = "http_requests_total"
	statusLabel    = "status"
	startMetric    = "process_start_time_seconds"
)

// maxBody bounds one pod's answer: a real one has some ten kilobytes.
const maxBody = 8 << 20

// Meter reads pods over HTTP. Its zero value is not usable; see New. Safe for concurrent use on different Books.
type Meter struct {
	client *http.Client
}

// New returns a Meter that gives one pod at most timeout to answer.
func New(timeout time.Duration) *Meter {
	return &Meter{client: &http.Client{
		Timeout: timeout,
		// A pod is asked every second: its connection is kept. No proxy stands between us and a pod.
		Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: 10 * time.Second},
		// A redirect could lead the count to somebody else's counters.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Read asks all pods of r's two revisions in parallel, adds what they say to book, and returns the tick at now. Pods
// that do not answer keep their last record; the tick's age says how long ago. isGood decides which statuses are good.
func (m *Meter) Read(ctx context.Context, now time.Time, r rollout.Rollout, c rollout.Canary, book rollout.Book, isGood func(status string) bool) rollout.Tick {
	pods := ours(r, c.Pods)
	readings := make([]rollout.Reading, len(pods))
	errs := make([]error, len(pods))
	var wg sync.WaitGroup
	for i, pod := range pods {
		wg.Go(func() { readings[i], errs[i] = m.scrape(ctx, pod, isGood) })
	}
	wg.Wait()

	tick := rollout.Tick{At: now, Weight: c.Weight}
	for i, pod := range pods {
		if errs[i] == nil {
			// A canary pod exists for this rollout alone. A primary pod's counts start with the rollout's first reading
			// of it, unless the pod is younger than the rollout.
			book.Add(pod, now, readings[i], pod.Track == rollout.TrackCanary || pod.CreatedAt.After(r.StartedAt))
		}
		if pod.Track != rollout.TrackCanary {
			continue
		}
		if errs[i] == nil {
			tick.Answering++
		} else {
			tick.Trouble = errs[i].Error()
		}
		tick.Age = max(tick.Age, age(book, pod, r, now))
	}
	tick.Canary, tick.Primary = book.Total(rollout.TrackCanary), book.Total(rollout.TrackPrimary)
	return tick
}

// ours are the pods with an address that run one of the rollout's two revisions: after a promotion the primary's pods
// run the new revision and no longer speak for the stable one.
func ours(r rollout.Rollout, pods []rollout.Pod) []rollout.Pod {
	var keep []rollout.Pod
	for _, p := range pods {
		hash := r.Revision.Hash
		if p.Track == rollout.TrackPrimary {
			hash = r.Stable.Hash
		}
		if p.Address != "" && p.Hash == hash {
			keep = append(keep, p)
		}
	}
	return keep
}

// age is how long ago a canary pod that should answer did so; pods not ready yet, or on their way out, owe no answer.
func age(book rollout.Book, pod rollout.Pod, r rollout.Rollout, now time.Time) time.Duration {
	if !pod.Ready || pod.Terminating {
		return 0
	}
	if rec, ok := book[pod.UID]; ok {
		return now.Sub(rec.SeenAt)
	}
	return now.Sub(maxTime(pod.CreatedAt, r.StartedAt))
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (m *Meter) scrape(ctx context.Context, pod rollout.Pod, isGood func(string) bool) (rollout.Reading, error) {
	// Built from its parts: a path annotation must not be able to name another host.
	target := url.URL{Scheme: "http", Host: pod.Address, Path: pod.Path}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return rollout.Reading{}, fmt.Errorf("scrape %s: %w", pod.Name, err)
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4")
	resp, err := m.client.Do(req)
	if err != nil {
		return rollout.Reading{}, fmt.Errorf("scrape %s: %w", pod.Name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return rollout.Reading{}, fmt.Errorf("scrape %s: status %s", pod.Name, resp.Status)
	}
	reading, err := Parse(io.LimitReader(resp.Body, maxBody), isGood)
	if err != nil {
		return rollout.Reading{}, fmt.Errorf("scrape %s: %w", pod.Name, err)
	}
	return reading, nil
}

// ErrNoRequestsMetric is returned for a page that has no http_requests_total at all: such a pod is not instrumented,
// and "no requests" would be a guess.
var ErrNoRequestsMetric = errors.New(requestsMetric + " is not on the metrics page")

// Parse reads a metrics page in Prometheus' text format.
func Parse(page io.Reader, isGood func(status string) bool) (rollout.Reading, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(page)
	if err != nil {
		return rollout.Reading{}, fmt.Errorf("read metrics page: %w", err)
	}
	requests, ok := families[requestsMetric]
	if !ok {
		return rollout.Reading{}, ErrNoRequestsMetric
	}
	var got rollout.Reading
	for _, m := range requests.GetMetric() {
		n := uint64(value(m))
		if isGood(label(m, statusLabel)) {
			got.Counts.Good += n
		} else {
			got.Counts.Bad += n
		}
	}
	if start := families[startMetric].GetMetric(); len(start) == 1 {
		got.Start = value(start[0])
	}
	return got, nil
}

// value reads a counter, a gauge or an untyped sample: a page without TYPE lines is legal.
func value(m *dto.Metric) float64 {
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
