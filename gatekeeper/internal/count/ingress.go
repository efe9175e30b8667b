package count

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

const (
	// ingressMetric is ingress-nginx's counter. Its canary label is empty for what goes to the primary.
	ingressMetric = "nginx_ingress_controller_requests"
	// lookBack is how old a sample may be to be found: scrapes are up to a minute apart.
	lookBack = "90s"
	// askEvery is how often one ingress is asked for: Prometheus has nothing new more often than it scrapes.
	askEvery = 2 * time.Second
	// backOff is how long nobody asks a Prometheus that failed: a hanging one must not take the evaluator's rhythm.
	backOff = 5 * time.Second
	// budgetTimeout is for a question about a month.
	budgetTimeout = 10 * time.Second
	// baseline begins the names of what a Book has from the ingress.
	baseline = "ingress"
)

// Ingress reads ingress-nginx's counters as Prometheus has them. Safe for concurrent use.
type Ingress struct {
	api     promv1.API
	timeout time.Duration // for the counts of one rollout

	mu    sync.Mutex
	asked map[string]time.Time // by rollout
	quiet time.Time            // nobody asks before
	why   string               // of the last failure
}

// NewIngress returns a reader of the Prometheus at address, which has at most timeout to answer with a rollout's counts.
func NewIngress(address string, timeout time.Duration) (*Ingress, error) {
	client, err := api.NewClient(api.Config{Address: address, Client: new(http.Client)})
	if err != nil {
		return nil, fmt.Errorf("use Prometheus at %s: %w", address, err)
	}
	return &Ingress{api: promv1.NewAPI(client), timeout: timeout, asked: map[string]time.Time{}}, nil
}

// read adds to book what has come since the last look, and says how old the counts are.
func (i *Ingress) read(ctx context.Context, now time.Time, r rollout.Rollout, service string, book rollout.Book, isGood func(string) bool) *rollout.Opinion {
	var trouble string
	if ask, why := i.turn(r.ID, now); ask {
		series, err := i.query(ctx, r.Canary.Namespace, r.Ingress, service, now)
		if err != nil {
			trouble = err.Error()
			i.failed(now, trouble)
		} else {
			i.take(series, r, book, isGood)
		}
	} else {
		trouble = why
	}
	seen := r.StartedAt
	for source, record := range book {
		if strings.HasPrefix(source, baseline) && record.SeenAt.After(seen) {
			seen = record.SeenAt
		}
	}
	return &rollout.Opinion{
		Canary: book.Total(rollout.TrackIngressCanary), Primary: book.Total(rollout.TrackIngressPrimary),
		Age: max(now.Sub(seen), 0), Trouble: trouble,
	}
}

// turn says whether it is time to ask again, and while Prometheus is left alone, why.
func (i *Ingress) turn(id string, now time.Time) (ask bool, why string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if now.Before(i.quiet) {
		return false, i.why
	}
	if now.Sub(i.asked[id]) < askEvery {
		return false, ""
	}
	i.asked[id] = now
	for other, at := range i.asked {
		if now.Sub(at) > time.Hour {
			delete(i.asked, other) // its rollout is over
		}
	}
	return true, ""
}

func (i *Ingress) failed(now time.Time, why string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.quiet, i.why = now.Add(backOff), why
}

// query asks for the raw samples of the last seconds, so that each comes with the time of its scrape and nothing is
// extrapolated. All series are of one evaluation.
func (i *Ingress) query(ctx context.Context, namespace, ingress, service string, now time.Time) (model.Matrix, error) {
	ctx, cancel := context.WithTimeout(ctx, i.timeout)
	defer cancel()
	// The namespace is compared here: behind the Prometheus Operator its label is called exported_namespace.
	got, _, _, err := i.api.Query(ctx, fmt.Sprintf("%s{ingress=%q}[%s]", ingressMetric, ingress, lookBack), now)
	if err != nil {
		return nil, fmt.Errorf("ask Prometheus for the ingress's counts: %w", err)
	}
	all, ok := got.(model.Matrix)
	if !ok {
		return nil, fmt.Errorf("ask Prometheus for the ingress's counts: answer is a %s, not a matrix", got.Type())
	}
	var ours model.Matrix
	for _, series := range all {
		if space(series.Metric) == namespace && isOf(series.Metric, service) && len(series.Values) > 0 {
			ours = append(ours, series)
		}
	}
	return ours, nil
}

// isOf reports whether a series is of this backend: an ingress may have others, for other paths. What goes to the canary is
// under the same service or under its own.
func isOf(m model.Metric, service string) bool {
	got := string(m["service"])
	return got == "" || service == "" || got == service || got == service+"-canary"
}

func space(m model.Metric) string {
	if exported, ok := m["exported_namespace"]; ok {
		return string(exported)
	}
	return string(m["namespace"])
}

// take counts each series' newest sample. Samples from before the canary's first traffic are where counting starts. A
// series born after it, such as the first 502, counts from zero, but only where its controller was seen before without
// it: of one that is seen for the first time, or again after a while, nobody knows how old its counts are.
func (i *Ingress) take(all model.Matrix, r rollout.Rollout, book rollout.Book, isGood func(string) bool) {
	seen := map[string]bool{} // controllers, at looks before this one
	for _, series := range all {
		_, seen[controller(series.Metric)] = book[controller(series.Metric)]
	}
	for _, series := range all {
		last := series.Values[len(series.Values)-1]
		n, err := whole(float64(last.Value))
		if err != nil {
			continue // a broken sample is none; the age tells
		}
		track, at := rollout.TrackIngressPrimary, last.Timestamp.Time()
		if series.Metric["canary"] != "" {
			track = rollout.TrackIngressCanary
		}
		var got rollout.Reading
		if isGood(string(series.Metric["status"])) {
			got.Counts.Good = n
		} else {
			got.Counts.Bad = n
		}
		source := baseline + series.Metric.String()
		_, known := book[source]
		if r.FirstTrafficAt.IsZero() || at.Before(r.FirstTrafficAt) || !known && !seen[controller(series.Metric)] {
			book.Begin(source, track, at, got)
			continue
		}
		book.Add(source, track, at, got, true)
	}
	for name := range seen {
		book[name] = rollout.Record{}
	}
}

// controller is the mark in a Book that a controller's page was read.
func controller(m model.Metric) string {
	return baseline + "@" + string(m["instance"]) + "/" + string(m["controller_pod"])
}

// Budget asks how many requests came through a Canary's ingress in the window that ends now, and how many were bad by isGood.
func (i *Ingress) Budget(ctx context.Context, c rollout.Canary, window time.Duration, isGood func(string) bool) (requests, bad float64, err error) {
	if c.Ingress == "" {
		return 0, 0, fmt.Errorf("the error budget is counted at an ingress, and Canary %s has none", c.Key)
	}
	ctx, cancel := context.WithTimeout(ctx, budgetTimeout)
	defer cancel()
	now := time.Now()
	query := fmt.Sprintf("sum by (namespace, exported_namespace, service, status) (increase(%s{ingress=%q}[%ds]))", ingressMetric, c.Ingress, int(window.Seconds()))
	got, _, _, err := i.api.Query(ctx, query, now)
	if err != nil {
		return 0, 0, fmt.Errorf("ask Prometheus for the error budget: %w", err)
	}
	vector, ok := got.(model.Vector)
	if !ok {
		return 0, 0, fmt.Errorf("ask Prometheus for the error budget: answer is a %s, not a vector", got.Type())
	}
	for _, s := range vector {
		if space(s.Metric) != c.Key.Namespace || !isOf(s.Metric, c.Service) {
			continue
		}
		requests += float64(s.Value)
		if !isGood(string(s.Metric["status"])) {
			bad += float64(s.Value)
		}
	}
	return requests, bad, nil
}
