package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/report"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// oneRelease is how long a release of the upgrade's story may take, whoever judges it.
const oneRelease = 5 * time.Minute

// middle is the weight, in percent, from which on a release is in the middle of its steps.
const middle = 25

// Older is a version of ours that others may still run, as it is installed from its own charts.
type Older struct {
	Gatekeeper, Loadgen chart.Release
	App                 chart.Release // without image.tag and deployId
	Tags                []string      // of the app's images: what serves first, what is promoted, what is in flight
}

// Newer is how its installation becomes today's.
type Newer struct {
	Charts func(context.Context) error // upgrades gatekeeper, then loadgen, as the documents say
	Back   func(context.Context) error // brings the gatekeeper's chart back to its first revision
	Tags   []string                    // of the app's images: one to be promoted, one that is bad
}

// Upgraded is what came of an upgrade with a release in flight.
type Upgraded struct {
	Misses   []string
	Seconds  float64
	Blink    float64 // seconds in which the gatekeeper did not answer
	Users    load    // until the bad release
	Victims  load    // users of the bad release
	Rollouts []string
	Verified verified // after all
}

// verified is what `gatekeeper verify` says.
type verified struct {
	Fits    bool            `json:"fits"`
	Entries int             `json:"entries"`
	Misfit  json.RawMessage `json:"misfit,omitempty"`
}

// upgrade is an Upgraded in the making.
type upgrade struct {
	*Drill
	Older
	Newer
	result    Upgraded
	deployIDs []string
}

// Upgrade installs the older charts, lets one release end, upgrades in the middle of a second one while users come, and
// releases a good and a bad version with the new charts. What was promised and did not come is in Misses; an error means
// that it could not be played to its end.
func (d *Drill) Upgrade(ctx context.Context, older Older, newer Newer) (Upgraded, error) {
	begin := time.Now()
	u := &upgrade{Drill: d, Older: older, Newer: newer, result: Upgraded{Misses: []string{}}}
	err := u.play(ctx)
	u.result.Seconds = seconds(time.Since(begin))
	return u.result, err
}

func (u *upgrade) miss(format string, args ...any) {
	u.result.Misses = append(u.result.Misses, fmt.Sprintf(format, args...))
}

func (u *upgrade) play(ctx context.Context) error {
	if err := u.begin(ctx); err != nil {
		return err
	}
	users, err := u.startUsers(ctx, "upgrade", 4*oneRelease)
	if err != nil {
		return err
	}
	defer func() { _, _ = users.stop(ctx) }()
	for _, part := range []func(context.Context) error{u.whole, u.inFlight, u.newCharts} {
		if err := part(ctx); err != nil {
			return err
		}
		if err := users.lost(ctx); err != nil {
			return err
		}
	}
	if u.result.Users, err = users.stop(ctx); err != nil {
		return err
	}
	if n := u.result.Users.failed(); n > 0 {
		u.miss("%d of the users' %d requests failed, want none: %v", n, u.result.Users.Requests, u.result.Users.Codes)
	}
	if err := u.bad(ctx); err != nil {
		return err
	}
	if err := u.kept(ctx); err != nil {
		return err
	}
	return u.back(ctx)
}

// begin installs the older charts, and a first version of the app from them.
func (u *upgrade) begin(ctx context.Context) error {
	for _, r := range []chart.Release{u.Gatekeeper, u.Loadgen} {
		if err := u.Install.Upgrade(ctx, r); err != nil {
			return err
		}
	}
	for _, name := range []string{u.Gatekeeper.Name, u.Loadgen.Name} {
		if err := u.Kube.Available(ctx, u.System, name, firstInstall); err != nil {
			return err
		}
	}
	if err := u.empty(ctx); err != nil {
		return err
	}
	if err := u.release(ctx, u.App, u.Older.Tags[0], "lab-"+u.run+"-first"); err != nil {
		return err
	}
	if err := u.served(ctx); err != nil {
		return err
	}
	return u.scale(ctx, Scenario{})
}

// release is what a service's pipeline does with a chart that knows no more than image and deploy id.
func (u *upgrade) release(ctx context.Context, app chart.Release, tag, deployID string) error {
	app.Sets = slices.Concat(app.Sets, []string{"image.tag=" + tag, "deployId=" + deployID})
	return u.Install.Upgrade(ctx, app)
}

// next is the deploy id of one more release.
func (u *upgrade) next() string {
	id := fmt.Sprintf("lab-%s-%d", u.run, len(u.deployIDs)+1)
	u.deployIDs = append(u.deployIDs, id)
	return id
}

// whole is a release that the older gatekeeper sees from its begin to its end.
func (u *upgrade) whole(ctx context.Context) error {
	id := u.next()
	if err := u.release(ctx, u.App, u.Older.Tags[1], id); err != nil {
		return err
	}
	_, err := u.ended(ctx, id, promoted)
	return err
}

// inFlight upgrades gatekeeper and load generator in the middle of a release of a service whose own chart stays as it is.
func (u *upgrade) inFlight(ctx context.Context) error {
	id := u.next()
	if err := u.release(ctx, u.App, u.Older.Tags[2], id); err != nil {
		return err
	}
	before, err := u.halfway(ctx, id)
	if err != nil {
		return err
	}
	u.Say("    at weight %d or more: upgrading", middle)
	watching, stop := context.WithCancel(ctx)
	away := u.away(watching)
	err = u.Charts(ctx)
	if err == nil {
		var now []rollout
		now, err = u.records(ctx, id)
		if err == nil && (len(now) != 1 || now[0].ID != before.ID || now[0].Result != "") {
			u.miss("after the upgrade the gatekeeper has %+v of the release in flight, want %s under way", now, before.ID)
		}
	}
	stop()
	u.result.Blink = seconds(<-away)
	if err != nil {
		return err
	}
	after, err := u.ended(ctx, id, promoted)
	if err == nil && after.ID != before.ID {
		u.miss("the release in flight was rollout %s and ended as %s", before.ID, after.ID)
	}
	return err
}

// halfway waits until a release is in the middle of its steps.
func (u *upgrade) halfway(ctx context.Context, deployID string) (rollout, error) {
	ctx, cancel := context.WithTimeout(ctx, oneRelease)
	defer cancel()
	err := u.until(ctx, func(ctx context.Context) (bool, error) {
		weight, err := u.Kube.Weight(ctx, u.Namespace, u.Name)
		return weight >= middle, err
	})
	if err != nil {
		return rollout{}, fmt.Errorf("wait for weight %d: %w", middle, err)
	}
	list, err := u.records(ctx, deployID)
	if err == nil && len(list) != 1 {
		err = fmt.Errorf("the gatekeeper has %d rollouts of %s under way, want 1", len(list), deployID)
	}
	if err != nil {
		return rollout{}, err
	}
	return list[0], nil
}

// away measures for how long the gatekeeper does not answer until ctx ends.
func (u *upgrade) away(ctx context.Context) <-chan time.Duration {
	sum := make(chan time.Duration, 1)
	go func() {
		var all time.Duration
		for begin := time.Now(); ctx.Err() == nil; {
			call, cancel := context.WithTimeout(ctx, oneCall)
			err := u.call(call, http.MethodGet, u.Gatekeeper.Name, "people", "/readyz", nil, nil, http.StatusOK)
			cancel()
			now := time.Now()
			if err != nil && ctx.Err() == nil {
				all += now.Sub(begin)
			}
			begin = now
			select {
			case <-ctx.Done():
			case <-time.After(every):
			}
		}
		sum <- all
	}()
	return sum
}

// newCharts is the first release of the service with its new chart.
func (u *upgrade) newCharts(ctx context.Context) error {
	return u.today(ctx, u.Newer.Tags[0], "", promoted)
}

// bad is a release with a fault, with users of its own whose failures must be the canary's and no others.
func (u *upgrade) bad(ctx context.Context) error {
	victims, err := u.startUsers(ctx, "victims", oneRelease)
	if err != nil {
		return err
	}
	defer func() { _, _ = victims.stop(ctx) }()
	if err := u.today(ctx, u.Newer.Tags[1], badAnswers, rolledBack); err != nil {
		return err
	}
	u.result.Victims, err = victims.stop(ctx)
	return err
}

// today is a release with today's chart, and `gatekeeper wait` beside it.
func (u *upgrade) today(ctx context.Context, tag, plan, result string) error {
	id := u.next()
	pipe, err := u.startPipeline(ctx, id)
	if err != nil {
		return err
	}
	defer pipe.stop()
	if err := u.upgrade(ctx, Scenario{version: tag, plan: plan}, id); err != nil {
		return err
	}
	if _, err := u.ended(ctx, id, result); err != nil {
		return err
	}
	if _, wrong := pipe.end(result); wrong != "" {
		u.miss("%s", wrong)
	}
	return nil
}

// ended waits until a release has an end and an entry, which must be in result.
func (u *upgrade) ended(ctx context.Context, deployID, result string) (rollout, error) {
	begin := time.Now()
	due, cancel := context.WithTimeout(ctx, oneRelease)
	defer cancel()
	var last []rollout
	err := u.until(due, func(ctx context.Context) (bool, error) {
		list, err := u.records(ctx, deployID)
		if err != nil {
			return false, err
		}
		last = list
		return len(list) > 0 && list[0].Reported, nil
	})
	if err != nil {
		return rollout{}, fmt.Errorf("wait for the end of %s, of which the gatekeeper has %+v: %w", deployID, last, err)
	}
	if len(last) != 1 || last[0].Result != result {
		u.miss("%s ended in %d rollouts, the last one %s (%s), want one that is %s", deployID, len(last), last[0].Result, last[0].reason(), result)
	}
	u.result.Rollouts = append(u.result.Rollouts, last[0].ID)
	u.Say("    %s: %s after %.0fs (%s)", deployID, last[0].Result, time.Since(begin).Seconds(), last[0].reason())
	return last[0], nil
}

// records are the gatekeeper's records of one release. An older gatekeeper lists all of them, whatever it is asked for.
func (u *upgrade) records(ctx context.Context, deployID string) ([]rollout, error) {
	list, err := u.rollouts(ctx, deployID)
	return slices.DeleteFunc(list, func(r rollout) bool { return r.Revision.DeployID != deployID }), err
}

// kept looks at everything that must still be there: each rollout by its id and in the report, the users' part of
// it, each notification once, and a ledger that fits.
func (u *upgrade) kept(ctx context.Context) error {
	entries, err := u.report(ctx)
	if err != nil {
		return err
	}
	for _, id := range u.result.Rollouts {
		if n := times(entries, id); n != 1 {
			u.miss("the report has %d entries of %s, want 1", n, id)
		}
		for _, path := range []string{"", "/report.md"} {
			if err := u.call(ctx, http.MethodGet, u.Gatekeeper.Name, "people", "/api/v1/rollouts/"+id+path, nil, nil, http.StatusOK); err != nil {
				u.miss("%v", err)
			}
		}
	}
	last := entries[len(entries)-1].Versions["canary"]
	if n := u.result.Victims.failed(); n == 0 || n != last.Counts.Bad {
		u.miss("%d of the users' requests failed in the bad release, its entry has %d bad answers of the canary", n, last.Counts.Bad)
	}
	if err := u.told(ctx); err != nil {
		return err
	}
	u.result.Verified, err = u.verify(ctx)
	if err == nil && !u.result.Verified.Fits {
		u.miss("gatekeeper verify: %s", u.result.Verified.Misfit)
	}
	return err
}

func times(entries []report.Entry, id string) (n int) {
	for _, e := range entries {
		if e.ID == id {
			n++
		}
	}
	return n
}

// told compares the notifications: begin and end of each release, each received once. The older gatekeeper posted what
// is now the data of a CloudEvent.
func (u *upgrade) told(ctx context.Context) error {
	list, err := u.received(ctx, "/")
	if err != nil {
		return err
	}
	got := map[string]int{}
	for _, post := range list {
		var body struct {
			news
			Data news `json:"data"`
		}
		if json.Unmarshal([]byte(post.Body), &body) == nil {
			got[body.Revision.DeployID+body.Data.Revision.DeployID+" "+body.Event+body.Data.Event]++
		}
	}
	for i, id := range u.deployIDs {
		end := promoted
		if i == len(u.deployIDs)-1 {
			end = rolledBack
		}
		for _, event := range []string{"started", end} {
			if n := got[id+" "+event]; n != 1 {
				u.miss("%d notifications %q of %s were received, want 1", n, event, id)
			}
		}
	}
	return nil
}

// news is what the proof reads of a notification.
type news struct {
	Event    string `json:"event"`
	Revision struct {
		DeployID string `json:"deployId"`
	} `json:"revision"`
}

// verify lets today's program look at the ledger of the gatekeeper that runs.
func (u *upgrade) verify(ctx context.Context) (v verified, err error) {
	server, stop, err := u.door(ctx)
	if err != nil {
		return v, err
	}
	defer stop()
	out, err := sh.Command(u.Drill.Gatekeeper, "verify", "--server", server, "--output", "json").Output(ctx)
	if bad := json.Unmarshal([]byte(out), &v); bad != nil {
		return v, errors.Join(fmt.Errorf("gatekeeper verify does not say what it found: %w", bad), err)
	}
	return v, nil
}

// back tries what a person in trouble may do: the gatekeeper's chart goes back to where it was. The older program must not
// work with what the newer one has written; brought forward again, nothing may be missing.
func (u *upgrade) back(ctx context.Context) error {
	if err := u.Back(ctx); err != nil {
		return err
	}
	due, cancel := context.WithTimeout(ctx, firstInstall)
	defer cancel()
	err := u.until(due, func(ctx context.Context) (bool, error) {
		pods, err := u.Kube.Pods(ctx, u.System, u.Gatekeeper.Name)
		return slices.ContainsFunc(pods, func(p kube.Pod) bool { return p.Restarts > 0 && !p.Ready }), err
	})
	if err != nil {
		return fmt.Errorf("wait until the older gatekeeper ends over the newer ledger: %w", err)
	}
	if err := u.Charts(ctx); err != nil {
		return err
	}
	again, err := u.verify(ctx)
	if err == nil && (!again.Fits || again.Entries != u.result.Verified.Entries) {
		u.miss("brought back and forward again the ledger has %d entries that fit: %t; before it had %d", again.Entries, again.Fits, u.result.Verified.Entries)
	}
	return err
}

// WriteText says in one line what came of it, and one more for each miss.
func (u Upgraded) WriteText(w io.Writer) error {
	mark := "✓"
	if len(u.Misses) > 0 {
		mark = "✗"
	}
	_, err := fmt.Fprintf(w, "%s upgrade, %.0fs: %d rollouts, %d entries of the ledger verified; gatekeeper away for %.1fs; users %d requests, %d failed; of the bad release %d, %d failed\n",
		mark, u.Seconds, len(u.Rollouts), u.Verified.Entries, u.Blink, u.Users.Requests, u.Users.failed(), u.Victims.Requests, u.Victims.failed())
	for _, miss := range u.Misses {
		_, wrong := fmt.Fprintf(w, "    missed: %s\n", miss)
		err = errors.Join(err, wrong)
	}
	return err
}
