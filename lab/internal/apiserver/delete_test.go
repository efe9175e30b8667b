package apiserver_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/apiserver"
)

// owned makes a pod that names its owners.
func owned(name string, owners ...*appsv1.Deployment) *corev1.Pod {
	p := pod(name)
	for _, owner := range owners {
		p.OwnerReferences = append(p.OwnerReferences, metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: owner.Name, UID: owner.UID})
	}
	return p
}

func TestFinalizersKeepAnObject(t *testing.T) {
	a := serve(t, apiserver.Config{})
	maps := a.core.CoreV1().ConfigMaps("default")
	object := configMap("a", nil)
	object.Finalizers = []string{"example.com/first", "example.com/second"}
	value(maps.Create(t.Context(), object, metav1.CreateOptions{}))(t)
	must(t, maps.Delete(t.Context(), "a", metav1.DeleteOptions{}))
	for _, finalizers := range []string{`["example.com/second"]`, `[]`} {
		if got := value(maps.Get(t.Context(), "a", metav1.GetOptions{}))(t); got.DeletionTimestamp == nil {
			t.Fatal("no deletionTimestamp")
		}
		value(maps.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":`+finalizers+`}}`), metav1.PatchOptions{}))(t)
	}
	if _, err := maps.Get(t.Context(), "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after the last finalizer: %v", err)
	}
}

func TestPodOnANodeGoesInTwoSteps(t *testing.T) {
	a := serve(t, apiserver.Config{})
	pods := a.core.CoreV1().Pods("default")
	running := pod("running")
	running.Spec.NodeName = "node"
	for _, p := range []*corev1.Pod{running, pod("pending")} {
		value(pods.Create(t.Context(), p, metav1.CreateOptions{}))(t)
		must(t, pods.Delete(t.Context(), p.Name, metav1.DeleteOptions{}))
	}
	if _, err := pods.Get(t.Context(), "pending", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a pod on no node: %v", err)
	}
	got := value(pods.Get(t.Context(), "running", metav1.GetOptions{}))(t)
	if got.DeletionTimestamp == nil || *got.DeletionGracePeriodSeconds != 30 {
		t.Errorf("marked with %v, %v", got.DeletionTimestamp, got.DeletionGracePeriodSeconds)
	}
	got.Status.Phase = corev1.PodRunning
	value(pods.UpdateStatus(t.Context(), got, metav1.UpdateOptions{}))(t)
	value(pods.Get(t.Context(), "running", metav1.GetOptions{}))(t)
	must(t, pods.Delete(t.Context(), "running", metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	if _, err := pods.Get(t.Context(), "running", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after grace 0: %v", err)
	}
}

func TestDeleteMinds(t *testing.T) {
	a := serve(t, apiserver.Config{})
	maps := a.core.CoreV1().ConfigMaps("default")
	value(maps.Create(t.Context(), configMap("a", nil), metav1.CreateOptions{}))(t)
	other := types.UID("other")
	if err := maps.Delete(t.Context(), "a", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &other}}); !apierrors.IsConflict(err) {
		t.Errorf("another UID: %v", err)
	}
	value(maps.Create(t.Context(), configMap("b", map[string]string{"go": "yes"}), metav1.CreateOptions{}))(t)
	must(t, maps.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "go=yes"}))
	if list := value(maps.List(t.Context(), metav1.ListOptions{}))(t); len(list.Items) != 1 || list.Items[0].Name != "a" {
		t.Errorf("left %v", list.Items)
	}
}

func TestDependentsFollowTheirOwners(t *testing.T) {
	policy := func(p metav1.DeletionPropagation) metav1.DeleteOptions {
		return metav1.DeleteOptions{PropagationPolicy: &p}
	}
	for name, test := range map[string]struct {
		options metav1.DeleteOptions
		second  bool // the pod has a second owner, which stays
		left    bool
		owners  int
	}{
		"by default they go":                       {metav1.DeleteOptions{}, false, false, 0},
		"in the foreground they go":                {policy(metav1.DeletePropagationForeground), false, false, 0},
		"orphans stay and forget the owner":        {policy(metav1.DeletePropagationOrphan), false, true, 0},
		"one with another owner stays":             {metav1.DeleteOptions{}, true, true, 1},
		"foreground leaves one with another owner": {policy(metav1.DeletePropagationForeground), true, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			a := serve(t, apiserver.Config{})
			pods, deployments := a.core.CoreV1().Pods("default"), a.core.AppsV1().Deployments("default")
			owners := []*appsv1.Deployment{value(deployments.Create(t.Context(), deployment("one"), metav1.CreateOptions{}))(t)}
			if test.second {
				owners = append(owners, value(deployments.Create(t.Context(), deployment("two"), metav1.CreateOptions{}))(t))
			}
			value(pods.Create(t.Context(), owned("p", owners...), metav1.CreateOptions{}))(t)
			must(t, deployments.Delete(t.Context(), "one", test.options))
			if _, err := deployments.Get(t.Context(), "one", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("owner: %v", err)
			}
			left, err := pods.Get(t.Context(), "p", metav1.GetOptions{})
			if test.left != (err == nil) || (err == nil && len(left.OwnerReferences) != test.owners) {
				t.Errorf("dependent %v, owners %v", err, left.OwnerReferences)
			}
		})
	}
}

func TestForegroundDeletionWaitsForDependents(t *testing.T) {
	a := serve(t, apiserver.Config{})
	pods, deployments := a.core.CoreV1().Pods("default"), a.core.AppsV1().Deployments("default")
	owner := value(deployments.Create(t.Context(), deployment("one"), metav1.CreateOptions{}))(t)
	dependent := owned("p", owner)
	dependent.Spec.NodeName = "node"
	value(pods.Create(t.Context(), dependent, metav1.CreateOptions{}))(t)
	foreground := metav1.DeletePropagationForeground
	must(t, deployments.Delete(t.Context(), "one", metav1.DeleteOptions{PropagationPolicy: &foreground}))
	if waiting := value(deployments.Get(t.Context(), "one", metav1.GetOptions{}))(t); waiting.DeletionTimestamp == nil {
		t.Error("owner is not marked")
	}
	must(t, pods.Delete(t.Context(), "p", metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	if _, err := deployments.Get(t.Context(), "one", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("owner after its last dependent: %v", err)
	}
}

func TestDependentOfAGoneOwnerGoes(t *testing.T) {
	a := serve(t, apiserver.Config{})
	gone := deployment("gone")
	gone.UID = "0000"
	value(a.core.CoreV1().Pods("default").Create(t.Context(), owned("p", gone), metav1.CreateOptions{}))(t)
	if _, err := a.core.CoreV1().Pods("default").Get(t.Context(), "p", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
}

func TestNamespaceGoesWithItsContents(t *testing.T) {
	a := serve(t, apiserver.Config{})
	namespaces, maps := a.core.CoreV1().Namespaces(), a.core.CoreV1().ConfigMaps("t")
	value(namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "t"}}, metav1.CreateOptions{}))(t)
	held, free := configMap("held", nil), configMap("free", nil)
	held.Namespace, free.Namespace, held.Finalizers = "t", "t", []string{"example.com/hold"}
	value(maps.Create(t.Context(), held, metav1.CreateOptions{}))(t)
	value(maps.Create(t.Context(), free, metav1.CreateOptions{}))(t)

	must(t, namespaces.Delete(t.Context(), "t", metav1.DeleteOptions{}))
	if got := value(namespaces.Get(t.Context(), "t", metav1.GetOptions{}))(t); got.Status.Phase != corev1.NamespaceTerminating {
		t.Errorf("phase %s", got.Status.Phase)
	}
	if left := value(maps.List(t.Context(), metav1.ListOptions{}))(t); len(left.Items) != 1 || left.Items[0].Name != "held" {
		t.Errorf("left %v", left.Items)
	}
	value(namespaces.Patch(t.Context(), "t", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{}))(t)
	value(namespaces.Get(t.Context(), "t", metav1.GetOptions{}))(t) // another write does not let it go early
	free.Name = "late"
	_, err := maps.Create(t.Context(), free, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("create while terminating: %v", err)
	}
	value(maps.Patch(t.Context(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}))(t)
	if _, err := namespaces.Get(t.Context(), "t", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after the last content: %v", err)
	}
}
