package node

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestPodStatus(t *testing.T) {
	waiting := corev1.ContainerStatus{Name: "a", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}}
	running := corev1.ContainerStatus{Name: "a", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	ready := running
	ready.Ready = true
	ended := func(code int32) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: "a", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}}
	}
	backingOff := waiting
	backingOff.LastTerminationState = ended(1).State
	type list = []corev1.ContainerStatus
	for name, c := range map[string]struct {
		policy       corev1.RestartPolicy
		inits, mains list
		stopping     bool
		phase        corev1.PodPhase
		ready        bool
	}{
		"waiting for its first process":              {"Always", nil, list{waiting}, false, corev1.PodPending, false},
		"one of two waits":                           {"Always", nil, list{ready, waiting}, false, corev1.PodPending, false},
		"waiting for its init container":             {"Always", list{running}, list{waiting}, false, corev1.PodPending, false},
		"running but not ready":                      {"Always", nil, list{running}, false, corev1.PodRunning, false},
		"ready":                                      {"Always", list{ended(0)}, list{ready}, false, corev1.PodRunning, true},
		"ready but stopping":                         {"Always", nil, list{ready}, true, corev1.PodRunning, false},
		"one of two is ready":                        {"Always", nil, list{ready, running}, false, corev1.PodRunning, false},
		"ended, to be restarted":                     {"Always", nil, list{ended(1)}, false, corev1.PodRunning, false},
		"backing off":                                {"Always", nil, list{backingOff}, false, corev1.PodRunning, false},
		"ended well for good":                        {"OnFailure", nil, list{ended(0)}, false, corev1.PodSucceeded, false},
		"ended badly for good":                       {"Never", nil, list{ended(0), ended(1)}, false, corev1.PodFailed, false},
		"an init container ended badly for good":     {"Never", list{ended(1)}, list{waiting}, false, corev1.PodFailed, false},
		"one of two ended, the other is still there": {"Never", nil, list{ended(1), running}, false, corev1.PodRunning, false},
	} {
		t.Run(name, func(t *testing.T) {
			pod := samplePod()
			pod.Spec.RestartPolicy = c.policy
			now := time.Now()
			s := podStatus(pod, c.inits, c.mains, c.stopping, now, now)
			if s.Phase != c.phase || s.PodIP != "127.0.0.1" || s.StartTime == nil {
				t.Errorf("phase %s of %s, want %s", s.Phase, s.PodIP, c.phase)
			}
			got := map[corev1.PodConditionType]bool{}
			for _, condition := range s.Conditions {
				got[condition.Type] = condition.Status == corev1.ConditionTrue
			}
			if got[corev1.PodReady] != c.ready || got[corev1.ContainersReady] != c.ready || !got[corev1.PodScheduled] || len(got) != 4 {
				t.Errorf("conditions %v", got)
			}
			pod.Status = s
			if again := podStatus(pod, c.inits, c.mains, c.stopping, now, now.Add(time.Hour)); again.Conditions[3].LastTransitionTime != s.Conditions[3].LastTransitionTime {
				t.Error("a condition that stays got a new time")
			}
		})
	}
}

func TestTally(t *testing.T) {
	for name, c := range map[string]struct {
		success, failure int32
		checks           string // + and -
		want             verdict
	}{
		"nothing yet":                               {1, 3, "", unknown},
		"one success is enough":                     {1, 3, "+", healthy},
		"two failures of three decide nothing":      {1, 3, "--", unknown},
		"three failures in a row":                   {1, 3, "---", unhealthy},
		"a success in between starts anew":          {1, 3, "--+--", healthy},
		"healthy until the row of failures is full": {1, 3, "+---", unhealthy},
		"two successes in a row are asked for":      {2, 1, "-+", unhealthy},
		"and given":                                 {2, 1, "-++", healthy},
		"no thresholds mean one":                    {0, 0, "+-", unhealthy},
	} {
		t.Run(name, func(t *testing.T) {
			var got tally
			for _, check := range c.checks {
				got.add(check == '+', c.success, c.failure)
			}
			if got.verdict != c.want {
				t.Errorf("verdict %d, want %d", got.verdict, c.want)
			}
		})
	}
}

func TestBackOff(t *testing.T) {
	for row, want := range map[int]time.Duration{0: 0, 1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 6: 30 * time.Second, 100: 30 * time.Second} {
		if got := backOff(row); got != want {
			t.Errorf("after %d in a row %s, want %s", row, got, want)
		}
	}
}

func TestTailOffset(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	for name, c := range map[string]struct {
		log   string
		lines int64
		want  string
	}{
		"the last two":               {"a\nb\nc\n", 2, "b\nc\n"},
		"more than there are":        {"a\nb\n", 5, "a\nb\n"},
		"a last line without end":    {"a\nb\nc", 2, "b\nc"},
		"none":                       {"a\nb\n", 0, ""},
		"an empty log":               {"", 3, ""},
		"lines longer than a buffer": {long + "\n" + long + "y\n", 1, long + "y\n"},
		"empty lines are lines":      {"a\n\n\n", 2, "\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			at, err := tailOffset(strings.NewReader(c.log), c.lines)
			if err != nil || c.log[at:] != c.want {
				t.Errorf("from %d, %v", at, err)
			}
		})
	}
}

func TestAsGet(t *testing.T) {
	if a, is := asGet(strings.Fields("wget --quiet --tries=1 --spider http://localhost:8080/healthz?x=1")); !is || a.Port.IntValue() != 8080 || a.Path != "/healthz?x=1" {
		t.Errorf("%+v %v", a, is)
	}
	for _, words := range []string{"cat /tmp/ok", "wget http://example.org:80/", "wget", "wget http://localhost/"} {
		if a, is := asGet(strings.Fields(words)); is {
			t.Errorf("%s is taken for %+v", words, a)
		}
	}
}
