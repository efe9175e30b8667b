package apiserver_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/apiserver"
)

// next reads one event of a watch as "TYPE name".
func next(t *testing.T, w watch.Interface) string {
	t.Helper()
	select {
	case event, open := <-w.ResultChan():
		if !open {
			return "closed"
		}
		switch object := event.Object.(type) {
		case *metav1.Status:
			return fmt.Sprintf("%s %d %s", event.Type, object.Code, object.Reason)
		case metav1.Object:
			if object.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true" {
				return fmt.Sprintf("%s initial events end", event.Type)
			}
			return fmt.Sprintf("%s %s", event.Type, object.GetName())
		}
		return fmt.Sprintf("%s %T", event.Type, event.Object)
	case <-time.After(10 * time.Second):
		return "nothing in 10 s"
	}
}

func expect(t *testing.T, w watch.Interface, events ...string) {
	t.Helper()
	for _, want := range events {
		if got := next(t, w); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestWatchBeginsWhereItsVersionSays(t *testing.T) {
	a := serve(t, apiserver.Config{})
	maps := a.core.CoreV1().ConfigMaps("default")
	first := value(maps.Create(t.Context(), configMap("a", nil), metav1.CreateOptions{}))(t)
	value(maps.Create(t.Context(), configMap("b", nil), metav1.CreateOptions{}))(t)
	for name, test := range map[string]struct {
		options metav1.ListOptions
		want    []string
	}{
		"no version begins with what is there":  {metav1.ListOptions{}, []string{"ADDED a", "ADDED b"}},
		"version 0 begins with what is there":   {metav1.ListOptions{ResourceVersion: "0"}, []string{"ADDED a", "ADDED b"}},
		"a version begins behind it":            {metav1.ListOptions{ResourceVersion: first.ResourceVersion}, []string{"ADDED b"}},
		"a version from the future has expired": {metav1.ListOptions{ResourceVersion: "999999"}, nil},
		"a watch-list marks the end of the list": {
			metav1.ListOptions{SendInitialEvents: new(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true},
			[]string{"ADDED a", "ADDED b", "BOOKMARK initial events end"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := maps.Watch(t.Context(), test.options)
			if test.want == nil {
				if !apierrors.IsResourceExpired(err) {
					t.Fatalf("got %v", err)
				}
				return
			}
			must(t, err)
			defer w.Stop()
			expect(t, w, test.want...)
		})
	}
}

func TestWatchSeesObjectsEnterAndLeaveItsSelection(t *testing.T) {
	a := serve(t, apiserver.Config{})
	maps := a.core.CoreV1().ConfigMaps("default")
	w := value(maps.Watch(t.Context(), metav1.ListOptions{LabelSelector: "in=yes"}))(t)
	defer w.Stop()
	label := func(value string) {
		t.Helper()
		_, err := maps.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"metadata":{"labels":{"in":"`+value+`"}}}`), metav1.PatchOptions{})
		must(t, err)
	}
	patchData := func() {
		t.Helper()
		_, err := maps.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"data":{"k":"v"}}`), metav1.PatchOptions{})
		must(t, err)
	}
	value(maps.Create(t.Context(), configMap("a", nil), metav1.CreateOptions{}))(t)
	label("yes")
	expect(t, w, "ADDED a")
	patchData()
	expect(t, w, "MODIFIED a")
	label("no")
	expect(t, w, "DELETED a")
	label("yes")
	must(t, maps.Delete(t.Context(), "a", metav1.DeleteOptions{}))
	expect(t, w, "ADDED a", "DELETED a")
}

func TestFieldSelectors(t *testing.T) {
	a := serve(t, apiserver.Config{})
	pods := a.core.CoreV1().Pods("default")
	for _, name := range []string{"a", "b"} {
		p := pod(name)
		p.Spec.NodeName = "node-" + name
		value(pods.Create(t.Context(), p, metav1.CreateOptions{}))(t)
	}
	for selector, want := range map[string]string{
		"metadata.name=a": "a", "spec.nodeName=node-b": "b", "status.phase=Pending": "a b", "status.phase!=Pending": "", "metadata.namespace=other": "",
	} {
		var names []string
		for _, p := range value(a.core.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{FieldSelector: selector}))(t).Items {
			names = append(names, p.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s selects %q, want %q", selector, got, want)
		}
	}
}

func TestWatchEnds(t *testing.T) {
	a := serve(t, apiserver.Config{})
	maps := a.core.CoreV1().ConfigMaps("default")
	short := value(maps.Watch(t.Context(), metav1.ListOptions{TimeoutSeconds: new(int64(1))}))(t)
	expect(t, short, "closed")
	long := value(maps.Watch(t.Context(), metav1.ListOptions{}))(t)
	a.server.Close()
	expect(t, long, "closed")
}

func TestWatchBehindTheHistoryExpires(t *testing.T) {
	a := serve(t, apiserver.Config{})
	maps := a.core.CoreV1().ConfigMaps("default")
	first := value(maps.Create(t.Context(), configMap("a", nil), metav1.CreateOptions{}))(t)
	churn(t, a, 2100)
	if _, err := maps.Watch(t.Context(), metav1.ListOptions{ResourceVersion: first.ResourceVersion}); !apierrors.IsResourceExpired(err) {
		t.Errorf("got %v", err)
	}
}

// churn makes many versions of one object.
func churn(t *testing.T, a *api, versions int) {
	t.Helper()
	maps := a.core.CoreV1().ConfigMaps("default")
	for i := range versions {
		_, err := maps.Patch(t.Context(), "a", types.MergePatchType, fmt.Appendf(nil, `{"data":{"n":"%d"}}`, i), metav1.PatchOptions{})
		must(t, err)
	}
}

func TestInformerSeesEveryChange(t *testing.T) {
	const objects, changes = 10, 20
	a := serve(t, apiserver.Config{})
	maps := a.core.CoreV1().ConfigMaps("default")
	factory := informers.NewSharedInformerFactory(a.core, 0)
	informer := factory.Core().V1().ConfigMaps().Informer()
	var mu sync.Mutex
	seen := map[string]int{}
	count := func(kind string) { mu.Lock(); seen[kind]++; mu.Unlock() }
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { count("add") },
		UpdateFunc: func(any, any) { count("update") },
		DeleteFunc: func(any) { count("delete") },
	})
	must(t, err)
	factory.StartWithContext(t.Context())
	if !cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("informer did not sync")
	}
	var wait sync.WaitGroup
	for i := range objects {
		wait.Go(func() {
			name := fmt.Sprintf("m%d", i)
			if _, err := maps.Create(t.Context(), configMap(name, nil), metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
			for n := range changes {
				if _, err := maps.Patch(t.Context(), name, types.MergePatchType, fmt.Appendf(nil, `{"data":{"n":"%d"}}`, n), metav1.PatchOptions{}); err != nil {
					t.Error(err)
				}
			}
			if err := maps.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	eventually(t, "every change is seen", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return seen["add"] == objects && seen["update"] == objects*changes && seen["delete"] == objects
	})
}

func TestOldEventsAreForgotten(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	a := serve(t, apiserver.Config{Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	events := a.core.CoreV1().Events("default")
	create := func(name string) {
		t.Helper()
		value(events.Create(t.Context(), &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: name}, InvolvedObject: corev1.ObjectReference{Namespace: "default"},
		}, metav1.CreateOptions{}))(t)
	}
	create("old")
	mu.Lock()
	now = now.Add(61 * time.Minute)
	mu.Unlock()
	create("new")
	if list := value(events.List(t.Context(), metav1.ListOptions{}))(t); len(list.Items) != 1 || list.Items[0].Name != "new" {
		t.Errorf("got %v", list.Items)
	}
}
