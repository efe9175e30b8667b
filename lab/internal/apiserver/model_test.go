package apiserver_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/apiserver"
)

// TestRandomOperations compares the API with a map: whatever happens, a list shows what the map has, every outcome is the
// one that the map predicts, and a watch that began before everything rebuilds the same.
func TestRandomOperations(t *testing.T) {
	a := serve(t, apiserver.Config{})
	maps := a.core.CoreV1().ConfigMaps("default")
	w := value(maps.Watch(t.Context(), metav1.ListOptions{}))(t)
	defer w.Stop()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	model := map[string]*corev1.ConfigMap{}
	changes := 0
	for step := range 500 {
		name := fmt.Sprintf("m%d", random.IntN(6))
		known := model[name]
		switch random.IntN(4) {
		case 0:
			got, err := maps.Create(t.Context(), configMap(name, nil), metav1.CreateOptions{})
			if (known == nil) != (err == nil) || (err != nil && !apierrors.IsAlreadyExists(err)) {
				t.Fatalf("step %d: create %s, which is %v: %v", step, name, known, err)
			}
			if err == nil {
				model[name], changes = got, changes+1
			}
		case 1, 2:
			wanted := configMap(name, nil)
			wanted.Data = map[string]string{"step": fmt.Sprint(random.IntN(3))}
			stale := random.IntN(4) == 0
			if known != nil {
				wanted.ResourceVersion = known.ResourceVersion
			}
			if stale {
				wanted.ResourceVersion = "1"
			}
			got, err := maps.Update(t.Context(), wanted, metav1.UpdateOptions{})
			switch {
			case known == nil && apierrors.IsNotFound(err):
			case known != nil && stale && apierrors.IsConflict(err):
			case known != nil && !stale && err == nil:
				if same := known.Data["step"] == wanted.Data["step"]; same != (got.ResourceVersion == known.ResourceVersion) {
					t.Fatalf("step %d: version %s became %s, same data %t", step, known.ResourceVersion, got.ResourceVersion, same)
				} else if !same {
					changes++
				}
				model[name] = got
			default:
				t.Fatalf("step %d: update %s, stale %t, which is %v: %v", step, name, stale, known, err)
			}
		case 3:
			err := maps.Delete(t.Context(), name, metav1.DeleteOptions{})
			if (known == nil) != apierrors.IsNotFound(err) || (known != nil && err != nil) {
				t.Fatalf("step %d: delete %s, which is %v: %v", step, name, known, err)
			}
			if known != nil {
				delete(model, name)
				changes++
			}
		}
	}
	compare(t, "a list", value(maps.List(t.Context(), metav1.ListOptions{}))(t).Items, model)
	rebuilt := map[string]corev1.ConfigMap{}
	for range changes {
		event := <-w.ResultChan()
		seen, ok := event.Object.(*corev1.ConfigMap)
		if !ok {
			t.Fatalf("watch sent %v", event)
		}
		rebuilt[seen.Name] = *seen
		if event.Type == "DELETED" {
			delete(rebuilt, seen.Name)
		}
	}
	var items []corev1.ConfigMap
	for _, item := range rebuilt {
		items = append(items, item)
	}
	compare(t, "a watch", items, model)
}

func compare(t *testing.T, what string, got []corev1.ConfigMap, model map[string]*corev1.ConfigMap) {
	t.Helper()
	if len(got) != len(model) {
		t.Errorf("%s shows %d objects, want %d", what, len(got), len(model))
	}
	for _, item := range got {
		if want := model[item.Name]; want == nil || want.ResourceVersion != item.ResourceVersion || want.Data["step"] != item.Data["step"] {
			t.Errorf("%s shows %+v, want %+v", what, item, want)
		}
	}
}
