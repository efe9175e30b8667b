package workload

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rollout is what one look at a Deployment asks for. Objects in it are copies, ready to be written.
type rollout struct {
	create   *appsv1.ReplicaSet
	update   []*appsv1.ReplicaSet
	remove   []*appsv1.ReplicaSet
	revision string
	status   appsv1.DeploymentStatus
	recheck  time.Duration
}

// set is a ReplicaSet as it shall become, beside what its pods amount to now.
type set struct {
	*appsv1.ReplicaSet
	before *appsv1.ReplicaSet
	count
}

func (s *set) want() int32 { return replicas(s.Spec.Replicas) }

func (s *set) scale(n int32) { s.Spec.Replicas = &n }

// view is a Deployment with its ReplicaSets; the plan changes current and old.
type view struct {
	d *appsv1.Deployment
	// current is the ReplicaSet of the Deployment's template, nil when there is none.
	current *set
	// old are the others, oldest first.
	old []*set
	now time.Time
}

// plan decides upon a Deployment. sets and pods may be of others, too: the owner tells. Decisions follow the cluster's
// deployment controller, with one simplification: a Deployment scaled in the middle of a rollout gives the difference to
// the ReplicaSet of its template, where a cluster spreads it over all in proportion.
func plan(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, pods []*corev1.Pod, now time.Time) rollout {
	v := look(d, sets, pods, now)
	var p rollout
	if d.DeletionTimestamp == nil {
		if d.Spec.Paused {
			v.scalePaused()
		} else {
			v.roll()
			p.remove = v.surplus()
		}
	}
	if v.current != nil {
		p.revision = v.current.Annotations[revisionAnnotation]
		if v.current.before == nil {
			p.create = v.current.ReplicaSet
		}
	}
	for _, s := range v.all() {
		if s.before != nil && !equality.Semantic.DeepEqual(s.before, s.ReplicaSet) {
			p.update = append(p.update, s.ReplicaSet)
		}
	}
	p.status, p.recheck = v.status()
	for _, s := range v.all() {
		p.recheck = sooner(p.recheck, s.wait)
	}
	return p
}

func look(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, pods []*corev1.Pod, now time.Time) *view {
	v := &view{d: d, now: now}
	hash := templateHash(&d.Spec.Template)
	for _, s := range sets {
		if !metav1.IsControlledBy(s, d) {
			continue
		}
		one := &set{ReplicaSet: s.DeepCopy(), before: s, count: countPods(ownedBy(pods, string(s.UID)), d.Spec.MinReadySeconds, now)}
		if s.Labels[appsv1.DefaultDeploymentUniqueLabelKey] == hash {
			v.current = one
		} else {
			v.old = append(v.old, one)
		}
	}
	slices.SortFunc(v.old, func(a, b *set) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return v
}

func (v *view) all() []*set {
	if v.current == nil {
		return v.old
	}
	return append(slices.Clone(v.old), v.current)
}

// scalePaused keeps the number of pods, and nothing else, where there is no doubt whose pods they are.
func (v *view) scalePaused() {
	var candidates []*set
	for _, s := range v.all() {
		if s.want() > 0 {
			candidates = append(candidates, s)
		}
	}
	switch all := v.all(); {
	case len(candidates) == 1:
		candidates[0].scale(replicas(v.d.Spec.Replicas))
	case len(candidates) == 0 && len(all) > 0:
		all[len(all)-1].scale(replicas(v.d.Spec.Replicas))
	}
}

// roll brings the pods nearer to the Deployment's template.
func (v *view) roll() {
	want := replicas(v.d.Spec.Replicas)
	if v.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		v.retire()
		if v.oldPods() == 0 || v.current != nil {
			v.ensureCurrent()
		}
		if v.oldPods() == 0 {
			v.current.scale(want)
		}
		return
	}
	v.ensureCurrent()
	if v.growCurrent(want) {
		return
	}
	v.shrinkOld(want)
}

func (v *view) retire() {
	for _, s := range v.old {
		s.scale(0)
	}
}

// oldPods counts the terminating ones, too: Recreate promises that two versions never run together.
func (v *view) oldPods() int32 {
	var n int32
	for _, s := range v.old {
		n += s.replicas + s.terminating
	}
	return n
}

// ensureCurrent makes the ReplicaSet of the template, empty, or brings its annotations up to date.
func (v *view) ensureCurrent() {
	if v.current == nil {
		v.current = &set{ReplicaSet: newSet(v.d)}
	}
	s := v.current
	s.Spec.MinReadySeconds = v.d.Spec.MinReadySeconds
	for name, value := range v.d.Annotations {
		if inherited(name) {
			metav1.SetMetaDataAnnotation(&s.ObjectMeta, name, value)
		}
	}
	next := int64(1)
	for _, o := range v.old {
		next = max(next, revision(o.ReplicaSet)+1)
	}
	if revision(s.ReplicaSet) < next {
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, revisionAnnotation, strconv.FormatInt(next, 10))
	}
}

// growCurrent says whether it changed the number of new pods, in which case the old ones wait for the next look.
func (v *view) growCurrent(want int32) bool {
	s := v.current
	have := s.want()
	switch {
	case have > want:
		s.scale(want)
	case have < want:
		surge, _ := fenceposts(v.d)
		var total int32
		for _, o := range v.all() {
			total += o.want()
		}
		s.scale(have + max(0, min(want+surge-total, want-have)))
	}
	return s.want() != have
}

// shrinkOld takes old pods away as far as maxUnavailable allows: first those that serve nobody, then the oldest.
func (v *view) shrinkOld(want int32) {
	_, unavailable := fenceposts(v.d)
	least := want - unavailable
	var total, serving int32
	for _, s := range v.all() {
		total += s.want()
		serving += min(s.available, s.want())
	}
	// New pods that are not available yet do not replace anyone.
	budget := total - least - (v.current.want() - min(v.current.available, v.current.want()))
	for _, s := range v.old {
		n := max(0, min(budget, s.want()-s.available))
		s.scale(s.want() - n)
		budget -= n
	}
	spare := min(budget, serving-least)
	for _, s := range v.old {
		n := max(0, min(spare, s.want()))
		s.scale(s.want() - n)
		spare -= n
	}
}

// surplus are the ReplicaSets beyond revisionHistoryLimit, once the rollout is over.
func (v *view) surplus() []*appsv1.ReplicaSet {
	if v.d.Spec.RevisionHistoryLimit == nil || v.current == nil || !complete(v.d, v.counts()) {
		return nil
	}
	byRevision := slices.Clone(v.old)
	slices.SortStableFunc(byRevision, func(a, b *set) int { return cmp.Compare(revision(a.ReplicaSet), revision(b.ReplicaSet)) })
	var remove []*appsv1.ReplicaSet
	for _, s := range byRevision[:max(0, len(byRevision)-int(*v.d.Spec.RevisionHistoryLimit))] {
		if s.want() == 0 && s.replicas+s.terminating == 0 && s.DeletionTimestamp == nil {
			remove = append(remove, s.before)
		}
	}
	return remove
}
