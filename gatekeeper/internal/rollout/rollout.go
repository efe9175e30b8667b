// Package rollout holds the words of the house: Canary, Revision, Pod, Tick, Step, Verdict and Rollout, and how a Rollout changes.
package rollout

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/evidence"
)

// ErrUnknownCanary is returned when a hook names a Canary that the cluster does not have.
var ErrUnknownCanary = errors.New("unknown canary")

// ErrOver is returned when something is asked of a Rollout that has ended.
var ErrOver = errors.New("rollout is over")

// ErrNotAnalysed is returned when the brake is asked for a Canary that is not under analysis: there it must not act.
var ErrNotAnalysed = errors.New("canary is not under analysis")

// ErrChanged is returned when somebody decides in sight of a Rollout that has changed since.
var ErrChanged = errors.New("rollout has changed")

// ErrNotFound is returned when no Rollout has the asked id.
var ErrNotFound = errors.New("rollout not found")

// Key names one Canary object in the cluster.
type Key struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func (k Key) String() string { return k.Namespace + "/" + k.Name }

// Revision is what is released. Hash is the pod-template-hash of the Deployment's current ReplicaSet; DeployID is the
// pod template's rollout.monitoring/deploy-id annotation and may be empty.
type Revision struct {
	Hash     string `json:"hash"`
	DeployID string `json:"deployId"`
	Image    string `json:"image"`
	// Change is the pod template's rollout.monitoring/change annotation, such as "hotfix"; freeze windows may except it.
	Change string `json:"change,omitempty"`
	// Commit and CommittedAt are what was built, by the annotations rollout.monitoring/commit and commit-time (RFC 3339);
	// empty when the pipeline does not say. Lead time is counted from CommittedAt.
	Commit      string    `json:"commit,omitempty"`
	CommittedAt time.Time `json:"committedAt,omitzero"`
	// Traceparent is the W3C trace context that the pipeline passed, by the annotation rollout.monitoring/traceparent, as it
	// stands there: who continues the trace reads it.
	Traceparent string `json:"traceparent,omitempty"`
	// Note is who released it and why, by the annotation rollout.monitoring/note, one line.
	Note string `json:"note,omitempty"`
	// Drill says that the release is a rehearsal, by the annotation rollout.monitoring/drill: "true".
	Drill bool `json:"drill,omitempty"`
}

// Difference is one thing in which the canary's pods are not as the primary's. Values that may be secret are never in it:
// What names them, From and To say "set", "other" or "".
type Difference struct {
	What string `json:"what"` // such as "image of app", "env LOG_LEVEL of app", "ConfigMap app-config"
	From string `json:"from"` // "" when the primary has none
	To   string `json:"to"`   // "" when the canary has none
}

// Tag is the image's tag or digest, for people; "" when the image names neither.
func (r Revision) Tag() string {
	name := r.Image[strings.LastIndex(r.Image, "/")+1:]
	if _, digest, ok := strings.Cut(name, "@"); ok {
		return digest
	}
	_, tag, _ := strings.Cut(name, ":")
	return tag
}

// Phase is Flagger's word for where a Canary is (pkg/apis/flagger/v1beta1/status.go).
type Phase string

// The phases of Flagger 1.44.
const (
	Initializing     Phase = "Initializing"
	Initialized      Phase = "Initialized"
	Waiting          Phase = "Waiting"
	Progressing      Phase = "Progressing"
	WaitingPromotion Phase = "WaitingPromotion"
	Promoting        Phase = "Promoting"
	Finalising       Phase = "Finalising"
	Succeeded        Phase = "Succeeded"
	Failed           Phase = "Failed"
)

// UnderWay reports whether a new revision is being looked at or moved in this phase.
func (p Phase) UnderWay() bool {
	switch p {
	case Waiting, Progressing, WaitingPromotion, Promoting, Finalising:
		return true
	default:
		return false
	}
}

// Analysed reports whether Flagger still asks for verdicts in this phase; from Promoting on it does not.
func (p Phase) Analysed() bool {
	return p == Waiting || p == Progressing || p == WaitingPromotion
}

// Track says which of the two versions a pod runs.
type Track string

// The two versions that Flagger keeps apart, and the same as the ingress sees them.
const (
	TrackCanary         Track = "canary"
	TrackPrimary        Track = "primary"
	TrackIngressCanary  Track = "ingress-canary"
	TrackIngressPrimary Track = "ingress-primary"
)

// Pod is one place where responses are counted.
type Pod struct {
	UID       string
	Name      string
	Address   string // host:port of its metrics
	Path      string // URL path of its metrics
	Track     Track
	Hash      string // pod-template-hash it runs
	CreatedAt time.Time
	Ready     bool
	Restarts  int // of its containers since the pod was made, after exits with an error
	// Waiting is why a container does not run, in the kubelet's word ("CrashLoopBackOff", "ImagePullBackOff"), and
	// WaitingText what it says of it; both "" while all run.
	Waiting, WaitingText string
	Terminating          bool
}

// Canary is what the cluster says of one Canary object at one moment.
type Canary struct {
	Key    Key
	Phase  Phase
	Weight int // percent of traffic that goes to the canary now
	// Next is the weight that Flagger asks for after Weight: the next step, or 100 when the next step is the promotion.
	Next   int
	Policy string
	// Ingress is the ingress that splits the traffic, "" when something else does (Gateway API).
	Ingress string
	// Service is the backend in it that users ask for, as the ingress controller's metrics call it.
	Service string
	// Interval is how often Flagger looks at the Canary.
	Interval time.Duration
	// Suspended says that Flagger was told to leave the Canary alone: it asks nothing then.
	Suspended bool
	// LeftAt is the canary weight in the Canary's own status. With phase Failed it is over 0 only when a promotion broke
	// down and Flagger left the traffic on the canary (pkg/controller/scheduler.go: handleFailedPromotion).
	LeftAt int
	// Settled is when Flagger last brought the Canary to rest, by its own clock; zero while a revision is under way. Each
	// rollout has another one, so it tells also of those that nobody saw.
	Settled  time.Time
	Revision Revision // of the target, to be released
	Stable   Revision // of the primary
	// Changes are in what the target's pod template is another than the primary's.
	Changes []Difference
	Pods    []Pod
}

// Counts are responses, split by the SLI.
type Counts struct {
	Good uint64 `json:"good"`
	Bad  uint64 `json:"bad"`
}

// Total is the number of responses.
func (c Counts) Total() uint64 { return c.Good + c.Bad }

// ErrorRate is the share of responses that are not good, in percent, 0 when there are none.
func (c Counts) ErrorRate() float64 {
	if c.Total() == 0 {
		return 0
	}
	return 100 * float64(c.Bad) / float64(c.Total())
}

// Add gives the sum of both.
func (c Counts) Add(o Counts) Counts { return Counts{c.Good + o.Good, c.Bad + o.Bad} }

// Sub gives what c has beyond o. Cumulative counts never shrink, so a smaller c means 0, not an underflow.
func (c Counts) Sub(o Counts) Counts {
	return Counts{c.Good - min(o.Good, c.Good), c.Bad - min(o.Bad, c.Bad)}
}

// Step is the time spent at one canary weight, with the responses that fell in it.
type Step struct {
	Weight  int       `json:"weight"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Canary  Counts    `json:"canary"`
	Primary Counts    `json:"primary"`
}

// Outcome of a verdict.
type Outcome string

// Pass lets traffic grow, Hold keeps it where it is, Fail sends it back.
const (
	Pass Outcome = "pass"
	Hold Outcome = "hold"
	Fail Outcome = "fail"
)

// Reason is why a Verdict is what it is: a closed kind, one sentence for people, and the numbers behind it.
type Reason struct {
	Kind   string             `json:"kind"`
	Text   string             `json:"text"`
	Values map[string]float64 `json:"values,omitempty"`
}

// Verdict is what should happen and why, the strongest reason first.
type Verdict struct {
	Outcome  Outcome     `json:"outcome"`
	At       time.Time   `json:"at"`
	Reasons  []Reason    `json:"reasons"`
	Evidence *Assessment `json:"evidence,omitempty"` // the numbers behind it; nil before the first traffic
}

// Assessment is what the evidence amounts to, for people and machines. Rates and weights are shares, 0 to 1. Evidence is
// in natural logarithms: ln 200 reads "200 : 1 against".
type Assessment struct {
	LogSLO     float64 `json:"logSlo"`     // the canary is over the SLO
	LogHard    float64 `json:"logHard"`    // the canary is over failFast.errorRate; shown, decides nothing
	LogCompare float64 `json:"logCompare"` // the canary is worse than the primary
	LogPrimary float64 `json:"logPrimary"` // the primary itself is over the SLO
	LogLatency float64 `json:"logLatency"` // the canary is too slow
	LogLine    float64 `json:"logLine"`    // where SLO and compare roll back
	// LogIngressSLO and LogIngressCompare are the second opinion, with its own line.
	LogIngressSLO     float64 `json:"logIngressSlo"`
	LogIngressCompare float64 `json:"logIngressCompare"`
	LogIngressLine    float64 `json:"logIngressLine"`

	Rate           float64 `json:"rate"`  // of bad responses
	Lower          float64 `json:"lower"` // Rate is not less than this, 97.5 %
	Upper          float64 `json:"upper"` // nor more than this, 1 - ramp.miss
	PrimaryRate    float64 `json:"primaryRate"`
	AllowedWeight  float64 `json:"allowedWeight"`  // that the evidence supports
	RequestsNeeded float64 `json:"requestsNeeded"` // clean ones until the next weight, 0: enough
}

// Text is the first reason's sentence.
func (v Verdict) Text() string {
	if len(v.Reasons) == 0 {
		return ""
	}
	return v.Reasons[0].Text
}

// Query chooses from all rollouts, newest first. Zero fields choose all.
type Query struct {
	Canary   string // "namespace/name"
	DeployID string
	Result   Result // also Open: those that have none yet
	// Since and Before bound StartedAt: not before Since, before Before.
	Since, Before time.Time
	Text          string // in id, image, deploy id or commit, in any case
	Limit, Offset int    // Limit 0: 100
}

// Open in a Query asks for rollouts that have no result yet.
const Open Result = "open"

// Brief is a rollout in a list.
type Brief struct {
	ID             string    `json:"id"`
	Canary         Key       `json:"canary"`
	Revision       Revision  `json:"revision"`
	Stable         Revision  `json:"stable"`
	Phase          Phase     `json:"phase"`
	Result         Result    `json:"result"`
	StartedAt      time.Time `json:"startedAt"`
	FirstTrafficAt time.Time `json:"firstTrafficAt,omitzero"`
	EndedAt        time.Time `json:"endedAt,omitzero"`
	Weight         int       `json:"weight"`
	Canaries       Counts    `json:"canaryRequests"` // responses of the canary
	Reason         string    `json:"reason"`         // the verdict's first sentence
	ReasonKind     string    `json:"reasonKind"`
	// FailedAt is when the verdict became fail, zero when it did not. Time to restore is counted from FirstTrafficAt.
	FailedAt time.Time `json:"failedAt,omitzero"`
	Unseen   bool      `json:"unseen,omitempty"`
}

// Brief is r in a list.
func (r *Rollout) Brief() Brief {
	b := Brief{
		ID: r.ID, Canary: r.Canary, Revision: r.Revision, Stable: r.Stable, Phase: r.Phase, Result: r.Result, StartedAt: r.StartedAt,
		FirstTrafficAt: r.FirstTrafficAt, EndedAt: r.EndedAt, Weight: r.Latest.Weight, Canaries: r.Latest.Canary,
		Reason: r.Verdict.Text(), ReasonKind: r.Verdict.Kind(), FailedAt: r.FailedAt, Unseen: r.Unseen,
	}
	return b
}

// BudgetLeft is what the service answered in the window of its policy's error budget, as of At.
type BudgetLeft struct {
	Requests float64   `json:"requests"`
	Bad      float64   `json:"bad"`
	At       time.Time `json:"at"`
}

// Result is how a Rollout ended; "" while it runs.
type Result string

// The ways a Rollout ends.
const (
	Promoted   Result = "promoted"
	RolledBack Result = "rolled-back"
	Superseded Result = "superseded"
	Aborted    Result = "aborted"
	Stuck      Result = "stuck"
)

// Results are all of them.
func Results() []Result { return []Result{Promoted, RolledBack, Superseded, Aborted, Stuck} }

// Event is one line of a Rollout's timeline.
type Event struct {
	At     time.Time `json:"at"`
	Source string    `json:"source"` // flagger or gatekeeper
	Text   string    `json:"text"`
}

// maxTimeline bounds what one Rollout remembers of Flagger's messages: a release held for hours must not grow its record
// for ever. Our own lines come at changes only and always have room: the end of a story is its point.
const maxTimeline = 500

// resetTime is how long a superseding rollout takes the weight for its predecessor's. Flagger sets it back at its next
// look, every analysis interval; after this time the reset was missed, and the weight is our own.
const resetTime = 2 * time.Minute

// Rollout is one attempt to release one Revision of one Canary.
type Rollout struct {
	ID             string       `json:"id"`
	Canary         Key          `json:"canary"`
	Revision       Revision     `json:"revision"`
	Stable         Revision     `json:"stable"`
	Changes        []Difference `json:"changes,omitempty"`
	Policy         string       `json:"policy"`
	PolicyDigest   string       `json:"policyDigest"` // of the rules it is judged by from begin to end
	Phase          Phase        `json:"phase"`
	Result         Result       `json:"result"`
	StartedAt      time.Time    `json:"startedAt"`
	FirstTrafficAt time.Time    `json:"firstTrafficAt"` // first weight over 0
	Before         Counts       `json:"before"`         // primary's responses until then, counted for nothing
	AwaitsReset    bool         `json:"awaitsReset"`    // the weight is still that of the revision before
	Supersedes     bool         `json:"supersedes"`     // it began so
	EndedAt        time.Time    `json:"endedAt"`
	Steps          []Step       `json:"steps"`
	Latest         Tick         `json:"latest"`
	Verdict        Verdict      `json:"verdict"`
	// Ingress is the ingress whose counts are a second opinion, "" when there is none.
	Ingress  string         `json:"ingress,omitempty"`
	Evidence evidence.State `json:"evidence"`
	// HeldSince is when a hold began that neither a bake time nor a pass has ended since; zero while there is none.
	HeldSince time.Time `json:"heldSince"`
	// WindowOf is the begin of the climb whose first minutes were judged by failFast, zero before.
	WindowOf  time.Time  `json:"windowOf"`
	Decisions []Decision `json:"decisions,omitempty"` // of people, in the order of time
	// Version grows with each decision: one that was made in sight of an older version is refused.
	Version int  `json:"version"`
	Tape    Tape `json:"tape"` // its recorded ticks
	// Told is what people were told of that may last. It is replaced, never changed: copies share it.
	Told map[Happening]Telling `json:"told,omitempty"`
	// JudgedBy are the gatekeepers that judged it, by version and processor architecture: another one may judge otherwise.
	JudgedBy []string `json:"judgedBy,omitempty"`
	// Unseen says that it began and ended while no gatekeeper looked, and was found afterwards: nothing was judged.
	Unseen bool `json:"unseen,omitempty"`
	// Budget is what was known of the service's error budget when the entry was closed; nil: nothing, or the policy has none.
	Budget *BudgetLeft `json:"budget,omitempty"`
	// FailedAt is when the verdict became fail; it stays so.
	FailedAt time.Time `json:"failedAt,omitzero"`
	// Held are the times in which gates held it, in the order of their begin.
	Held []Held `json:"held,omitempty"`
	// Failing are canary requests that failed and have a trace, the newest last. It is replaced, never changed.
	Failing  []Failing `json:"failing,omitempty"`
	Timeline []Event   `json:"timeline"`
	Reported bool      `json:"reported"` // counts are final and the report has the entry
}

// ID names the rollout of a revision that began at a moment. It is unique as long as one revision of one Canary is not
// started twice in a second.
func ID(k Key, r Revision, at time.Time) string {
	return fmt.Sprintf("%s-%s-%s-%d", k.Namespace, k.Name, r.Hash, at.Unix())
}

// New starts the record of c's current revision at now.
func New(c Canary, now time.Time) Rollout {
	r := Rollout{
		ID:        ID(c.Key, c.Revision, now),
		Canary:    c.Key,
		Revision:  c.Revision,
		Stable:    c.Stable,
		Changes:   c.Changes,
		Policy:    c.Policy,
		Ingress:   c.Ingress,
		Phase:     c.Phase,
		StartedAt: now,
	}
	r.Note(now, "gatekeeper", "new revision "+r.Revision.Label()+" detected, stable is "+r.Stable.Label())
	return r
}

// Label names a revision for people.
func (r Revision) Label() string {
	if tag := r.Tag(); tag != "" {
		return tag + " (" + r.Hash + ")"
	}
	return r.Hash
}

// Note appends a line to the timeline; the same text twice in a row, and Flagger's lines beyond the bound, are left out.
func (r *Rollout) Note(at time.Time, source, text string) {
	last := len(r.Timeline) - 1
	if source == "flagger" && last >= maxTimeline || last >= 0 && r.Timeline[last].Text == text {
		return
	}
	r.Timeline = append(r.Timeline, Event{At: at, Source: source, Text: text})
}

// Observe takes in a new tick. The responses since the last one belong to the step in which they fell. The canary's that
// come when no step is under way (requests still on their way, an early probe by hand) count for the last step, so that
// the steps add up to all that the canary's pods served; the primary's do not. Once the rollout has a result only the
// canary's last responses are taken in.
func (r *Rollout) Observe(t Tick) {
	r.Failing, t.Failing = newest(r.Failing, t.Failing), nil
	if r.Result != "" {
		r.Latest.At, r.Latest.Canary = t.At, t.Canary
		r.shareCanary()
		return
	}
	r.AwaitsReset = r.AwaitsReset && t.Weight > 0 && t.At.Sub(r.StartedAt) < resetTime
	if r.AwaitsReset {
		t.Weight = 0
	}
	if r.FirstTrafficAt.IsZero() {
		r.Before = t.Primary
	}
	t.Primary = t.Primary.Sub(r.Before)
	step, underWay := r.current(), false
	if step != nil && step.To.IsZero() {
		underWay = true
		step.Primary = step.Primary.Add(t.Primary.Sub(r.Latest.Primary))
	}
	r.Latest = t
	r.shareCanary()
	if underWay && step.Weight != t.Weight {
		step.To, underWay = t.At, false
		if t.Weight == 0 {
			r.Note(t.At, "gatekeeper", "canary weight is 0 %")
		}
	}
	if t.Weight > 0 && !underWay {
		r.begin(t)
	}
}

// begin opens the step of a new weight.
func (r *Rollout) begin(t Tick) {
	if r.FirstTrafficAt.IsZero() {
		r.FirstTrafficAt = t.At
	}
	r.Steps = append(r.Steps, Step{Weight: t.Weight, From: t.At})
	r.shareCanary()
	r.Note(t.At, "gatekeeper", fmt.Sprintf("canary weight is %d %%", t.Weight))
}

// shareCanary gives the last step all of the canary's responses that no earlier step has.
func (r *Rollout) shareCanary() {
	last := r.current()
	if last == nil {
		return
	}
	var earlier Counts
	for _, s := range r.Steps[:len(r.Steps)-1] {
		earlier = earlier.Add(s.Canary)
	}
	last.Canary = r.Latest.Canary.Sub(earlier)
}

func (r *Rollout) current() *Step {
	if len(r.Steps) == 0 {
		return nil
	}
	return &r.Steps[len(r.Steps)-1]
}

// First is the first step of the climb under way. Steps follow each other without a gap; after a gap, when the weight
// was 0 in between, the climb began anew: Flagger restarts its analysis when a tracked ConfigMap or Secret changes.
func (r *Rollout) First() (first int) {
	for i := 1; i < len(r.Steps); i++ {
		if !r.Steps[i].From.Equal(r.Steps[i-1].To) {
			first = i
		}
	}
	return first
}

// Climb is when the climb under way began, zero before the first traffic.
func (r *Rollout) Climb() time.Time {
	if len(r.Steps) == 0 {
		return time.Time{}
	}
	return r.Steps[r.First()].From
}

// Step is the step under way; ok is false before the first weight and after traffic has gone back to 0.
func (r *Rollout) Step() (s Step, ok bool) {
	if c := r.current(); c != nil && c.To.IsZero() {
		return *c, true
	}
	return Step{}, false
}

// Judge takes in a verdict and notes it when its outcome or its strongest reason is another than before.
func (r *Rollout) Judge(v Verdict) {
	if v.Outcome != r.Verdict.Outcome || v.Kind() != r.Verdict.Kind() {
		r.Note(v.At, "gatekeeper", string(v.Outcome)+": "+v.Text())
	}
	if v.Outcome == Fail && r.FailedAt.IsZero() {
		r.FailedAt = v.At
	}
	r.Verdict = v
}

// Kind is the strongest reason's.
func (v Verdict) Kind() string {
	if len(v.Reasons) == 0 {
		return ""
	}
	return v.Reasons[0].Kind
}

// End closes the record with a result.
func (r *Rollout) End(result Result, phase Phase, now time.Time) {
	r.Result, r.Phase, r.EndedAt = result, phase, now
	if step := r.current(); step != nil && step.To.IsZero() {
		step.To = now
	}
	r.letGo(now)
	r.Note(now, "gatekeeper", string(result))
}

// Moment is the latest one that the record has: no other may come before it.
func (r *Rollout) Moment() time.Time {
	last := r.StartedAt
	later := func(at time.Time) {
		if at.After(last) {
			last = at
		}
	}
	later(r.Latest.At)
	later(r.EndedAt)
	for _, d := range r.Decisions {
		later(d.At)
	}
	for _, e := range r.Timeline {
		later(e.At)
	}
	return last
}

// Summary says in one sentence how the rollout stands or ended.
func (r *Rollout) Summary() string {
	what := r.subject()
	if r.Unseen {
		return r.unseen(what)
	}
	switch r.Result {
	case Promoted:
		return fmt.Sprintf("%s was promoted: %s", what, r.Verdict.Text())
	case RolledBack:
		if r.Verdict.Outcome == Fail {
			return fmt.Sprintf("%s was rolled back to %s: %s", what, r.Stable.Label(), r.Verdict.Text())
		}
		return fmt.Sprintf("%s was rolled back to %s by Flagger itself, not by the gatekeeper's verdict; the timeline has what Flagger told of it", what, r.Stable.Label())
	case Superseded:
		return fmt.Sprintf("%s was superseded by a newer revision before it was decided", what)
	case Aborted:
		return fmt.Sprintf("%s was aborted: the Canary object was deleted or made anew", what)
	case Stuck:
		return fmt.Sprintf("the promotion of %s broke down and Flagger left the traffic on the canary: a person must act", what)
	default:
		return fmt.Sprintf("%s is on its way: %s", what, r.Verdict.Text())
	}
}

// subject is what a sentence about the rollout is about.
func (r *Rollout) subject() string {
	what := fmt.Sprintf("%s of %s", r.Revision.Label(), r.Canary)
	if r.Revision.Drill {
		return "drill " + what
	}
	return what
}

// unseen says how a rollout ended that was found afterwards. Nothing was judged, so there are no reasons.
func (r *Rollout) unseen(what string) string {
	how := map[Result]string{
		Promoted: "was promoted", RolledBack: "was rolled back to " + r.Stable.Label(), Stuck: "was to be promoted and left with the traffic on the canary, a person must act,",
	}[r.Result]
	return fmt.Sprintf("%s %s while no gatekeeper looked; this was found afterwards, by the Canary's status", what, how)
}
