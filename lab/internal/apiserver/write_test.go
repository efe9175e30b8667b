package apiserver_test

import (
	"strconv"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applyapps "k8s.io/client-go/applyconfigurations/apps/v1"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	applymeta "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/apiserver"
)

func TestParallelWritersLoseNoUpdate(t *testing.T) {
	const writers, each = 20, 10
	a := serve(t, apiserver.Config{})
	maps := a.core.CoreV1().ConfigMaps("default")
	value(maps.Create(t.Context(), configMap("counter", nil), metav1.CreateOptions{}))(t)
	increment := func() error {
		counter, err := maps.Get(t.Context(), "counter", metav1.GetOptions{})
		if err != nil {
			return err
		}
		n, _ := strconv.Atoi(counter.Data["n"])
		counter.Data = map[string]string{"n": strconv.Itoa(n + 1)}
		_, err = maps.Update(t.Context(), counter, metav1.UpdateOptions{})
		return err
	}
	var wait sync.WaitGroup
	for range writers {
		wait.Go(func() {
			for range each {
				for {
					err := retry.RetryOnConflict(retry.DefaultRetry, increment)
					if err == nil {
						break
					}
					if !apierrors.IsConflict(err) {
						t.Errorf("increment: %v", err)
						return
					}
				}
			}
		})
	}
	wait.Wait()
	if got := value(maps.Get(t.Context(), "counter", metav1.GetOptions{}))(t).Data["n"]; got != strconv.Itoa(writers*each) {
		t.Errorf("got %s, want %d", got, writers*each)
	}
}

func TestCreateSetsWhatTheServerOwns(t *testing.T) {
	a := serve(t, apiserver.Config{})
	deployments := a.core.AppsV1().Deployments("default")
	wanted := deployment("web")
	wanted.Status.ReadyReplicas = 7
	got := value(deployments.Create(t.Context(), wanted, metav1.CreateOptions{}))(t)
	switch {
	case got.UID == "" || got.CreationTimestamp.IsZero() || got.ResourceVersion == "" || got.Generation != 1:
		t.Errorf("metadata %+v", got.ObjectMeta)
	case got.Status.ReadyReplicas != 0:
		t.Error("a client set the status of a new object")
	case *got.Spec.Replicas != 1 || *got.Spec.RevisionHistoryLimit != 10 || *got.Spec.ProgressDeadlineSeconds != 600:
		t.Errorf("defaults %+v", got.Spec)
	case got.Spec.Strategy.RollingUpdate.MaxSurge.String() != "25%":
		t.Errorf("strategy %+v", got.Spec.Strategy)
	case got.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyAlways || *got.Spec.Template.Spec.TerminationGracePeriodSeconds != 30:
		t.Errorf("template %+v", got.Spec.Template.Spec)
	}
	if _, err := deployments.Create(t.Context(), deployment("web"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("a second one of the same name: %v", err)
	}
	generated := deployment("")
	generated.GenerateName = "web-"
	generated.Spec = wanted.Spec
	if got := value(deployments.Create(t.Context(), generated, metav1.CreateOptions{}))(t); !strings.HasPrefix(got.Name, "web-") || len(got.Name) != 9 {
		t.Errorf("generated name %q", got.Name)
	}
}

func TestServiceKeepsItsAddress(t *testing.T) {
	a := serve(t, apiserver.Config{})
	services := a.core.CoreV1().Services("default")
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	first := value(services.Create(t.Context(), service, metav1.CreateOptions{}))(t)
	if first.Spec.ClusterIP == "" || first.Spec.Ports[0].TargetPort.IntValue() != 80 || first.Spec.Ports[0].Protocol != corev1.ProtocolTCP {
		t.Errorf("got %+v", first.Spec)
	}
	service.Spec.Ports[0].Port = 81
	if second := value(services.Update(t.Context(), service, metav1.UpdateOptions{}))(t); second.Spec.ClusterIP != first.Spec.ClusterIP {
		t.Errorf("address changed from %s to %s", first.Spec.ClusterIP, second.Spec.ClusterIP)
	}
	service.Name = "other"
	if other := value(services.Create(t.Context(), service, metav1.CreateOptions{}))(t); other.Spec.ClusterIP == first.Spec.ClusterIP {
		t.Error("two Services have one address")
	}
}

func TestStatusAndSpecHaveTheirOwnWriters(t *testing.T) {
	a := serve(t, apiserver.Config{})
	deployments := a.core.AppsV1().Deployments("default")
	object := value(deployments.Create(t.Context(), deployment("web"), metav1.CreateOptions{}))(t)

	object.Status.ReadyReplicas, object.Spec.MinReadySeconds = 1, 5
	object = value(deployments.UpdateStatus(t.Context(), object, metav1.UpdateOptions{}))(t)
	if object.Status.ReadyReplicas != 1 || object.Spec.MinReadySeconds != 0 || object.Generation != 1 {
		t.Errorf("after writing the status: %+v, generation %d", object, object.Generation)
	}
	object.Status.ReadyReplicas, object.Spec.MinReadySeconds = 2, 5
	object = value(deployments.Update(t.Context(), object, metav1.UpdateOptions{}))(t)
	if object.Status.ReadyReplicas != 1 || object.Spec.MinReadySeconds != 5 || object.Generation != 2 {
		t.Errorf("after writing the spec: %+v, generation %d", object, object.Generation)
	}
	object.Labels = map[string]string{"a": "b"}
	labelled := value(deployments.Update(t.Context(), object, metav1.UpdateOptions{}))(t)
	if labelled.Generation != 2 {
		t.Errorf("a label made generation %d", labelled.Generation)
	}
	again := value(deployments.Update(t.Context(), labelled, metav1.UpdateOptions{}))(t)
	if again.ResourceVersion != labelled.ResourceVersion {
		t.Error("a write that changes nothing made a new version")
	}
	if _, err := deployments.Update(t.Context(), object, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("a write over an old version: %v", err)
	}
}

func TestScaleIsOneViewOfReplicas(t *testing.T) {
	a := serve(t, apiserver.Config{})
	deployments := a.core.AppsV1().Deployments("default")
	value(deployments.Create(t.Context(), deployment("web"), metav1.CreateOptions{}))(t)
	scale := value(deployments.GetScale(t.Context(), "web", metav1.GetOptions{}))(t)
	if scale.Spec.Replicas != 1 || scale.Status.Selector != "app=web" {
		t.Errorf("got %+v", scale)
	}
	scale.Spec.Replicas = 3
	value(deployments.UpdateScale(t.Context(), "web", scale, metav1.UpdateOptions{}))(t)
	patch := func(replicas string) error {
		_, err := deployments.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":`+replicas+`}}`), metav1.PatchOptions{}, "scale")
		return err
	}
	if got := value(deployments.Get(t.Context(), "web", metav1.GetOptions{}))(t); *got.Spec.Replicas != 3 || got.Generation != 2 {
		t.Errorf("after an update: %d replicas, generation %d", *got.Spec.Replicas, got.Generation)
	}
	must(t, patch("0"))
	if got := value(deployments.Get(t.Context(), "web", metav1.GetOptions{}))(t); *got.Spec.Replicas != 0 {
		t.Errorf("after a patch: %d replicas", *got.Spec.Replicas)
	}
	if err := patch("-1"); !apierrors.IsInvalid(err) {
		t.Errorf("negative replicas: %v", err)
	}
}

func TestPatches(t *testing.T) {
	for name, test := range map[string]struct {
		kind    types.PatchType
		patch   string
		env     string // of the container afterwards
		refused func(error) bool
	}{
		"strategic merges lists by key":       {types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"app","env":[{"name":"B","value":"3"}]}]}}}}`, "A=1 B=3", nil},
		"merge replaces lists":                {types.MergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"app:1","env":[{"name":"B","value":"3"}]}]}}}}`, "B=3", nil},
		"JSON patch goes by path":             {types.JSONPatchType, `[{"op":"replace","path":"/spec/template/spec/containers/0/env/0/value","value":"9"}]`, "A=9 B=2", nil},
		"JSON patch tests first":              {types.JSONPatchType, `[{"op":"test","path":"/spec/replicas","value":5}]`, "", apierrors.IsInvalid},
		"a patch can not change the selector": {types.MergePatchType, `{"spec":{"selector":{"matchLabels":{"app":"x"}},"template":{"metadata":{"labels":{"app":"x"}}}}}`, "", apierrors.IsInvalid},
		"a patch of an old version conflicts": {types.MergePatchType, `{"metadata":{"resourceVersion":"1"}}`, "", apierrors.IsConflict},
		"a patch of no type is refused":       {types.PatchType("text/plain"), `{}`, "", apierrors.IsUnsupportedMediaType},
		"a value of the wrong type is told":   {types.MergePatchType, `{"spec":{"replicas":"x"}}`, "", apierrors.IsBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			a := serve(t, apiserver.Config{})
			deployments := a.core.AppsV1().Deployments("default")
			before := value(deployments.Create(t.Context(), deployment("web"), metav1.CreateOptions{}))(t)
			_, err := deployments.Patch(t.Context(), "web", test.kind, []byte(test.patch), metav1.PatchOptions{})
			after := value(deployments.Get(t.Context(), "web", metav1.GetOptions{}))(t)
			if test.refused != nil {
				if !test.refused(err) || after.ResourceVersion != before.ResourceVersion {
					t.Errorf("got %v, version %s then %s", err, before.ResourceVersion, after.ResourceVersion)
				}
				return
			}
			must(t, err)
			if got := environment(after); got != test.env {
				t.Errorf("got %s, want %s", got, test.env)
			}
		})
	}
}

func environment(d *appsv1.Deployment) string {
	var all []string
	for _, e := range d.Spec.Template.Spec.Containers[0].Env {
		all = append(all, e.Name+"="+e.Value)
	}
	return strings.Join(all, " ")
}

func TestServerSideApply(t *testing.T) {
	a := serve(t, apiserver.Config{})
	deployments := a.core.AppsV1().Deployments("default")
	labels := map[string]string{"app": "web"}
	apply := func(manager, env string, force bool) error {
		container := applycore.Container().WithName("app").WithImage("app:1").WithEnv(applycore.EnvVar().WithName("A").WithValue(env))
		wanted := applyapps.Deployment("web", "default").WithSpec(applyapps.DeploymentSpec().
			WithSelector(applymeta.LabelSelector().WithMatchLabels(labels)).
			WithTemplate(applycore.PodTemplateSpec().WithLabels(labels).WithSpec(applycore.PodSpec().WithContainers(container))))
		_, err := deployments.Apply(t.Context(), wanted, metav1.ApplyOptions{FieldManager: manager, Force: force})
		return err
	}
	must(t, apply("one", "1", false))
	patch := `{"spec":{"template":{"spec":{"containers":[{"name":"app","env":[{"name":"B","value":"2"}]}]}}}}`
	value(deployments.Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "other"}))(t)
	must(t, apply("one", "3", false))
	if got := environment(value(deployments.Get(t.Context(), "web", metav1.GetOptions{}))(t)); got != "A=3 B=2" && got != "B=2 A=3" {
		t.Errorf("apply touched what it does not own: %s", got)
	}
	if err := apply("two", "4", false); !apierrors.IsConflict(err) {
		t.Errorf("two managers of one field: %v", err)
	}
	must(t, apply("two", "4", true))
	before := value(deployments.Get(t.Context(), "web", metav1.GetOptions{}))(t)
	must(t, apply("two", "4", false))
	if after := value(deployments.Get(t.Context(), "web", metav1.GetOptions{}))(t); after.ResourceVersion != before.ResourceVersion {
		t.Error("applying the same again made a new version")
	}
}

func TestFieldValidation(t *testing.T) {
	a := serve(t, apiserver.Config{})
	create := func(name, mode string) error {
		body := `{"metadata":{"name":"` + name + `"},"spec":{"containers":[{"name":"a","image":"b","imagee":"c"}]}}`
		return a.core.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Param("fieldValidation", mode).
			SetHeader("Content-Type", "application/json").Body([]byte(body)).Do(t.Context()).Error()
	}
	if err := create("strict", "Strict"); !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), `unknown field "spec.containers[0].imagee"`) {
		t.Errorf("strict: %v", err)
	}
	for _, mode := range []string{"Ignore", "Warn"} {
		if err := create(strings.ToLower(mode), mode); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestDryRunStoresNothing(t *testing.T) {
	a := serve(t, apiserver.Config{})
	maps := a.core.CoreV1().ConfigMaps("default")
	value(maps.Create(t.Context(), configMap("dry", nil), metav1.CreateOptions{DryRun: []string{"All"}}))(t)
	if _, err := maps.Get(t.Context(), "dry", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after a dry create: %v", err)
	}
	value(maps.Create(t.Context(), configMap("wet", nil), metav1.CreateOptions{}))(t)
	value(maps.Patch(t.Context(), "wet", types.MergePatchType, []byte(`{"data":{"a":"b"}}`), metav1.PatchOptions{DryRun: []string{"All"}}))(t)
	must(t, maps.Delete(t.Context(), "wet", metav1.DeleteOptions{DryRun: []string{"All"}}))
	if got := value(maps.Get(t.Context(), "wet", metav1.GetOptions{}))(t); len(got.Data) != 0 {
		t.Errorf("after a dry patch: %v", got.Data)
	}
}

func TestEventsAreOneInBothGroups(t *testing.T) {
	a := serve(t, apiserver.Config{})
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "default"}, Message: "hello", Type: "Normal",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "p", Namespace: "default"},
	}
	value(a.core.CoreV1().Events("default").Create(t.Context(), event, metav1.CreateOptions{}))(t)
	got := value(a.core.EventsV1().Events("default").Get(t.Context(), "e", metav1.GetOptions{}))(t)
	if got.Note != "hello" || got.Regarding.Name != "p" {
		t.Errorf("got %+v", got)
	}
	list := value(a.core.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=p,involvedObject.kind=Pod"}))(t)
	if len(list.Items) != 1 || list.Items[0].Message != "hello" {
		t.Errorf("got %+v", list.Items)
	}
}
