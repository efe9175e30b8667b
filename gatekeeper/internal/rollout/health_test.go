package rollout

import (
	"testing"
	"time"
)

func TestHealthOf(t *testing.T) {
	now := at(100)
	ready := Pod{Name: "a", Ready: true, CreatedAt: at(0)}
	broke := Pod{Name: "b", CreatedAt: at(0), UnreadySince: at(70)}
	young := Pod{Name: "c", CreatedAt: at(70), UnreadySince: at(71)}
	loops := Pod{Name: "d", CreatedAt: at(0), UnreadySince: at(1), Restarts: 3, Waiting: "CrashLoopBackOff", WaitingText: "back-off"}
	gone := Pod{Name: "e", Terminating: true, Restarts: 9, Waiting: "CrashLoopBackOff"}
	down := Tick{At: at(99), Health: Health{DownFor: 4 * time.Second}}
	for name, c := range map[string]struct {
		pods   []Pod
		before Tick
		want   Health
	}{
		"all is well":                       {[]Pod{ready, ready}, down, Health{Pods: 2, Ready: 2}},
		"one that was ready is not":         {[]Pod{ready, broke}, Tick{}, Health{Pods: 2, Ready: 1, UnreadyFor: 30 * time.Second}},
		"one that starts is not unready":    {[]Pod{ready, young}, Tick{}, Health{Pods: 2, Ready: 1}},
		"a crash loop":                      {[]Pod{ready, loops}, Tick{}, Health{Pods: 2, Ready: 1, Restarts: 3, Waiting: "CrashLoopBackOff", Pod: "d", Text: "back-off"}},
		"a pod on its way out is none":      {[]Pod{ready, gone}, Tick{}, Health{Pods: 1, Ready: 1}},
		"none is ready, for a second more":  {[]Pod{broke}, down, Health{Pods: 1, UnreadyFor: 30 * time.Second, DownFor: 5 * time.Second}},
		"there is none, for a second more":  {nil, down, Health{DownFor: 5 * time.Second}},
		"at the first look nothing is long": {nil, Tick{}, Health{}},
	} {
		if got := HealthOf(c.pods, c.before, now); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}
