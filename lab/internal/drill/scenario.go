package drill

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/panel"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/timeline"
)

// How a rollout ends, in the gatekeeper's words.
const (
	promoted   = "promoted"
	rolledBack = "rolled-back"
)

// badAnswers is the fault of every bad version: one answer in five is a 500.
const badAnswers = `{"errorRate":0.2,"status":500,"ttl":"30m"}`

// Scenario is a release, what happens to it on its way, and what must be seen, when.
type Scenario struct {
	Number int
	Name   string
	// Addresses says that pods must reach each other at addresses of their own.
	Addresses bool
	// Ingress says that it is about what ingress-nginx counts.
	Ingress bool

	base    string // version to start from where none serves
	version string // to release
	plan    string // fault it is born with
	tapped  bool   // Flagger's hooks go through the receiver, and its course is compared with that of other engines
	act     func(context.Context, *Drill, *observer) error
	looks   panel.Moment // when dashboards and rules are asked, "" is not at all
	result  string
	wants   []timeline.Expectation

	values  []string                                     // key=value in JSON, for the chart
	faults  string                                       // whose answers 500 are the fault's, "" is the canary's alone
	loses   uint64                                       // canary requests that may be counted by nobody, or by one side alone
	pods    int32                                        // of each version, 0 for the usual number
	instead func(context.Context, *Drill, *Result) error // what happens in place of a release, if not nil
}

// Versions are all versions of the app that scenarios release or start from.
func Versions(scenarios []Scenario) []string {
	var all []string
	for _, s := range scenarios {
		all = append(all, s.base)
		if s.version != "" {
			all = append(all, s.version)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Scenarios are all of them in their order. A later one starts from what the one before it left.
func Scenarios() []Scenario {
	return []Scenario{
		{
			Number: 1, Name: "a good version is promoted",
			base: "1.0.0", version: "2.0.0", result: promoted, tapped: true, looks: panel.UnderWay, act: lookUnderWay,
			wants: goodWants(0),
		},
		{
			Number: 2, Name: "a version bad by birth comes back",
			base: "2.0.0", version: "3.0.0", result: rolledBack, tapped: true, looks: panel.Broken, act: lookAtBad, plan: badAnswers,
			wants: badWants(0),
		},
		{
			Number: 3, Name: "a version broken through /chaos comes back",
			base: "2.0.0", version: "4.0.0", result: rolledBack, tapped: true, act: breakIt,
			wants: badWants(0),
		},
		{
			Number: 4, Name: "the gatekeeper is killed while it judges a good version",
			base: "2.0.0", version: "5.0.0", result: promoted, looks: panel.Gated, act: lookAndKill,
			// Where a gate may hold, Flagger waits for its next look before a release begins.
			values: []string{`canary.policy="` + pagedPolicy + `"`},
			wants:  append(gatedWants(restart), onTime(0, 100*time.Second, timeline.Seen(keeper, "killed"))),
		},
		{
			Number: 5, Name: "the gatekeeper is killed while it judges a bad version",
			base: "2.0.0", version: "6.0.0", result: rolledBack, act: breakAndKill,
			wants: append(badWants(restart), onTime(0, 70*time.Second, timeline.Seen(keeper, "killed"))),
		},
		{
			Number: 6, Name: "a fault for a whole version reaches all its pods and no other", Addresses: true,
			base: "2.0.0", version: "7.0.0", result: rolledBack, act: breakVersion, pods: versionPods,
			wants: append(badWants(0), onTime(0, 90*time.Second, timeline.Exactly(chaos, "on", "over", "on", "over"))),
		},
		{
			Number: 7, Name: "20 rolling restarts lose no request",
			base: "2.0.0", instead: restarts,
		},
		{
			Number: 8, Name: "Prometheus is down while a good version is judged", Ingress: true,
			base: "2.0.0", version: "8.0.0", result: promoted, act: blind,
			// Flagger's own check asks Prometheus too, and ten failures of it would bring the release back.
			values: []string{"canary.backstop.enabled=false"},
			wants:  blindWants(),
		},
		{
			Number: 9, Name: "an outage that both versions share does not bring a version back",
			base: "2.0.0", version: "9.0.0", result: rolledBack, act: breakBoth, faults: both,
			wants: sharedWants(),
		},
		{
			Number: 10, Name: "a process of the canary dies once",
			base: "2.0.0", version: "10.0.0", result: promoted, act: dieOnce, loses: diesWith,
			wants: append(goodWants(20*time.Second), onTime(0, 110*time.Second, timeline.Seen(app, "died"))),
		},
		{
			Number: 11, Name: "the service itself fails while nothing is released: the page fires", Ingress: true,
			base: "2.0.0", instead: outage,
		},
	}
}

// restart is how long a killed gatekeeper may be away, its new pod's start included.
const restart = 30 * time.Second

// blur is how much later than its effect an anchor may be seen: two things are looked at twice a second each.
const blur = time.Second

// onTime and after put a window before its sight, as one reads it.
func onTime(from, to time.Duration, s timeline.Sight) timeline.Expectation {
	return timeline.Want(timeline.Between(from, to), s)
}

func after(anchor timeline.Sight, from, to time.Duration, s timeline.Sight) timeline.Expectation {
	return timeline.Want(timeline.Between(from-blur, to).After(anchor), s)
}

func at(percent string) timeline.Sight { return timeline.Seen(weight, percent) }
func in(is string) timeline.Sight      { return timeline.Seen(phase, is) }

// Flagger looks every 10 s, and what it does is seen up to a second late. The policy wants 20 s at the first weight
// and 10 s at each other; a step comes with the second look after that at the latest.

// goodWants is the way of a good version. Delay is how much longer one of its steps may take.
func goodWants(delay time.Duration) []timeline.Expectation { return wantsFrom("Progressing", delay) }

// gatedWants is that of one whose policy has gates: the rollout begins with Flagger's question whether it may.
func gatedWants(delay time.Duration) []timeline.Expectation { return wantsFrom("Waiting", delay) }

func wantsFrom(begin string, delay time.Duration) []timeline.Expectation {
	const s = time.Second
	return []timeline.Expectation{
		onTime(0, 60*s, in("Progressing")),
		after(in(begin), 0, 15*s, timeline.Seen(told, "started")),
		onTime(5*s, 60*s, at("10")),
		after(at("10"), 20*s, 42*s, at("25")),
		after(at("25"), 10*s, 32*s+delay, at("50")),
		after(at("50"), 10*s, 32*s+delay, at("100")),
		after(at("100"), 10*s, 32*s+delay, in("Promoting")),
		onTime(60*s, 240*s+delay, timeline.Exactly(weight, "10", "25", "50", "100", "0")),
		after(in("Promoting"), 0, 60*s, in("Succeeded")),
		after(in("Succeeded"), 0, 15*s, timeline.Seen(told, promoted)),
		after(in("Succeeded"), 0, 45*s, timeline.Seen(entry, "written")),
	}
}

// badWants is the way of a version that shows itself as bad at the first weight.
func badWants(delay time.Duration) []timeline.Expectation {
	const s = time.Second
	bad := timeline.Seen(verdict, "fail")
	return []timeline.Expectation{
		onTime(0, 60*s, in("Progressing")),
		onTime(5*s, 60*s, at("10")),
		after(at("10"), 0, 15*s, timeline.Seen(fault, "on")),
		after(timeline.Seen(fault, "on"), 0, 25*s+delay, bad),
		after(bad, 0, 15*s, at("0")),
		onTime(0, 120*s+delay, timeline.Exactly(weight, "10", "0")),
		after(at("0"), 0, 15*s, in("Failed")),
		after(in("Failed"), 0, 15*s, timeline.Seen(told, rolledBack)),
		after(in("Failed"), 0, 45*s, timeline.Seen(entry, "written")),
	}
}

// breakIt sets the fault through /chaos once users reach the canary.
func breakIt(ctx context.Context, d *Drill, eyes *observer) error {
	if err := eyes.await(ctx, at("10")); err != nil {
		return err
	}
	return d.breakCanary(ctx, eyes, badAnswers)
}

// killKeeper deletes the gatekeeper's pod without grace in the middle of the analysis.
func killKeeper(ctx context.Context, d *Drill, eyes *observer) error {
	if err := eyes.await(ctx, at("25")); err != nil {
		return err
	}
	return d.killGatekeeper(ctx, eyes)
}

func lookAndKill(ctx context.Context, d *Drill, eyes *observer) error {
	if err := lookAtGates(ctx, d, eyes); err != nil {
		return err
	}
	return killKeeper(ctx, d, eyes)
}

func breakAndKill(ctx context.Context, d *Drill, eyes *observer) error {
	if err := breakIt(ctx, d, eyes); err != nil {
		return err
	}
	return d.killGatekeeper(ctx, eyes)
}

// killGatekeeper kills the one replica, or of several the one that leads.
func (d *Drill) killGatekeeper(ctx context.Context, eyes *observer) error {
	pods, err := d.Kube.Pods(ctx, d.System, "gatekeeper")
	if err != nil {
		return err
	}
	for _, pod := range pods {
		metrics, err := d.Kube.Metrics(ctx, d.System, pod.Name, 8081)
		if err != nil || !bytes.Contains(metrics, []byte("\ngatekeeper_leader 1\n")) {
			continue
		}
		if err := d.Kube.Kill(ctx, d.System, pod.Name); err != nil {
			return err
		}
		eyes.record(time.Now(), keeper, "killed")
		return nil
	}
	return fmt.Errorf("kill gatekeeper: none of its %d pods says that it leads", len(pods))
}
