package workload

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// bench is a Deployment with its sets and pods, changed by the plans as the API would be.
type bench struct {
	t    *testing.T
	now  time.Time
	d    *appsv1.Deployment
	sets []*appsv1.ReplicaSet
	pods []*corev1.Pod
	made int
	// peak and low are the most pods and the fewest available ones seen.
	peak, low int
	// mixed says that two versions were there together, terminating ones included.
	mixed bool
}

func newBench(t *testing.T, n int32, strategy appsv1.DeploymentStrategy) *bench {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "d", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: &n, Strategy: strategy, ProgressDeadlineSeconds: new(int32(60)), RevisionHistoryLimit: new(int32(10)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		},
	}
	b := &bench{t: t, now: noon, d: d}
	b.release("v1")
	return b
}

func (b *bench) release(version string) {
	b.d.Generation++
	b.d.Spec.Template = corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:" + version}}},
	}
}

func (b *bench) scale(n int32) {
	b.d.Generation++
	b.d.Spec.Replicas = &n
}

func (b *bench) look() rollout {
	p := plan(b.d, b.sets, b.pods, b.now)
	if s := p.create; s != nil {
		b.made++
		s.UID, s.CreationTimestamp, s.Generation = types.UID("s-"+s.Name), metav1.NewTime(noon.Add(time.Duration(b.made)*time.Second)), 1
		b.sets = append(b.sets, s)
	}
	for _, changed := range p.update {
		at := slices.IndexFunc(b.sets, func(s *appsv1.ReplicaSet) bool { return s.Name == changed.Name })
		b.sets[at] = changed
	}
	for _, gone := range p.remove {
		b.sets = slices.DeleteFunc(b.sets, func(s *appsv1.ReplicaSet) bool { return s.Name == gone.Name })
	}
	b.d.Status = p.status
	return p
}

// lookAtSet makes and marks pods as the set asks for.
func (b *bench) lookAtSet(s *appsv1.ReplicaSet) {
	p := planSet(s, ownedBy(b.pods, string(s.UID)), b.now)
	for range p.create {
		b.made++
		pod := newPod(s)
		pod.Name, pod.UID = fmt.Sprint(s.Name, "-", b.made), types.UID(fmt.Sprint("p", b.made))
		b.pods = append(b.pods, pod)
	}
	for _, pod := range p.remove {
		now := metav1.NewTime(b.now)
		pod.DeletionTimestamp = &now
	}
	s.Status = p.status
}

func (b *bench) lookAtSets() {
	for _, s := range b.sets {
		b.lookAtSet(s)
	}
}

func (b *bench) ready(pod *corev1.Pod) {
	pod.Spec.NodeName, pod.Status.Phase = "node", corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(b.now)}}
}

func (b *bench) bury() {
	b.pods = slices.DeleteFunc(b.pods, func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

func (b *bench) images() map[string]int {
	images := map[string]int{}
	for _, p := range b.pods {
		if active(p) {
			images[p.Spec.Containers[0].Image]++
		}
	}
	return images
}

// settle lets everything happen, one thing at a time in an order chance decides, until nothing changes any more.
func (b *bench) settle(chance *rand.Rand) {
	b.t.Helper()
	steps := []func(){
		func() { b.look() }, b.lookAtSets, b.bury,
		func() {
			if len(b.pods) > 0 {
				if pod := b.pods[chance.IntN(len(b.pods))]; active(pod) && !ready(pod) {
					b.ready(pod)
				}
			}
		},
	}
	for range 600 {
		steps[chance.IntN(len(steps))]()
		b.measure()
	}
	// What chance did not get to.
	for range 50 {
		for _, pod := range b.pods {
			if !ready(pod) {
				b.ready(pod)
			}
		}
		b.look()
		b.lookAtSets()
		b.bury()
		b.measure()
	}
}

func (b *bench) measure() {
	serving, all := 0, 0
	for _, p := range b.pods {
		b.mixed = b.mixed || p.Spec.Containers[0].Image != b.pods[0].Spec.Containers[0].Image
		if active(p) {
			all++
			if ready(p) {
				serving++
			}
		}
	}
	b.peak, b.low = max(b.peak, all), min(b.low, serving)
}

func rolling(surge, unavailable string) appsv1.DeploymentStrategy {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	return appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u}}
}

func TestARolloutKeepsItsPromisesInAnyOrderOfEvents(t *testing.T) {
	for name, c := range map[string]struct {
		replicas  int32
		strategy  appsv1.DeploymentStrategy
		peak, low int
	}{
		"maxUnavailable 0 never serves with fewer":              {3, rolling("1", "0"), 4, 3},
		"maxSurge 0 never runs more":                            {3, rolling("0", "1"), 3, 2},
		"percentages round surge up and unavailable down":       {4, rolling("30%", "30%"), 6, 3},
		"both 0 lets one be unavailable":                        {2, rolling("0", "0"), 2, 1},
		"no numbers are a quarter each":                         {4, appsv1.DeploymentStrategy{}, 5, 3},
		"Recreate never runs two versions, whatever the number": {3, appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(30) {
				chance := rand.New(rand.NewPCG(seed, 1))
				b := newBench(t, c.replicas, c.strategy)
				b.settle(chance)
				if got := b.images(); got["web:v1"] != int(c.replicas) || len(got) != 1 {
					t.Fatalf("seed %d: first release runs %v", seed, got)
				}
				b.release("v2")
				b.peak, b.low = 0, int(c.replicas)
				b.settle(chance)
				if got := b.images(); got["web:v2"] != int(c.replicas) || len(got) != 1 {
					t.Fatalf("seed %d: second release runs %v", seed, got)
				}
				if b.peak > c.peak || b.low < c.low {
					t.Fatalf("seed %d: at most %d pods and at least %d available, want %d and %d", seed, b.peak, b.low, c.peak, c.low)
				}
				if b.mixed && c.strategy.Type == appsv1.RecreateDeploymentStrategyType {
					t.Fatalf("seed %d: two versions ran together", seed)
				}
				wantCondition(t, b.d.Status, appsv1.DeploymentProgressing, corev1.ConditionTrue, setAvailable)
				wantCondition(t, b.d.Status, appsv1.DeploymentAvailable, corev1.ConditionTrue, minimumAvailable)
				if s := b.d.Status; s.ObservedGeneration != b.d.Generation || s.UpdatedReplicas != c.replicas || s.Replicas != c.replicas ||
					s.AvailableReplicas != c.replicas || s.ReadyReplicas != c.replicas || s.UnavailableReplicas != 0 {
					t.Fatalf("seed %d: status %+v", seed, s)
				}
			}
		})
	}
}

func wantCondition(t *testing.T, s appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType, state corev1.ConditionStatus, reason string) {
	t.Helper()
	if c := condition(s.Conditions, kind); c == nil || c.Status != state || c.Reason != reason {
		t.Fatalf("condition %s is %+v, want %s %s", kind, c, state, reason)
	}
}

func settled(t *testing.T, n int32) (*bench, *rand.Rand) {
	t.Helper()
	chance := rand.New(rand.NewPCG(1, 2))
	b := newBench(t, n, rolling("1", "0"))
	b.settle(chance)
	return b, chance
}

func TestAnOldTemplateThatComesBackIsANewRevisionOfItsOwnSet(t *testing.T) {
	b, chance := settled(t, 2)
	b.release("v2")
	b.settle(chance)
	b.release("v1")
	b.settle(chance)
	if len(b.sets) != 2 || b.images()["web:v1"] != 2 {
		t.Fatalf("%d sets running %v", len(b.sets), b.images())
	}
	if p := b.look(); p.revision != "3" {
		t.Errorf("revision %q, want 3", p.revision)
	}
}

func TestScalingKeepsTheRevision(t *testing.T) {
	b, chance := settled(t, 2)
	for _, n := range []int32{0, 5, 1} {
		b.scale(n)
		b.settle(chance)
		if got := b.images()["web:v1"]; got != int(n) || len(b.sets) != 1 {
			t.Fatalf("%d pods in %d sets, want %d in 1", got, len(b.sets), n)
		}
		if p := b.look(); p.revision != "1" || p.status.ObservedGeneration != b.d.Generation {
			t.Fatalf("revision %s, observed %d", p.revision, p.status.ObservedGeneration)
		}
	}
}

func TestAPausedDeploymentScalesButDoesNotRoll(t *testing.T) {
	b, chance := settled(t, 2)
	b.d.Spec.Paused = true
	b.release("v2")
	b.scale(3)
	b.settle(chance)
	if got := b.images(); got["web:v1"] != 3 || len(got) != 1 {
		t.Fatalf("runs %v", got)
	}
	b.d.Spec.Paused = false
	b.settle(chance)
	if got := b.images(); got["web:v2"] != 3 || len(got) != 1 {
		t.Fatalf("after resuming runs %v", got)
	}
}

func TestHistoryIsKeptUpToItsLimit(t *testing.T) {
	b, chance := settled(t, 1)
	b.d.Spec.RevisionHistoryLimit = new(int32(1))
	for _, v := range []string{"v2", "v3", "v4"} {
		b.release(v)
		b.settle(chance)
	}
	if len(b.sets) != 2 || revision(b.sets[0]) != 3 {
		t.Fatalf("%d sets, the older has revision %d", len(b.sets), revision(b.sets[0]))
	}
}

func TestTheDeadlineCountsFromTheLastProgress(t *testing.T) {
	b, _ := settled(t, 1)
	b.release("bad")
	b.look()
	wantCondition(t, b.d.Status, appsv1.DeploymentProgressing, corev1.ConditionTrue, setCreated)
	b.now = b.now.Add(50 * time.Second)
	b.lookAtSets() // One more pod is progress, if only just.
	b.look()
	wantCondition(t, b.d.Status, appsv1.DeploymentProgressing, corev1.ConditionTrue, setUpdated)
	b.now = b.now.Add(60 * time.Second)
	if p := b.look(); p.recheck <= 0 || p.recheck > 2*time.Second {
		t.Errorf("looks again in %s", p.recheck)
	}
	wantCondition(t, b.d.Status, appsv1.DeploymentProgressing, corev1.ConditionTrue, setUpdated)
	b.now = b.now.Add(time.Second)
	b.look()
	wantCondition(t, b.d.Status, appsv1.DeploymentProgressing, corev1.ConditionFalse, deadlineExceeded)
	wantCondition(t, b.d.Status, appsv1.DeploymentAvailable, corev1.ConditionTrue, minimumAvailable)
	since := condition(b.d.Status.Conditions, appsv1.DeploymentProgressing).LastUpdateTime
	b.now = b.now.Add(time.Minute)
	b.look()
	if after := condition(b.d.Status.Conditions, appsv1.DeploymentProgressing).LastUpdateTime; !after.Equal(&since) {
		t.Error("a condition that stays got a new time")
	}
	b.release("good")
	b.look()
	wantCondition(t, b.d.Status, appsv1.DeploymentProgressing, corev1.ConditionTrue, setCreated)
}

func TestALostPodLeavesAFinishedRolloutFinished(t *testing.T) {
	b, _ := settled(t, 1)
	b.pods[0].Status.Conditions = nil
	b.now = b.now.Add(time.Hour)
	b.look()
	wantCondition(t, b.d.Status, appsv1.DeploymentProgressing, corev1.ConditionTrue, setAvailable)
	wantCondition(t, b.d.Status, appsv1.DeploymentAvailable, corev1.ConditionFalse, minimumUnavailable)
	if c := condition(b.d.Status.Conditions, appsv1.DeploymentAvailable); !c.LastUpdateTime.Time.Equal(b.now) {
		t.Error("Flagger reads since when it is unavailable from lastUpdateTime")
	}
}

func TestMinReadySecondsDelaysAvailability(t *testing.T) {
	b := newBench(t, 1, rolling("1", "0"))
	b.d.Spec.MinReadySeconds = 10
	b.look()
	b.lookAtSets()
	b.ready(b.pods[0])
	if p := b.look(); p.status.ReadyReplicas != 1 || p.status.AvailableReplicas != 0 || p.recheck != 10*time.Second {
		t.Errorf("ready %d, available %d, looks again in %s", p.status.ReadyReplicas, p.status.AvailableReplicas, p.recheck)
	}
	b.now = b.now.Add(10 * time.Second)
	if p := b.look(); p.status.AvailableReplicas != 1 {
		t.Error("not available after ten seconds")
	}
}

func TestNamesAndLabelsTieASetToItsTemplate(t *testing.T) {
	b, _ := settled(t, 1)
	s, hash := b.sets[0], templateHash(&b.d.Spec.Template)
	if s.Name != "web-"+hash || s.Labels["pod-template-hash"] != hash || s.Spec.Selector.MatchLabels["pod-template-hash"] != hash ||
		s.Spec.Template.Labels["pod-template-hash"] != hash || b.pods[0].Labels["pod-template-hash"] != hash {
		t.Errorf("hash %s is not everywhere: %+v", hash, s)
	}
	if b.d.Spec.Template.Labels["pod-template-hash"] != "" || b.d.Spec.Selector.MatchLabels["pod-template-hash"] != "" {
		t.Error("the deployment itself got the hash")
	}
	if !metav1.IsControlledBy(s, b.d) || !metav1.IsControlledBy(b.pods[0], s) {
		t.Error("owners are missing")
	}
}

func TestSurplusPodsAreThoseMissedLeast(t *testing.T) {
	b, _ := settled(t, 3)
	b.pods[1].Status.Conditions = nil
	b.scale(2)
	b.look()
	if p := planSet(b.sets[0], b.pods, b.now); len(p.remove) != 1 || p.remove[0] != b.pods[1] || p.create != 0 {
		t.Errorf("removes %d, creates %d", len(p.remove), p.create)
	}
}

func TestAFailedPodIsReplacedAndRemoved(t *testing.T) {
	b, _ := settled(t, 1)
	b.pods[0].Status.Phase = corev1.PodFailed
	if p := planSet(b.sets[0], b.pods, b.now); len(p.remove) != 1 || p.create != 1 {
		t.Errorf("removes %d, creates %d", len(p.remove), p.create)
	}
}
