package rollout

import (
	"testing"
	"time"
)

func TestHealthOf(t *testing.T) {
	now := at(100)
	ready, broke, young := Pod{UID: "a", Name: "a", Ready: true}, Pod{UID: "b", Name: "b"}, Pod{UID: "c", Name: "c"}
	loops := Pod{UID: "d", Name: "d", Restarts: 3, Waiting: "CrashLoopBackOff", WaitingText: "back-off"}
	noImage, noNode := Pod{UID: "f", Name: "f", Waiting: "ImagePullBackOff"}, Pod{UID: "g", Name: "g", Waiting: "Unschedulable"}
	gone := Pod{UID: "e", Name: "e", Terminating: true, Restarts: 9, Waiting: "CrashLoopBackOff"}
	book := func() Book {
		return Book{"a": {}, "b": {WasReady: true, UnreadyFor: 29 * time.Second}, "c": {}}
	}
	down := Tick{At: at(99), Weight: 10, Health: Health{DownFor: 4 * time.Second}}
	idle := Tick{At: at(99), Health: Health{DownFor: 0}}
	pulls := Tick{At: at(99), Health: Health{Waiting: "ErrImagePull", WaitingFor: 9 * time.Second}}
	away := Tick{At: at(0), Weight: 10}
	for name, c := range map[string]struct {
		pods   []Pod
		before Tick
		want   Health
	}{
		"all is well":                         {[]Pod{ready, ready}, down, Health{Pods: 2, Ready: 2}},
		"one that was ready is not":           {[]Pod{ready, broke}, idle, Health{Pods: 2, Ready: 1, UnreadyFor: 30 * time.Second}},
		"one that starts is not unready":      {[]Pod{ready, young}, idle, Health{Pods: 2, Ready: 1}},
		"a crash loop":                        {[]Pod{ready, loops}, idle, Health{Pods: 2, Ready: 1, Restarts: 3, Waiting: "CrashLoopBackOff", Pod: "d", Text: "back-off"}},
		"the worst of several is told":        {[]Pod{noNode, noImage}, pulls, Health{Pods: 2, Waiting: "ImagePullBackOff", Pod: "f", WaitingFor: 10 * time.Second}},
		"an image that is wrong since now":    {[]Pod{noImage}, idle, Health{Pods: 1, Waiting: "ImagePullBackOff", Pod: "f"}},
		"a pod on its way out is none":        {[]Pod{ready, gone}, idle, Health{Pods: 1, Ready: 1}},
		"none is ready, for a second more":    {[]Pod{young}, down, Health{Pods: 1, DownFor: 5 * time.Second}},
		"there is none, for a second more":    {nil, down, Health{DownFor: 5 * time.Second}},
		"without traffic nobody misses them":  {nil, idle, Health{}},
		"while nobody looked little is added": {nil, away, Health{DownFor: 5 * time.Second}},
		"at the first look nothing is long":   {nil, Tick{}, Health{}},
	} {
		if got := HealthOf(c.pods, book(), c.before, now); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestAPodIsUnreadyOnlyAfterItWasReady(t *testing.T) {
	book, before := Book{"a": {}}, Tick{At: at(0), Weight: 10}
	for second, ready := range []bool{false, false, true, false, false, true, false} {
		now := at(second + 1)
		h := HealthOf([]Pod{{UID: "a", Ready: ready}}, book, before, now)
		want := []time.Duration{0, 0, 0, 1, 2, 0, 1}[second] * time.Second
		if h.UnreadyFor != want {
			t.Errorf("second %d: unready for %s, want %s", second, h.UnreadyFor, want)
		}
		before = Tick{At: now, Weight: 10, Health: h}
	}
}
