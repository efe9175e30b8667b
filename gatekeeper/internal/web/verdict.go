package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// State is how far a release has come, as a pipeline asks for it by the deploy id.
type State string

// The states. Unknown: nothing carries the deploy id, which is so until the cluster has taken the release in. Waiting: a
// Canary's target carries it, and Flagger has not begun. UnderWay: there is a rollout of it. NothingToDo: it is what the
// primary runs and there never was a rollout of it, as after the first installation. The others are a rollout.Result, and
// final like NothingToDo.
const (
	Unknown     State = "unknown"
	Waiting     State = "waiting"
	UnderWay    State = "under-way"
	NothingToDo State = "nothing-to-do"
)

// Final reports whether a release in this state stays in it.
func (s State) Final() bool { return s != Unknown && s != Waiting && s != UnderWay }

// Verdict is the answer to what became of a deploy id.
type Verdict struct {
	State    State  `json:"state"`
	DeployID string `json:"deployId"`
	Text     string `json:"text"` // the state in one sentence
	// Mark is another as soon as something has changed that a person wants to see.
	Mark    string           `json:"mark"`
	Canary  *rollout.Key     `json:"canary"`  // null while the state is unknown
	Rollout *rollout.Brief   `json:"rollout"` // the newest one of this deploy id, null when there is none
	Verdict *rollout.Verdict `json:"verdict"` // its verdict
	Gates   []policy.Gate    `json:"gates"`   // of a rollout under way
	// Silent is how long ago Flagger last asked about the Canary, in seconds; negative: never since the gatekeeper started.
	Silent float64 `json:"flaggerAskedSecondsAgo"`
	// TraceURL is where people see the rollout's trace, once it has ended; empty where nobody knows.
	TraceURL string `json:"traceUrl,omitempty"`
}

// settle is the state of the release with a deploy id. The target, nil when it carries another id, and the newest rollout
// of exactly this id, nil when there is none, are of one Canary; overtaken says that this Canary had another one since. What
// other releases came to plays no part.
func settle(deployID string, target *rollout.Canary, newest *rollout.Brief, overtaken bool) State {
	switch {
	case newest != nil && newest.Result == "":
		return UnderWay
	case newest != nil && target != nil && target.Revision.Hash != "" && newest.Revision.Hash != "" && target.Revision.Hash != newest.Revision.Hash:
		return Waiting // the same id was given to another revision, which is not looked at yet
	case newest != nil && target != nil && overtaken:
		return Waiting // it was released before, and comes again, as when a pipeline of long ago is run once more
	case newest != nil:
		return State(newest.Result)
	case target == nil:
		return Unknown
	case target.Stable.DeployID == deployID && (target.Phase == rollout.Initialized || target.Phase == rollout.Succeeded):
		return NothingToDo
	default:
		return Waiting
	}
}

const (
	// maxWait bounds how long an answer may be delayed: proxies cut off what is silent for a minute.
	maxWait = 50 * time.Second
	// lookEvery is how often a delayed answer is looked at again: the keeper evaluates every second.
	lookEvery = time.Second
	// maxDeployID is the longest deploy id that is looked for, in bytes.
	maxDeployID = 300
)

// errSeveral is returned when a deploy id alone does not say which Canary is meant.
var errSeveral = errors.New("several Canaries carry this deploy id: say which with canary=namespace/name")

// verdict answers what became of a deploy id, with wait= only once it is final, or, with seen=, once there is something
// new to say.
func (d door) verdict(c *gin.Context) {
	deployID, key := c.Query("deploy-id"), c.Query("canary")
	wait, err := duration(c.Query("wait"))
	switch {
	case deployID == "" || len(deployID) > maxDeployID:
		err = fmt.Errorf("ask for ?deploy-id=, at most %d bytes", maxDeployID)
	case key != "" && !isKey(key):
		err = errors.New("canary is namespace/name")
	}
	if err != nil {
		d.badRequest(c, err)
		return
	}
	leave, ok := d.stay(c)
	if !ok {
		return
	}
	defer leave()
	v, err := d.awaited(c, deployID, key, wait)
	switch {
	case errors.Is(err, errSeveral):
		d.turnAway(c, http.StatusConflict, err.Error())
	case err != nil:
		d.refuse(c, err)
	default:
		c.JSON(http.StatusOK, v)
	}
}

// awaited looks until there is something to say, the time is over, or somebody wants to end.
func (d door) awaited(c *gin.Context, deployID, key string, wait time.Duration) (Verdict, error) {
	ctx := c.Request.Context()
	_ = http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(wait + writeTime)) // what has no deadline needs none
	over := time.NewTimer(wait)
	defer over.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		v, err := d.verdictOf(ctx, deployID, key)
		seen, follows := c.GetQuery("seen")
		if err != nil || v.State.Final() || follows && v.Mark != seen {
			return v, err
		}
		select {
		case <-look.C:
			continue
		case <-ctx.Done():
		case <-over.C:
		case <-d.cfg.Stopping:
		}
		return v, nil
	}
}

// verdictOf is how the release with a deploy id stands now.
func (d door) verdictOf(ctx context.Context, deployID, key string) (Verdict, error) {
	briefs, _, err := d.cfg.Desk.Find(ctx, rollout.Query{DeployID: deployID, Canary: key, Limit: maxList})
	if err != nil {
		return Verdict{}, err
	}
	targets := slices.DeleteFunc(d.cfg.Conductor.Canaries(), func(c rollout.Canary) bool {
		return c.Revision.DeployID != deployID || key != "" && c.Key.String() != key
	})
	var of *rollout.Key
	var newest *rollout.Brief
	for i := range briefs {
		if of != nil && *of != briefs[i].Canary {
			return Verdict{}, errSeveral
		}
		if newest == nil || briefs[i].StartedAt.After(newest.StartedAt) {
			newest, of = &briefs[i], &briefs[i].Canary
		}
	}
	var target *rollout.Canary
	for i := range targets {
		if of != nil && *of != targets[i].Key {
			return Verdict{}, errSeveral
		}
		target, of = &targets[i], &targets[i].Key
	}
	v := Verdict{DeployID: deployID, Canary: of, Silent: -1}
	if of != nil {
		if err := d.fill(ctx, &v, newest); err != nil {
			return Verdict{}, err
		}
	}
	overtaken, err := d.overtaken(ctx, v.Rollout)
	if err != nil {
		return Verdict{}, err
	}
	if r := v.Rollout; r != nil {
		v.TraceURL = d.cfg.Links.Rollout(r.ID, r.Revision.Traceparent)
	}
	v.State = settle(deployID, target, v.Rollout, overtaken)
	switch v.State {
	case Unknown:
		v.Text = fmt.Sprintf("nothing carries the deploy id %s yet", deployID)
	case Waiting:
		v.Text = fmt.Sprintf("%s carries the deploy id %s, Flagger has not begun with it (phase %s)", of, deployID, target.Phase)
	case NothingToDo:
		v.Text = fmt.Sprintf("%s runs the deploy id %s already, and there was no rollout of it", of, deployID)
	}
	v.Mark = v.mark()
	return v, nil
}

// overtaken reports whether there was a rollout of the same Canary after this one.
func (d door) overtaken(ctx context.Context, b *rollout.Brief) (bool, error) {
	if b == nil {
		return false, nil
	}
	last, _, err := d.cfg.Desk.Find(ctx, rollout.Query{Canary: b.Canary.String(), Limit: 1})
	return len(last) > 0 && last[0].ID != b.ID && last[0].StartedAt.After(b.StartedAt), err
}

// fill adds the rollout, from memory while it is under way, else as it was recorded, which may be later than newest.
func (d door) fill(ctx context.Context, v *Verdict, newest *rollout.Brief) error {
	s, err := d.cfg.Conductor.Why(*v.Canary)
	if err == nil { // an error: the Canary is gone, its rollout is not
		v.Silent = s.Silent
	}
	if newest == nil {
		return nil
	}
	r := s.Rollout
	if r != nil && r.ID == newest.ID {
		v.Gates = s.Gates
	} else {
		recorded, err := d.cfg.Desk.Get(ctx, newest.ID)
		if err != nil {
			return err
		}
		r = &recorded
	}
	brief := r.Brief()
	v.Rollout, v.Verdict, v.Text = &brief, &r.Verdict, r.Summary()
	return nil
}

// mark is a hash of what a person wants to see change; counts alone are not.
func (v Verdict) mark() string {
	seen := []any{v.State, v.Canary}
	if r := v.Rollout; r != nil {
		seen = append(seen, r.ID, r.Phase, r.Weight)
	}
	if v.Verdict != nil {
		seen = append(seen, v.Verdict.Outcome)
		for _, reason := range v.Verdict.Reasons {
			seen = append(seen, reason.Kind)
		}
	}
	for _, g := range v.Gates {
		seen = append(seen, g.Kind, g.Open, g.OpensAt)
	}
	return markOf(seen)
}

// markOf is a short hash of what can be encoded.
func markOf(seen any) string {
	text, _ := json.Marshal(seen) // holds strings, numbers and times only
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// duration reads how long an answer may be delayed; "" is not at all.
func duration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 || wait > maxWait {
		return 0, fmt.Errorf("wait is a time such as 30s, at most %s", maxWait)
	}
	return wait, nil
}

// isKey reports whether text is namespace/name.
func isKey(text string) bool {
	namespace, name, both := strings.Cut(text, "/")
	return both && namespace != "" && name != "" && !strings.Contains(name, "/")
}
