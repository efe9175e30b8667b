package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/burn"
)

// Accelerated is how many times shorter than the real ones the windows of the accelerated rules are.
const Accelerated = 30

// quickPage and slowPage are the tiers that page, for the objective of 99.5 % in 30 days, as the accelerated rules have
// them: written down here anew, so that a wrong factor there is found.
func quickPage() burn.Tier {
	return burn.Tier{Long: time.Hour / Accelerated, Short: 5 * time.Minute / Accelerated, Threshold: 14.4 * 0.005, Least: 200}
}

func slowPage() burn.Tier {
	return burn.Tier{Long: 6 * time.Hour / Accelerated, Short: 30 * time.Minute / Accelerated, Threshold: 6 * 0.005, Least: 200}
}

// The gatekeeper's policies, as in the lab's values: only under the second one a page holds releases.
const (
	usualPolicy = "default"
	pagedPolicy = "paged"
)

// What the scenario does, and how late what follows from it may be.
const (
	outageShare = 0.1 // of the requests
	// Requests a second. Faults are drawn by lot: of 10 % in the quick page's short window of 10 s, 50 a second now and then leave
	// less than its 7.2 %, and the page would be over for a moment; with 200 that is more than four standard deviations away.
	outageRate  = 200.0
	outageFault = `{"errorRate":0.1,"status":500,"ttl":"5m"}`
	healthy     = 20 * time.Second // of traffic before it
	outageLimit = 3 * time.Minute  // after which nobody waits for the page any more

	scrape   = 5 * time.Second  // of Prometheus
	evaluate = 5 * time.Second  // of the accelerated rules
	grouped  = 15 * time.Second // alerts that Alertmanager tells together
	margin   = 10 * time.Second // of a machine that does all of it at once
)

// Page is what became of an outage. All figures are seconds: the first five since its beginning, the others since its end.
type Page struct {
	Expected float64 `json:"expected"` // until the quick page fires, by the arithmetic of burn rates alone
	Crossed  float64 `json:"crossed"`  // until the counts of the users' requests were above its threshold
	Fired    float64 `json:"fired"`    // until Prometheus says that it fires
	Held     float64 `json:"held"`     // until the gatekeeper's gate closed, by whichever page was first
	Told     float64 `json:"told"`     // until the receiver had the message
	Over     float64 `json:"over"`     // until the receiver heard that the quick page is over
	Opened   float64 `json:"opened"`   // until the gate was open again
}

// outage lets a tenth of the requests to the whole service fail while nothing is released, with rules whose windows are
// shorter, and follows the page from Prometheus by Alertmanager to the gatekeeper and to people, and back.
func outage(ctx context.Context, d *Drill, result *Result) (err error) {
	// Prometheus is about to forget.
	if err := d.lookBack(ctx); err != nil {
		return err
	}
	defer func() {
		// Also for a scenario that is broken off: those after it need the real rules.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, d.Install.Rules(ctx, false), d.Kube.SetPolicy(ctx, d.Namespace, d.Name, usualPolicy))
	}()
	err = errors.Join(d.Install.Rules(ctx, true), d.Kube.SetPolicy(ctx, d.Namespace, d.Name, pagedPolicy))
	if err != nil {
		return err
	}
	load, err := d.startUsersAt(ctx, outageRate, "outage", patience)
	if err != nil {
		return err
	}
	defer func() { _, _ = load.stop(ctx) }() // for a scenario that is broken off, where nobody asks for the counts
	o := watchOutage(ctx, d, load)
	defer o.wait()
	if err := o.play(ctx); err != nil {
		return err
	}
	if result.Users, err = load.stop(ctx); err != nil {
		return err
	}
	return o.judge(ctx, result)
}

// moments of an outage, zero for what has not come.
type moments struct {
	begin, end   time.Time // of the fault
	fired, ended time.Time // of the quick page, as Prometheus says and as it was seen
	told, over   time.Time // by the receiver's clock
	held, opened time.Time // the gate
}

// outageWatch looks at an outage from all sides.
type outageWatch struct {
	d       *Drill
	load    users
	seen    moments // of the one that plays
	summary string  // of the quick page
	stop    context.CancelFunc
	loops   sync.WaitGroup

	mu     sync.Mutex
	counts []burn.Sample // of the users' requests; guarded by mu
}

// watchOutage counts from now on.
func watchOutage(ctx context.Context, d *Drill, load users) *outageWatch {
	ctx, stop := context.WithCancel(ctx)
	o := &outageWatch{d: d, load: load, stop: stop}
	o.loops.Go(func() {
		tick := time.NewTicker(every / 2)
		defer tick.Stop()
		for {
			// A look that fails is missing between two others.
			if now, err := load.now(ctx); err == nil {
				o.mu.Lock()
				o.counts = append(o.counts, burn.Sample{At: time.Now(), Total: float64(now.Requests), Bad: float64(now.failed())})
				o.mu.Unlock()
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return o
}

func (o *outageWatch) wait() {
	o.stop()
	o.loops.Wait()
}

// play lets the service be well, fail until the page is told, and be well again until all have heard that it is over.
func (o *outageWatch) play(ctx context.Context) error {
	due, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := o.d.until(due, func(ctx context.Context) (bool, error) {
		answered, _, err := o.d.query(ctx, o.counter())
		return answered, err
	}); err != nil {
		return fmt.Errorf("wait until Prometheus counts requests: %w", err)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(healthy):
	}
	pods, err := o.d.Kube.Pods(ctx, o.d.Namespace, o.d.Name+"-primary")
	if err != nil {
		return err
	}
	if o.seen.begin, err = o.d.putAll(ctx, pods, outageFault); err != nil {
		return err
	}
	o.d.Say("    the service fails")
	if err := o.follow(ctx, func() bool { return !o.seen.told.IsZero() && !o.seen.held.IsZero() }); err != nil {
		return fmt.Errorf("wait for the page: %w", err)
	}
	o.d.Say("    the page has come")
	if _, err := o.d.putAll(ctx, pods, `{"errorRate":0.1,"status":500,"ttl":"1ms"}`); err != nil {
		return err
	}
	o.seen.end = time.Now()
	err = o.follow(ctx, func() bool { return !o.seen.over.IsZero() && !o.seen.opened.IsZero() })
	if err != nil {
		return fmt.Errorf("wait until the page is over: %w", err)
	}
	return nil
}

// counter is what the rules of the service count.
func (o *outageWatch) counter() string {
	return fmt.Sprintf("nginx_ingress_controller_requests{namespace=%q,ingress=%q}", o.d.Namespace, o.d.Name)
}

// follow looks at everything until done says yes.
func (o *outageWatch) follow(ctx context.Context, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, outageLimit)
	defer cancel()
	return o.d.until(ctx, func(ctx context.Context) (bool, error) {
		err := errors.Join(o.seeRule(ctx), o.seeGate(ctx), o.seeMessages(ctx))
		return done(), err
	})
}

// seeRule reads when Prometheus says that the quick page fires.
func (o *outageWatch) seeRule(ctx context.Context) error {
	groups, err := o.d.ruleGroups(ctx)
	if err != nil {
		return err
	}
	for _, r := range groups.all() {
		if r.Name != burnAlert || r.Labels["tier"] != "page-quick" {
			continue
		}
		switch {
		case len(r.Alerts) > 0 && o.seen.fired.IsZero():
			o.seen.fired, o.summary = r.Alerts[0].ActiveAt, r.Alerts[0].Annotations["summary"]
		case len(r.Alerts) == 0 && !o.seen.fired.IsZero() && o.seen.ended.IsZero():
			o.seen.ended = time.Now()
		}
	}
	return nil
}

// seeGate asks the gatekeeper whether it would let a release begin.
func (o *outageWatch) seeGate(ctx context.Context) error {
	var standing struct {
		Gates []struct {
			Kind string `json:"kind"`
			Open bool   `json:"open"`
			Why  string `json:"why"`
		} `json:"gates"`
	}
	path := "/api/v1/why?" + url.Values{"canary": {o.d.Namespace + "/" + o.d.Name}}.Encode()
	if err := o.d.call(ctx, http.MethodGet, "gatekeeper", "people", path, nil, &standing, http.StatusOK); err != nil {
		return err
	}
	for _, g := range standing.Gates {
		if g.Kind != "alerts" {
			continue
		}
		switch {
		case !g.Open && strings.Contains(g.Why, burnAlert) && o.seen.held.IsZero():
			o.seen.held = time.Now()
		case g.Open && !o.seen.end.IsZero() && o.seen.opened.IsZero():
			o.seen.opened = time.Now()
		}
	}
	return nil
}

// seeMessages reads what Alertmanager told people about the quick page. A message speaks of all alerts of the Canary; the
// line of one begins with its name and has its summary.
func (o *outageWatch) seeMessages(ctx context.Context) error {
	if o.summary == "" {
		return nil
	}
	list, err := o.d.received(ctx, "/slack")
	if err != nil {
		return err
	}
	for _, m := range list {
		var text struct {
			Attachments []struct {
				Text string `json:"text"`
			} `json:"attachments"`
		}
		if m.At.Before(o.seen.begin) || json.Unmarshal([]byte(m.Body), &text) != nil {
			continue
		}
		for _, part := range text.Attachments {
			for line := range strings.Lines(part.Text) {
				if !strings.Contains(line, burnAlert) || !strings.Contains(line, o.summary) {
					continue
				}
				switch over := strings.Contains(line, "is over"); {
				case over && o.seen.over.IsZero():
					o.seen.over = m.At
				case !over && o.seen.told.IsZero():
					o.seen.told = m.At
				}
			}
		}
	}
	return nil
}

// judge compares the moments with what the counts of the users' requests say.
func (o *outageWatch) judge(ctx context.Context, result *Result) error {
	from, err := o.firstSample(ctx)
	if err != nil {
		return err
	}
	o.wait()
	o.mu.Lock()
	counts := slices.Clone(o.counts)
	o.mu.Unlock()
	quick, ok := quickPage().Crossing(counts, from)
	slow, also := slowPage().Crossing(counts, from)
	miss := func(format string, args ...any) { result.Misses = append(result.Misses, fmt.Sprintf(format, args...)) }
	if !ok || !also {
		miss("by the users' own counts no page had to fire")
		return nil
	}
	s := o.seen
	since := func(begin, at time.Time) float64 { return seconds(at.Sub(begin)) }
	result.Page = &Page{
		Expected: seconds(quickPage().After(s.begin.Sub(from), outageShare)), Crossed: since(s.begin, quick),
		Fired: since(s.begin, s.fired), Held: since(s.begin, s.held), Told: since(s.begin, s.told),
		Over: since(s.end, s.over), Opened: since(s.end, s.opened),
	}
	result.Misses = append(result.Misses, windows(s, quick, slow)...)
	if result.Users.failed() != result.Users.Codes["500"] {
		miss("users saw other failures than the fault's 500: %v", result.Users.Codes)
	}
	return nil
}

// windows are the moments that did not come when they must.
func windows(s moments, quick, slow time.Time) (misses []string) {
	within := func(what string, at, anchor time.Time, from, to time.Duration) {
		if after := at.Sub(anchor); after < from || after > to {
			misses = append(misses, fmt.Sprintf("%s after %s, want %s to %s", what, after.Round(100*time.Millisecond), from, to))
		}
	}
	// From the counts to Prometheus' rules. Records and alerts stand in two groups, which it evaluates at moments of their own.
	seen := scrape + 2*evaluate + margin
	within("the quick page fired, counted from when the users' requests crossed its threshold,", s.fired, quick, -scrape, seen)
	within("people were told, counted from when it fired,", s.told, s.fired, 0, grouped+margin)
	within("the gatekeeper's gate closed, counted from when the users' requests crossed the threshold of the slow page,", s.held, slow, -scrape, seen+margin)
	// A window that ends between two scrapes has lost up to one of them.
	clears := func(t burn.Tier) time.Duration { return max(t.Clears(outageShare)-scrape, 0) }
	within("people heard that it is over, counted from the end of the fault,", s.over, s.end, clears(quickPage()), quickPage().Short+seen+grouped)
	within("the gate opened again, counted from the end of the fault,", s.opened, s.end, clears(slowPage()), slowPage().Short+seen+grouped)
	return misses
}

// firstSample is when Prometheus began to count the service's requests: its rules know nothing of what was before.
func (o *outageWatch) firstSample(ctx context.Context) (time.Time, error) {
	var answer struct {
		Data struct {
			Result []struct {
				Values [][2]json.Number `json:"values"`
			} `json:"result"`
		} `json:"data"`
	}
	path := "/api/v1/query?" + url.Values{"query": {o.counter() + "[" + patience.String() + "]"}}.Encode()
	if err := o.d.prometheus(ctx, path, &answer); err != nil {
		return time.Time{}, err
	}
	first := time.Time{}
	for _, series := range answer.Data.Result {
		for _, value := range series.Values[:min(len(series.Values), 1)] {
			stamp, err := value[0].Float64()
			if err != nil {
				return first, fmt.Errorf("read time of Prometheus' first sample: %w", err)
			}
			if at := time.UnixMilli(int64(stamp * 1000)); first.IsZero() || at.Before(first) {
				first = at
			}
		}
	}
	if first.IsZero() {
		return first, errors.New("read first sample: Prometheus has counted nothing")
	}
	return first, nil
}
