// Package count reads how many responses each version has given, from the counters of its pods and of the ingress, and loses or
// doubles none.
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

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// maxBody bounds one pod's answer: a real one has some ten kilobytes.
const maxBody = 8 << 20

// Meter reads pods over HTTP, and the ingress's counts by way of Prometheus. Its zero value is not usable; see New. Safe
// for concurrent use on different Books.
type Meter struct {
	client  *http.Client
	timeout time.Duration
	ingress *Ingress
	wall    func() time.Time // as pods have it, which steps when it is set; a rollout's own time does not
}

// New returns a Meter that gives one pod at most timeout to answer. Ingress may be nil: then there is no second opinion.
func New(timeout time.Duration, ingress *Ingress) *Meter {
	return &Meter{ingress: ingress, timeout: timeout, wall: time.Now, client: &http.Client{
		// A pod is asked every second: its connection is kept. No proxy stands between us and a pod.
		Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: 10 * time.Second},
		// A redirect could lead the count to somebody else's counters.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Read asks all pods of r's two revisions in parallel, and Prometheus for the ingress's counts, adds what they say to
// book, and returns the tick at now. Sources that do not answer keep their last record; the tick says how old it is. The
// rollout r is as it was before this tick.
func (m *Meter) Read(ctx context.Context, now time.Time, r rollout.Rollout, c rollout.Canary, book rollout.Book, sli rollout.SLI) rollout.Tick {
	pods := ours(r, c.Pods)
	readings := make([]rollout.Reading, len(pods))
	errs := make([]error, len(pods))
	var opinion *rollout.Opinion
	var wg sync.WaitGroup
	if m.ingress != nil && sli.Ingress && r.Ingress != "" {
		wg.Go(func() { opinion = m.ingress.read(ctx, now, r, c.Service, book, sli.IsGood) })
	}
	for i, pod := range pods {
		wg.Go(func() { readings[i], errs[i] = m.scrape(ctx, pod, sli) })
	}
	wg.Wait()

	tick := rollout.Tick{At: now, Phase: c.Phase, Weight: c.Weight, Next: c.Next, Ingress: opinion}
	var canaries []rollout.Pod
	var failing []rollout.Failing
	counted := false
	for i, pod := range pods {
		if errs[i] == nil && book.Forgets(pod.UID, readings[i]) {
			errs[i] = fmt.Errorf("scrape %s: %s: %w any more", pod.Name, sli.Requests, ErrNoRequestsMetric)
		}
		if errs[i] == nil {
			counted = counted || !readings[i].Uncounted
			found, firstSeen := m.date(readings[i].Failing, book[pod.UID].FirstSeen)
			failing = append(failing, lately(found, m.wall().Add(r.StartedAt.Sub(now)))...)
			// A canary pod exists for this rollout alone. A primary pod's counts start with the rollout's first reading
			// of it that has counts, unless the pod is younger than the rollout.
			fromZero := pod.Track == rollout.TrackCanary || pod.CreatedAt.After(r.StartedAt)
			if _, known := book[pod.UID]; known || fromZero || !readings[i].Uncounted {
				book.Add(pod.UID, pod.Track, now, readings[i], fromZero)
				book.Remember(pod.UID, firstSeen)
			}
		}
		if pod.Track != rollout.TrackCanary {
			continue
		}
		if errs[i] == nil {
			tick.Answering++
			if readings[i].Uncounted {
				tick.Uncounted++
			}
		} else {
			tick.Trouble = errs[i].Error()
		}
		tick.Age = max(tick.Age, age(book, pod, r, now))
	}
	for _, p := range c.Pods {
		if p.Track == rollout.TrackCanary && p.Hash == r.Revision.Hash {
			canaries = append(canaries, p)
		}
	}
	tick.NoCounter = tick.Uncounted > 0 && !counted
	tick.Failing = r.Unknown(failing)
	tick.Health = rollout.HealthOf(canaries, book, r.Latest, now)
	tick.Canary, tick.Primary = book.Total(rollout.TrackCanary), book.Total(rollout.TrackPrimary)
	if sli.Duration != "" {
		tick.Latency = book.Times()
	}
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

// date gives failing requests of one pod that have no time, or one to come, that of their first sight: a pod whose clock is
// fast must not have the newest ones for ever. Before are the first sights known so far; those on the page stay known.
func (m *Meter) date(found []rollout.Failing, before map[string]time.Time) (dated []rollout.Failing, firstSeen map[string]time.Time) {
	now := m.wall()
	for _, f := range found {
		first, known := before[f.Trace]
		if !known {
			first = now
		}
		if known || f.At.IsZero() || f.At.After(now) {
			if firstSeen == nil {
				firstSeen = map[string]time.Time{}
			}
			f.At, firstSeen[f.Trace] = first, first
		}
		dated = append(dated, f)
	}
	return dated, firstSeen
}

// lately are the failing requests since the rollout began, by the same clock as theirs.
func lately(found []rollout.Failing, began time.Time) []rollout.Failing {
	var own []rollout.Failing
	for _, f := range found {
		if f.At.After(began.Add(-clockSlack)) {
			own = append(own, f)
		}
	}
	return own
}

// clockSlack is by how much the clocks of a pod and of the gatekeeper may differ.
const clockSlack = 5 * time.Second

const (
	textOnly = "text/plain;version=0.0.4"
	// openFirst asks for exemplars, which only this format has in text; who does not know it gives the other.
	openFirst = "application/openmetrics-text;version=1.0.0," + textOnly + ";q=0.5"
)

// scrape reads a pod's counters. Of a canary's it wants to know which requests failed; should it refuse the page that tells
// so, or that not be readable or be without the counter, the plain one counts. Both have to come within the one pod's time.
func (m *Meter) scrape(ctx context.Context, pod rollout.Pod, sli rollout.SLI) (rollout.Reading, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	if pod.Track == rollout.TrackCanary && sli.Traces != "" {
		if reading, plain, err := m.ask(ctx, pod, sli, openFirst); !plain || ctx.Err() != nil {
			return reading, err
		}
	}
	reading, _, err := m.ask(ctx, pod, sli, textOnly)
	return reading, err
}

// ask gets one page. Plain says that the text format may help: the pod answered, but refused, or with an OpenMetrics page that
// is none or has no counter.
func (m *Meter) ask(ctx context.Context, pod rollout.Pod, sli rollout.SLI, accept string) (reading rollout.Reading, plain bool, err error) {
	// Built from its parts: a path annotation must not be able to name another host.
	target := url.URL{Scheme: "http", Host: pod.Address, Path: pod.Path}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return rollout.Reading{}, false, fmt.Errorf("scrape %s: %w", pod.Name, err)
	}
	req.Header.Set("Accept", accept)
	resp, err := m.client.Do(req)
	if err != nil {
		return rollout.Reading{}, false, fmt.Errorf("scrape %s: %w", pod.Name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return rollout.Reading{}, true, fmt.Errorf("scrape %s: status %s", pod.Name, resp.Status)
	}
	read, open := Parse, isOpen(resp.Header.Get("Content-Type"))
	if open {
		read = ParseOpen
	}
	reading, err = read(io.LimitReader(resp.Body, maxBody), sli)
	if errors.Is(err, ErrNoRequestsMetric) {
		if kind := resp.Header.Get("Content-Type"); !open && !isText(kind) && reading.Start == 0 {
			err = fmt.Errorf("%w, and Content-Type %q names no format of metrics", err, kind)
		} else {
			reading.Uncounted, err = true, nil
		}
	}
	if err != nil {
		return rollout.Reading{}, open, fmt.Errorf("scrape %s: %w", pod.Name, err)
	}
	return reading, open && reading.Uncounted, nil
}
