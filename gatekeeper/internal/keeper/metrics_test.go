package keeper_test

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/keeper"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// series are what a scrape has of a metric, by the values of all labels but namespace and canary, in the order of the
// labels' names. A histogram has the sum of what was observed, and its number under "#" and the same.
func (h *house) series(name string) map[string]float64 {
	h.t.Helper()
	families, err := h.metrics.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	found := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "gatekeeper_"+name {
			continue
		}
		for _, m := range family.GetMetric() {
			var values []string
			of := rollout.Key{}
			for _, l := range m.GetLabel() {
				switch l.GetName() {
				case "namespace":
					of.Namespace = l.GetValue()
				case "canary":
					of.Name = l.GetValue()
				default:
					values = append(values, l.GetValue())
				}
			}
			if of != key && of != (rollout.Key{}) {
				h.t.Errorf("%s is of %s", family.GetName(), of)
			}
			label := strings.Join(values, " ")
			if m.Histogram != nil {
				found[label], found["#"+label] = m.GetHistogram().GetSampleSum(), float64(m.GetHistogram().GetSampleCount())
				continue
			}
			found[label] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return found
}

// shows fails unless a scrape has exactly these series of a metric.
func (h *house) shows(name string, want map[string]float64) {
	h.t.Helper()
	if got := h.series(name); !maps.Equal(got, want) {
		h.t.Errorf("%s: %v, want %v", name, got, want)
	}
}

func unix(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }

// none is a metric without series.
var none = map[string]float64{}

// results are the counts by result, 0 where nothing is said.
func results(counts map[string]float64) map[string]float64 {
	all := map[string]float64{"promoted": 0, "rolled-back": 0, "superseded": 0, "aborted": 0, "stuck": 0}
	maps.Copy(all, counts)
	return all
}

func TestEveryResultIsAtZeroFromTheFirstSightOn(t *testing.T) {
	h := newHouse(t)
	h.pass(1, 0, 0)
	h.shows("rollouts_total", results(nil))
	h.shows("rollout_duration_seconds", none)
	h.release("a")
	h.pass(2, 0, 0)
	if got := h.series("rollout_duration_seconds"); len(got) != 10 || got["#rolled-back"] != 0 {
		t.Errorf("while it is under way: %v", got)
	}
	h.weight(10)
	h.pass(30, 1, 1)
	r := h.ends(rollout.Failed)
	h.shows("rollouts_total", results(map[string]float64{"rolled-back": 1}))
	took := h.series("rollout_duration_seconds")
	if want := r.EndedAt.Sub(r.FirstTrafficAt).Seconds(); took["#rolled-back"] != 1 || math.Abs(took["rolled-back"]-want) > 1e-9 || took["#promoted"] != 0 {
		t.Errorf("%v, want one rollback after %v s", took, want)
	}
	h.restart()
	h.pass(1, 0, 0)
	h.shows("rollouts_total", results(nil))
	h.set(func(c *rollout.Canary) { c.Pods = nil })
	h.release("b")
	h.pass(10, 0, 0)
	r = h.ends(rollout.Failed) // before it had traffic
	if took, want := h.series("rollout_duration_seconds"), r.EndedAt.Sub(r.StartedAt).Seconds(); took["#rolled-back"] != 1 || math.Abs(took["rolled-back"]-want) > 1e-9 {
		t.Errorf("%v, want %v s from its start", took, want)
	}
}

func TestCountsOfADeletedCanaryStayUntilTheyAreScraped(t *testing.T) {
	h := newHouse(t)
	h.release("a")
	h.pass(2, 0, 0)
	h.cluster.gone = true
	h.pass(5, 0, 0)
	h.shows("rollouts_total", results(map[string]float64{"aborted": 1}))
	h.minutes(4)
	h.shows("rollouts_total", results(map[string]float64{"aborted": 1}))
	h.minutes(2)
	h.shows("rollouts_total", none)
	h.shows("rollout_duration_seconds", none)
	h.cluster.gone = false
	h.pass(1, 0, 0)
	h.shows("rollouts_total", results(nil))
}

// What is remembered of a Canary that was deleted while the gatekeeper was away goes too.
func TestAnEndOfACanaryThatWasDeletedInAnAbsenceGoes(t *testing.T) {
	h := newHouse(t)
	h.release("a")
	h.set(func(c *rollout.Canary) { c.Revision.Drill = true })
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(5, 1, 1)
	end := map[string]float64{"rolled-back": unix(h.ends(rollout.Failed).EndedAt)}
	h.cluster.gone = true
	h.restart()
	for _, name := range []string{"rollout_ended_timestamp_seconds", "drill_last_timestamp_seconds"} {
		h.shows(name, end)
	}
	h.minutes(6)
	for _, name := range []string{"rollout_ended_timestamp_seconds", "drill_last_timestamp_seconds", "rollouts_total"} {
		h.shows(name, none)
	}
}

// Rollbacks take some ten seconds, promotions some minutes: a median must not be told by one bucket.
func TestDurationsAreToldApart(t *testing.T) {
	h := newHouse(t)
	h.release("a")
	h.pass(2, 0, 0)
	families, err := h.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "gatekeeper_rollout_duration_seconds" })
	below := map[float64]int{}
	for _, b := range families[i].GetMetric()[0].GetHistogram().GetBucket() {
		for _, limit := range []float64{30, 120, 600} {
			if b.GetUpperBound() <= limit {
				below[limit]++
			}
		}
	}
	if !maps.Equal(below, map[float64]int{30: 5, 120: 9, 600: 12}) {
		t.Errorf("buckets up to 30, 120 and 600 s: %v", below)
	}
}

// While nothing can be recorded every hook says no, and that must be seen from outside.
func TestAnEvaluationThatIsNotRecordedIsNotComplete(t *testing.T) {
	broken := false
	h := newHouse(t, func(h *house) {
		h.change = func(c *keeper.Config) { c.Ledger = unwritable{c.Ledger, &broken} }
	})
	h.release("a")
	h.pass(2, 0, 0)
	last := map[string]float64{"": unix(h.now)}
	h.shows("last_evaluation_timestamp_seconds", last)
	broken = true
	h.fails(90, "nobody writes")
	h.shows("last_evaluation_timestamp_seconds", last)
	broken = false
	h.pass(1, 0, 0)
	h.shows("last_evaluation_timestamp_seconds", map[string]float64{"": unix(h.now)})
}

// unwritable is a ledger that can only be read while it is broken.
type unwritable struct {
	keeper.Ledger
	broken *bool
}

func (u unwritable) Save(ctx context.Context, changes ...rollout.Change) error {
	if *u.broken {
		return errors.New("nobody writes")
	}
	return u.Ledger.Save(ctx, changes...)
}

func TestARolloutUnderWayIsToBeSeenAndGoesWithItsEnd(t *testing.T) {
	h := newHouse(t, asks)
	ofRollout := []string{"rollout_info", "verdict", "gate_open", "rollout_started_timestamp_seconds", "waiting_since_timestamp_seconds", "evidence_timestamp_seconds", "evidence_log"}
	h.pass(1, 0, 0)
	for _, name := range ofRollout {
		h.shows(name, none)
	}
	h.waits()
	began := h.newest().StartedAt
	waits := h.now
	h.shows("rollout_info", map[string]float64{"a " + h.newest().ID + " p1 a": 1})
	h.shows("verdict", map[string]float64{"pass": 1, "hold": 0, "fail": 0})
	h.shows("gate_open", map[string]float64{"approval": 0})
	h.shows("rollout_started_timestamp_seconds", map[string]float64{"": unix(began)})
	h.shows("waiting_since_timestamp_seconds", map[string]float64{"": unix(waits)})
	h.shows("evidence_timestamp_seconds", none)
	h.minutes(10)
	h.restart()
	h.pass(1, 0, 0)
	h.shows("waiting_since_timestamp_seconds", map[string]float64{"": unix(waits)})
	h.shows("rollout_started_timestamp_seconds", map[string]float64{"": unix(began)})

	h.decide(rollout.Approve)
	h.set(func(c *rollout.Canary) { c.Phase = rollout.Progressing })
	h.weight(10)
	h.pass(5, 5, 0)
	h.shows("gate_open", map[string]float64{"approval": 1})
	h.shows("waiting_since_timestamp_seconds", none)
	h.shows("evidence_timestamp_seconds", map[string]float64{"": unix(h.now)})
	h.decide(rollout.Pause)
	h.pass(1, 0, 0)
	h.shows("gate_open", map[string]float64{"approval": 1, "hold": 0})
	h.pass(60, 5, 5)
	h.shows("verdict", map[string]float64{"pass": 0, "hold": 0, "fail": 1})
	h.ends(rollout.Failed)
	for _, name := range ofRollout {
		h.shows(name, none)
	}
}

// A gate that will hold the promotion holds nothing before.
func TestAGateHoldsWhatComesNext(t *testing.T) {
	h := newHouse(t, func(h *house) { h.lab = func(r *policy.Rules) { r.Gates.Approval = policy.ApprovePromotion } })
	h.release("a")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(5, 20, 0)
	h.shows("gate_open", map[string]float64{"approval": 1})
	h.set(func(c *rollout.Canary) { c.Phase = rollout.WaitingPromotion })
	h.pass(1, 20, 0)
	h.shows("gate_open", map[string]float64{"approval": 0})
	h.set(func(c *rollout.Canary) { c.Phase = rollout.Promoting })
	h.pass(1, 20, 0)
	h.shows("gate_open", map[string]float64{"approval": 1})
	h.shows("evidence_timestamp_seconds", none)
}

func TestEvidenceAgesWhenNobodyAnswers(t *testing.T) {
	h := newHouse(t)
	h.release("a")
	h.pass(2, 0, 0)
	h.set(func(c *rollout.Canary) { c.Weight, c.Pods = 10, nil })
	h.pass(5, 0, 0)
	h.shows("evidence_timestamp_seconds", map[string]float64{"": unix(h.newest().FirstTrafficAt)})

	h = newHouse(t)
	h.release("a")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(5, 5, 0)
	last := h.now
	h.set(func(c *rollout.Canary) { c.Pods[0].Address = "127.0.0.1:1" })
	h.pass(7, 0, 0)
	h.shows("evidence_timestamp_seconds", map[string]float64{"": unix(last)})
}

func TestARolloutThatNeedsAPersonIsStuck(t *testing.T) {
	h := newHouse(t)
	stuck := func(want float64) {
		t.Helper()
		h.shows("rollout_stuck", map[string]float64{"": want})
	}
	h.pass(1, 0, 0)
	stuck(0)
	h.release("a")
	h.pass(2, 0, 0)
	h.weight(10)
	h.want(rollout.Rollback, false)
	h.pass(25, 5, 0)
	stuck(0)
	h.pass(10, 5, 0) // Flagger, which looks every 10 s, is silent for more than three looks
	stuck(1)
	h.want(rollout.Rollback, false)
	h.pass(1, 5, 0)
	stuck(0)
	h.set(func(c *rollout.Canary) { c.Phase, c.Weight = rollout.Promoting, 100 })
	h.minutes(7)
	stuck(1) // its promotion does not end
	h.set(func(c *rollout.Canary) { c.Phase, c.LeftAt = rollout.Failed, 100 })
	h.pass(1, 0, 0)
	stuck(1) // it broke down
	h.shows("rollouts_total", results(map[string]float64{"stuck": 1}))
	h.restart()
	h.pass(2, 0, 0)
	stuck(1)
	h.release("b")
	h.set(func(c *rollout.Canary) { c.LeftAt = 0 })
	h.pass(2, 0, 0)
	stuck(0)
}

func TestTheLastDrillIsRememberedForEver(t *testing.T) {
	h := newHouse(t)
	rehearse := func(hash string, drill bool) rollout.Rollout {
		h.release(hash)
		h.set(func(c *rollout.Canary) { c.Revision.Drill = drill })
		h.pass(2, 0, 0)
		h.weight(10)
		h.pass(5, 1, 1)
		return h.ends(rollout.Failed)
	}
	rehearse("a", false)
	h.shows("drill_last_timestamp_seconds", none)
	drill := rehearse("b", true)
	want := map[string]float64{"rolled-back": unix(drill.EndedAt)}
	h.shows("drill_last_timestamp_seconds", want)
	rehearse("c", false)
	h.minutes(100)
	h.restart()
	h.shows("drill_last_timestamp_seconds", want)
	h.pass(1, 0, 0)
	h.shows("drill_last_timestamp_seconds", want)
	again := rehearse("d", true)
	h.shows("drill_last_timestamp_seconds", map[string]float64{"rolled-back": unix(again.EndedAt)})
}

// A counter that is born with a rollback never rises; the time of the last one is there whoever was away.
func TestARollbackDuringAnAbsenceIsSeen(t *testing.T) {
	h := newHouse(t)
	h.pass(2, 0, 0)
	h.shows("rollout_ended_timestamp_seconds", none)
	h.release("b")
	h.pass(2, 0, 0)
	h.weight(10)
	h.set(func(c *rollout.Canary) { c.Phase, c.Weight = rollout.Failed, 0 })
	h.restart() // with the gatekeeper away, Flagger has sent it back
	h.pass(2, 0, 0)
	ended := h.series("rollout_ended_timestamp_seconds")
	if age := unix(h.now) - ended["rolled-back"]; len(ended) != 1 || age < 0 || age > 5 {
		t.Errorf("ends are %v at %v", ended, unix(h.now))
	}
	h.restart()
	h.shows("rollout_ended_timestamp_seconds", ended)
}

// Prometheus compares these with its own time.
func TestTimesAreTheWalls(t *testing.T) {
	h := newHouse(t, asks)
	h.waits()
	h.weight(10)
	h.pass(3, 5, 0)
	before := map[string]float64{}
	times := []string{"last_evaluation_timestamp_seconds", "rollout_started_timestamp_seconds", "evidence_timestamp_seconds"}
	for _, name := range times {
		before[name] = h.series(name)[""]
	}
	h.wall += time.Hour // somebody sets the node's clock, or a laptop sleeps
	h.pass(1, 5, 0)
	for _, name := range times {
		if moved := h.series(name)[""] - before[name]; before[name] == 0 || moved < 3600 || moved > 3605 {
			t.Errorf("%s moved by %v s from %v when the clock was set forward an hour", name, moved, before[name])
		}
	}
}

// The help of a metric is all that most people read of it.
func TestEveryMetricSaysWhatItIs(t *testing.T) {
	h := newHouse(t, asks)
	h.waits()
	families, err := h.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, family := range families {
		names = append(names, family.GetName())
		if len(family.GetHelp()) < 20 || !strings.HasSuffix(family.GetHelp(), ".") {
			t.Errorf("%s: %q", family.GetName(), family.GetHelp())
		}
	}
	if !slices.Contains(names, "gatekeeper_gate_open") {
		t.Errorf("only %v", names)
	}
}
