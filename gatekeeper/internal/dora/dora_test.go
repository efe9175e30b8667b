package dora

import (
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

var end = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// ended is a rollout of app that ended with result some hours before end, an hour after its first traffic.
func ended(app string, result rollout.Result, hours int) rollout.Brief {
	at := end.Add(-time.Duration(hours) * time.Hour)
	return rollout.Brief{Canary: rollout.Key{Namespace: "demo", Name: app}, Result: result, StartedAt: at.Add(-2 * time.Hour), FirstTrafficAt: at.Add(-time.Hour), EndedAt: at}
}

func TestFigures(t *testing.T) {
	committed := func(b rollout.Brief, before time.Duration) rollout.Brief {
		b.Revision.CommittedAt = b.EndedAt.Add(-before)
		return b
	}
	noTraffic := ended("a", rollout.RolledBack, 5)
	noTraffic.FirstTrafficAt = time.Time{}
	unseen := ended("a", rollout.Promoted, 6)
	unseen.Unseen, unseen.FirstTrafficAt = true, time.Time{}
	drill := func(b rollout.Brief) rollout.Brief {
		b.Revision.Drill = true
		return b
	}
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		rollouts []rollout.Brief
		want     Figures
	}{
		"nothing": {nil, Figures{}},
		"one that was promoted says little, and that it is one": {
			[]rollout.Brief{committed(ended("a", rollout.Promoted, 1), 3*time.Hour)},
			Figures{Deployments: 1, PerDay: .1, Decided: 1, LeadTime: Spread{1, 10800, 10800}},
		},
		"what no gatekeeper saw counts, without a lead time that nobody knows": {
			[]rollout.Brief{unseen}, Figures{Deployments: 1, PerDay: .1, Decided: 1},
		},
		"a commit after the promotion is no lead time": {
			[]rollout.Brief{committed(ended("a", rollout.Promoted, 1), -time.Hour)}, Figures{Deployments: 1, PerDay: .1, Decided: 1},
		},
		"failures": {
			[]rollout.Brief{ended("a", rollout.RolledBack, 1), noTraffic, ended("a", rollout.Stuck, 2), ended("a", rollout.Promoted, 3)},
			Figures{Deployments: 1, PerDay: .1, Decided: 4, Failed: 3, FailureRate: .75, Restore: Spread{1, 3600, 3600}},
		},
		"what was not decided counts for nothing": {
			[]rollout.Brief{ended("a", rollout.Superseded, 1), ended("a", rollout.Aborted, 1), {StartedAt: end.Add(-time.Hour)}}, Figures{},
		},
		"a drill is no failed change, no deployment and no promise of a fast restore": {
			[]rollout.Brief{drill(ended("a", rollout.RolledBack, 1)), drill(ended("a", rollout.Promoted, 1)), drill(ended("a", rollout.Stuck, 1)), ended("a", rollout.Promoted, 2)},
			Figures{Deployments: 1, PerDay: .1, Decided: 1},
		},
		"the window is from its begin to just before its end": {
			[]rollout.Brief{ended("a", rollout.Promoted, 240), ended("a", rollout.Promoted, 241), ended("a", rollout.Promoted, 0)}, Figures{Deployments: 1, PerDay: .1, Decided: 1},
		},
		"median and 90 of 100": {
			[]rollout.Brief{
				committed(ended("a", rollout.Promoted, 1), 4*time.Second), committed(ended("a", rollout.Promoted, 1), 1*time.Second),
				committed(ended("a", rollout.Promoted, 1), 3*time.Second), committed(ended("a", rollout.Promoted, 1), 2*time.Second),
			},
			Figures{Deployments: 4, PerDay: .4, Decided: 4, LeadTime: Spread{4, 2, 4}},
		},
	} {
		if got := Of(c.rollouts, end.Add(-10*day), end); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestByCanary(t *testing.T) {
	got := ByCanary([]rollout.Brief{ended("b", rollout.Promoted, 1), ended("a", rollout.RolledBack, 1), ended("b", rollout.Promoted, 2)}, end.Add(-Window), end)
	if len(got) != 2 || got[0].Canary.Name != "a" || got[0].Failed != 1 || got[1].Canary.Name != "b" || got[1].Deployments != 2 {
		t.Errorf("got %+v", got)
	}
}
