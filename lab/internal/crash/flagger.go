package crash

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/crowd"
)

const (
	// interval is how often a release looks; Flagger does so every ten seconds. It is longer than that of evaluations.
	interval = 1100 * time.Millisecond
	// hookTimeout is that of the hooks in helm/podinfo-like.
	hookTimeout = 3 * time.Second
	// knownTime is how long the gatekeeper may take to know of a release, or of its end, over all kills.
	knownTime = 2 * time.Minute
)

// flagger asks hooks.
type flagger struct {
	fleet  *fleet
	faults *faults
	asked  *tally
}

// ask asks one replica and takes its answer as Flagger does: 200 to 202 is yes, all else no.
func (f *flagger) ask(ctx context.Context, rng *rand.Rand, hook, name, phase string) bool {
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	body := fmt.Sprintf(`{"name":%q,"namespace":%q,"phase":%q,"metadata":{"eventMessage":"a step"}}`, name, crowd.Namespace, phase)
	status, text, err := request(ctx, http.MethodPost, "http://"+f.fleet.any(rng).hooks+"/hooks/v1/"+hook, body)
	switch {
	case err != nil:
		f.asked.add(hook, "unreachable")
		return false
	case status >= 200 && status <= 202:
		f.asked.add(hook, "yes")
		return true
	case status >= 500 && !strings.HasPrefix(hook, "post") && hook != "event":
		f.faults.add("the %s hook was answered with %d: %s", hook, status, text)
	}
	f.asked.add(hook, "no")
	return false
}

func request(ctx context.Context, method, url, body string) (status int, text string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // as Flagger does: a connection for each
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	return res.StatusCode, string(all), err
}

// releases are those of one Canary, one after the other.
type releases struct {
	*flagger
	member   *crowd.Member
	rng      *rand.Rand
	number   int
	expected map[string]string // result by version
}

// The ways a release may go.
const (
	good = iota
	bad
	superseded
	deleted
	ways
)

// run releases until there was enough.
func (r *releases) run(ctx context.Context, enough *atomic.Bool) error {
	for n := 0; !enough.Load(); n++ {
		version := fmt.Sprintf("%s-v%d-", r.member.Name, n)
		var err error
		switch (r.number + n) % ways {
		case good:
			err = r.promote(ctx, version)
		case bad:
			err = r.fail(ctx, version)
		case superseded:
			err = r.supersede(ctx, version)
		default:
			err = r.vanish(ctx, version)
		}
		if err != nil {
			return fmt.Errorf("release %s: %w", version, err)
		}
	}
	return nil
}

func (r *releases) yes(ctx context.Context, hook, phase string) bool {
	return r.ask(ctx, r.rng, hook, r.member.Name, phase)
}

// begin lets a version come under analysis.
func (r *releases) begin(ctx context.Context, version string, badShare float64) error {
	if err := r.member.Release(ctx, version, badShare); err != nil {
		return err
	}
	for !r.yes(ctx, "confirm-rollout", "Waiting") {
		if err := pause(ctx, interval); err != nil {
			return err
		}
	}
	return r.member.Move(ctx, "Progressing", 0)
}

// analyse moves traffic as the gatekeeper allows until it has all, or the rollback hook says yes, or stop does.
func (r *releases) analyse(ctx context.Context, look func(weight int) (stop bool)) (rollback bool, err error) {
	weights := []int{0, 10, 50, 100}
	for step := 0; ; {
		if err := pause(ctx, interval); err != nil {
			return false, err
		}
		switch {
		case r.yes(ctx, "rollback", "Progressing"):
			return true, nil
		case look(weights[step]):
			return false, nil
		case step == 0 && !r.yes(ctx, "pre-rollout", "Progressing"):
		case step > 0 && !r.yes(ctx, "rollout", "Progressing"):
		case step < len(weights)-1 && r.yes(ctx, "confirm-traffic-increase", "Progressing"):
			step++
			if err := r.member.Move(ctx, "Progressing", weights[step]); err != nil {
				return false, err
			}
			r.yes(ctx, "event", "Progressing")
		}
	}
}

// promote is a release that goes well.
func (r *releases) promote(ctx context.Context, version string) error {
	if err := r.begin(ctx, version, 0); err != nil {
		return err
	}
	return r.finish(ctx, version)
}

// finish analyses and promotes a good version.
func (r *releases) finish(ctx context.Context, version string) error {
	r.expected[version] = "promoted"
	rollback, err := r.analyse(ctx, func(weight int) bool {
		return weight == 100 && r.yes(ctx, "confirm-promotion", "Progressing")
	})
	if err != nil {
		return err
	}
	if rollback {
		r.faults.add("%s is good, and the rollback hook said yes", version)
		r.expected[version] = "rolled-back"
		return r.back(ctx, version)
	}
	if err := r.member.Move(ctx, "Promoting", 100); err != nil {
		return err
	}
	if err := r.member.Promote(ctx, version); err != nil {
		return err
	}
	if err := r.member.Move(ctx, "Finalising", 0); err != nil {
		return err
	}
	if err := r.member.Move(ctx, "Succeeded", 0); err != nil {
		return err
	}
	return r.rest(ctx, version, "Succeeded")
}

// rest ends a release and waits until the gatekeeper has seen that.
func (r *releases) rest(ctx context.Context, version, phase string) error {
	if err := r.member.Rest(ctx); err != nil {
		return err
	}
	r.yes(ctx, "post-rollout", phase)
	return r.known(ctx, version, func(result string) bool { return result != "" })
}

// fail is a release that a tenth of the users would suffer from. Whoever is asked whether to promote it has to say no, at
// any time and at any replica.
func (r *releases) fail(ctx context.Context, version string) error {
	if err := r.begin(ctx, version, 0.3); err != nil {
		return err
	}
	r.expected[version] = "rolled-back"
	rollback, err := r.analyse(ctx, func(int) bool {
		return r.yes(ctx, "confirm-promotion", "Progressing")
	})
	if err != nil {
		return err
	}
	if !rollback {
		r.faults.add("%s is bad, and the promotion was confirmed", version)
	}
	return r.back(ctx, version)
}

func (r *releases) back(ctx context.Context, version string) error {
	if err := r.member.Move(ctx, "Failed", 0); err != nil {
		return err
	}
	return r.rest(ctx, version, "Failed")
}

// supersede is a release that another follows in the middle: Flagger starts its analysis anew and asks nobody.
func (r *releases) supersede(ctx context.Context, version string) error {
	if err := r.upToTraffic(ctx, version, "superseded"); err != nil {
		return err
	}
	if err := r.member.Move(ctx, "Progressing", 0); err != nil {
		return err
	}
	next := version + "next-"
	if err := r.member.Release(ctx, next, 0); err != nil {
		return err
	}
	return r.finish(ctx, next)
}

// vanish is a release whose Canary is deleted in the middle.
func (r *releases) vanish(ctx context.Context, version string) error {
	if err := r.upToTraffic(ctx, version, "aborted"); err != nil {
		return err
	}
	if err := r.member.Delete(ctx); err != nil {
		return err
	}
	if err := r.member.Rest(ctx); err != nil {
		return err
	}
	if err := r.known(ctx, version, func(result string) bool { return result != "" }); err != nil {
		return err
	}
	return r.member.Create(ctx)
}

// upToTraffic brings a good version to its first traffic and waits until the gatekeeper has it on record: what happens to a
// release of which it never knew is not asked here.
func (r *releases) upToTraffic(ctx context.Context, version, result string) error {
	if err := r.begin(ctx, version, 0); err != nil {
		return err
	}
	r.expected[version] = result
	rollback, err := r.analyse(ctx, func(weight int) bool { return weight > 0 })
	if err != nil {
		return err
	}
	if rollback {
		r.faults.add("%s is good, and the rollback hook said yes", version)
	}
	return r.known(ctx, version, func(string) bool { return true })
}

// known waits until the gatekeeper has the version's rollout on record with a result that is as it should be.
func (r *releases) known(ctx context.Context, version string, as func(result string) bool) error {
	deadline := time.Now().Add(knownTime)
	for time.Now().Before(deadline) {
		all, err := r.fleet.rollouts(ctx, r.fleet.any(r.rng), r.member.Name)
		if err == nil && slices.ContainsFunc(all, func(o rollout) bool { return o.Revision.DeployID == version && as(o.Result) }) {
			return nil
		}
		if err := pause(ctx, interval); err != nil {
			return err
		}
	}
	r.faults.add("the gatekeeper knows nothing of %s, or not its end, after %s", version, knownTime)
	return nil
}

// tally counts answers by hook. Safe for concurrent use.
type tally struct {
	mu sync.Mutex
	n  map[string]map[string]int
}

func newTally() *tally { return &tally{n: map[string]map[string]int{}} }

func (t *tally) add(hook, answer string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n[hook] == nil {
		t.n[hook] = map[string]int{}
	}
	t.n[hook][answer]++
}

func (t *tally) counts() map[string]map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	copied := map[string]map[string]int{}
	for hook, n := range t.n {
		copied[hook] = maps.Clone(n)
	}
	return copied
}
