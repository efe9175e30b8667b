package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/apiserver"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/workload"
)

// startAPI is the API the lab runs, over HTTP.
func startAPI(t *testing.T) kubernetes.Interface {
	t.Helper()
	api := apiserver.New(apiserver.Config{Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	t.Cleanup(api.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err == nil {
		_, err = client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// bench is a node and the controllers at work.
type bench struct {
	*testing.T
	api    kubernetes.Interface
	node   *Node
	images string
	stop   func()
}

func start(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, api: startAPI(t), images: t.TempDir()}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	n, err := New(Config{Client: b.api, Name: "laptop", Dir: t.TempDir(), Images: b.images, Env: []string{"KUBECONFIG=/kube"}, Now: time.Now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	b.node = n
	b.image("web:1")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- n.Run(ctx) }()
	go func() { ended <- workload.New(b.api, time.Now, log).Run(ctx) }()
	stopped := false
	b.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Errorf("run ended with %v", err)
			}
		}
	}
	t.Cleanup(b.stop)
	return b
}

func (b *bench) image(name string) {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	text, err := json.Marshal(image{Binary: self, Env: map[string]string{programVariable: "1"}})
	if err == nil {
		err = os.WriteFile(filepath.Join(b.images, url.PathEscape(name)+".json"), text, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// template is a container that listens on 8080 and is asked often whether it is well.
func template(change func(*corev1.PodSpec)) corev1.PodTemplateSpec {
	probe := func(path string) *corev1.Probe {
		return &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("http")}}}
	}
	liveness := probe("/healthz")
	liveness.FailureThreshold = 3
	spec := corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: new(int64(10)),
		Containers: []corev1.Container{{
			Name: "web", Image: "web:1", Args: []string{"-listen=:8080"},
			Ports:          []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			ReadinessProbe: probe("/readyz"), LivenessProbe: liveness,
		}},
	}
	if change != nil {
		change(&spec)
	}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"prometheus.io/port": "8080"}}, Spec: spec}
}

func (b *bench) pod(change func(*corev1.PodSpec)) *corev1.Pod {
	b.Helper()
	t := template(change)
	t.Name, t.Namespace = "web", "shop"
	pod, err := b.api.CoreV1().Pods("shop").Create(b.Context(), &corev1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec}, metav1.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return pod
}

// eventually polls until check is content with what the API says, and fails with its last complaint.
func (b *bench) eventually(within time.Duration, check func() string) {
	b.Helper()
	for end := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		complaint := check()
		if complaint == "" {
			return
		}
		if time.Now().After(end) {
			b.Fatalf("after %s: %s", within, complaint)
		}
	}
}

// podWhen returns the pod "web" once it is as wanted.
func (b *bench) podWhen(what string, is func(*corev1.Pod) bool) *corev1.Pod {
	b.Helper()
	var pod *corev1.Pod
	b.eventually(20*time.Second, func() string {
		var err error
		if pod, err = b.api.CoreV1().Pods("shop").Get(b.Context(), "web", metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		if len(pod.Status.ContainerStatuses) == 0 || !is(pod) {
			return fmt.Sprintf("pod is not %s: %+v", what, pod.Status.ContainerStatuses)
		}
		return ""
	})
	return pod
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
}

func pidOf(t *testing.T, pod *corev1.Pod) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimPrefix(pod.Status.ContainerStatuses[0].ContainerID, "process://"))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func (b *bench) get(pod *corev1.Pod, path string) string {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", pod.Spec.Containers[0].Ports[0].HostPort, path), nil)
	if err != nil {
		b.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

func (b *bench) log(pod *corev1.Pod, opts corev1.PodLogOptions) string {
	b.Helper()
	r, err := b.node.Logs(b.Context(), pod, &opts)
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

func (b *bench) deletePod(opts metav1.DeleteOptions) {
	b.Helper()
	if err := b.api.CoreV1().Pods("shop").Delete(b.Context(), "web", opts); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) podGone() string {
	if _, err := b.api.CoreV1().Pods("shop").Get(b.Context(), "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return "pod is still there"
	}
	return ""
}

func TestADeploymentServesRollsAndScales(t *testing.T) {
	b := start(t)
	one, none := intstr.FromInt32(1), intstr.FromInt32(0)
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)), Template: template(nil), ProgressDeadlineSeconds: new(int32(60)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &one, MaxUnavailable: &none}},
		},
	}
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}},
	}}
	if _, err := b.api.CoreV1().Services("shop").Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	d, err := b.api.AppsV1().Deployments("shop").Create(t.Context(), d, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	available := func(want int32) func() string {
		return func() string {
			now, err := b.api.AppsV1().Deployments("shop").Get(t.Context(), "web", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			d = now
			if s := d.Status; s.ObservedGeneration != d.Generation || s.AvailableReplicas != want || s.UpdatedReplicas != want || s.Replicas != want {
				return fmt.Sprintf("status %+v", s)
			}
			addresses := 0
			e, err := b.api.CoreV1().Endpoints("shop").Get(t.Context(), "web", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			for _, subset := range e.Subsets {
				addresses += len(subset.Addresses)
			}
			slices, err := b.api.DiscoveryV1().EndpointSlices("shop").List(t.Context(), metav1.ListOptions{})
			if err != nil || addresses != int(want) || len(slices.Items) != int(want) {
				return fmt.Sprintf("%d addresses, %d slices, %v", addresses, len(slices.Items), err)
			}
			return ""
		}
	}
	b.eventually(20*time.Second, available(2))
	change := func(f func()) {
		// The controller writes the status at the same time.
		err := retry.RetryOnConflict(retry.DefaultRetry, func() (err error) {
			if d, err = b.api.AppsV1().Deployments("shop").Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
				return err
			}
			f()
			d, err = b.api.AppsV1().Deployments("shop").Update(t.Context(), d, metav1.UpdateOptions{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	change(func() { d.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "VERSION", Value: "2"}} })
	b.eventually(30*time.Second, func() string {
		pods, err := b.api.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		serving := 0
		for i := range pods.Items {
			if isReady(&pods.Items[i]) {
				serving++
			}
		}
		if serving < 2 {
			t.Fatalf("%d pods served during the update", serving)
		}
		return available(2)()
	})
	change(func() { d.Spec.Replicas = new(int32) })
	b.eventually(20*time.Second, available(0))
	change(func() { d.Spec.Replicas = new(int32(1)) })
	b.eventually(20*time.Second, available(1))
}

func TestAProcessSeesItsPodThroughTranslatedNames(t *testing.T) {
	b := start(t)
	if _, err := b.api.CoreV1().ConfigMaps("shop").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings", Namespace: "shop"}, Data: map[string]string{"app.yaml": "colour: green"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.pod(func(s *corev1.PodSpec) {
		s.Volumes = []corev1.Volume{{Name: "cfg", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}}
		c := &s.Containers[0]
		c.VolumeMounts = []corev1.VolumeMount{{Name: "cfg", MountPath: "/etc/app"}}
		c.Command, c.Args = []string{"/web", "-listen=:8080"}, []string{"-config", "/etc/app/app.yaml"}
		c.Env = []corev1.EnvVar{{Name: "POD", ValueFrom: ref("metadata.name")}, {Name: "SELF", Value: "http://localhost:8080/"}}
	})
	pod := b.podWhen("ready", isReady)
	port := pod.Spec.Containers[0].Ports[0].HostPort
	if port < 20000 || port > 29999 || pod.Annotations["prometheus.io/port"] != fmt.Sprint(port) || pod.Spec.NodeName != "laptop" {
		t.Errorf("host port %d, annotations %v, node %s", port, pod.Annotations, pod.Spec.NodeName)
	}
	if got := b.get(pod, "/config"); got != "colour: green" {
		t.Errorf("configuration is %q", got)
	}
	env := b.get(pod, "/env")
	for _, want := range []string{`"POD=web"`, `"HOSTNAME=web"`, `"KUBECONFIG=/kube"`, fmt.Sprintf(`"SELF=http://127.0.0.1:%d/"`, port), fmt.Sprintf(`"PORT_8080=%d"`, port)} {
		if !strings.Contains(env, want) {
			t.Errorf("%s is not in %s", want, env)
		}
	}
	if strings.Contains(env, "GOCACHE=") || strings.Contains(env, "PWD=/") && strings.Contains(env, "internal/node") {
		t.Errorf("the lab's own environment got in: %s", env)
	}
}

func TestAKilledProcessIsRestartedAtItsPort(t *testing.T) {
	b := start(t)
	b.pod(nil)
	before := b.podWhen("ready", isReady)
	if err := syscall.Kill(pidOf(t, before), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	after := b.podWhen("restarted and ready", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 && isReady(p) })
	s := after.Status.ContainerStatuses[0]
	if end := s.LastTerminationState.Terminated; end == nil || end.Signal != 9 || end.ExitCode != 137 || end.Reason != "Error" {
		t.Errorf("last state %+v", end)
	}
	if s.ContainerID == before.Status.ContainerStatuses[0].ContainerID || after.Spec.Containers[0].Ports[0].HostPort != before.Spec.Containers[0].Ports[0].HostPort {
		t.Errorf("container %s at port %d", s.ContainerID, after.Spec.Containers[0].Ports[0].HostPort)
	}
	if got := b.log(after, corev1.PodLogOptions{Previous: true}); !strings.Contains(got, fmt.Sprint("started ", pidOf(t, before))) {
		t.Errorf("previous log %q", got)
	}
}

func TestACrashingProgramIsRestartedEverMoreSlowly(t *testing.T) {
	b := start(t)
	b.pod(func(s *corev1.PodSpec) { s.Containers[0].Args = []string{"-exit=3"} })
	pod := b.podWhen("backing off", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses[0]
		return s.RestartCount >= 2 && s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff"
	})
	if end := pod.Status.ContainerStatuses[0].LastTerminationState.Terminated; end == nil || end.ExitCode != 3 || isReady(pod) {
		t.Errorf("last state %+v", end)
	}
	b.deletePod(metav1.DeleteOptions{})
	b.eventually(2*time.Second, b.podGone)
}

func TestProbesDecideUponReadinessAndRestarts(t *testing.T) {
	b := start(t)
	pod := b.pod(nil)
	b.podWhen("ready", isReady)
	file := func(name string) string { return filepath.Join(b.node.podsDir(), string(pod.UID), name) }
	for _, name := range []string{"unready", "sick"} {
		if err := os.WriteFile(file(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "unready" {
			b.podWhen("unready", func(p *corev1.Pod) bool { return !isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 0 })
		} else {
			b.podWhen("restarted", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 })
		}
		if err := os.Remove(file(name)); err != nil {
			t.Fatal(err)
		}
		b.podWhen("ready again", isReady)
	}
}

func TestAPodStopsInOrder(t *testing.T) {
	b := start(t)
	b.pod(func(s *corev1.PodSpec) {
		s.Containers[0].Args = append(s.Containers[0].Args, "-linger=500ms")
		s.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/drain", Port: intstr.FromInt32(8080)}}}
	})
	pod := b.podWhen("ready", isReady)
	// A follower reads to the end of the process.
	r, err := b.node.Logs(t.Context(), pod, &corev1.PodLogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b.deletePod(metav1.DeleteOptions{})
	b.podWhen("stopping and not ready", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil && !isReady(p) })
	text, err := io.ReadAll(r)
	if want := fmt.Sprintf("started %d\nhook\nasked to stop\nbye\n", pidOf(t, pod)); err != nil || string(text) != want {
		t.Errorf("log %q, %v, want %q", text, err, want)
	}
	b.eventually(5*time.Second, b.podGone)
	if alive(pidOf(t, pod)) {
		t.Error("the process outlived its pod")
	}
	if got := b.log(pod, corev1.PodLogOptions{TailLines: new(int64(1))}); got != "bye\n" {
		t.Errorf("log of a pod that is gone: %q", got)
	}
}

func TestAProcessThatDoesNotStopIsKilledInTime(t *testing.T) {
	for name, opts := range map[string]metav1.DeleteOptions{
		"after its grace":                          {GracePeriodSeconds: new(int64(1))},
		"at once when the pod is removed by force": {GracePeriodSeconds: new(int64)},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			b.pod(func(s *corev1.PodSpec) {
				s.Containers[0].Args = append(s.Containers[0].Args, "-linger=1h")
				s.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 60}}}
			})
			pod := b.podWhen("ready", isReady)
			b.deletePod(opts)
			b.eventually(4*time.Second, func() string {
				if alive(pidOf(t, pod)) {
					return "the process lives"
				}
				return b.podGone()
			})
		})
	}
}

func TestNothingIsLeftWhenTheNodeHasEnded(t *testing.T) {
	b := start(t)
	b.pod(func(s *corev1.PodSpec) { s.Containers[0].Args = append(s.Containers[0].Args, "-linger=1h") })
	pod := b.podWhen("ready", isReady)
	began := time.Now()
	b.stop()
	if took := time.Since(began); took > lastGrace+2*time.Second {
		t.Errorf("ending took %s", took)
	}
	if alive(pidOf(t, pod)) {
		t.Error("the process outlived the node")
	}
}

func TestAMissingImageIsWaitedFor(t *testing.T) {
	b := start(t)
	b.pod(func(s *corev1.PodSpec) { s.Containers[0].Image = "ghcr.io/acme/web:2" })
	b.podWhen("waiting for its image", func(p *corev1.Pod) bool {
		w := p.Status.ContainerStatuses
		return w[0].State.Waiting != nil && w[0].State.Waiting.Reason == "ImagePullBackOff" && p.Status.Phase == corev1.PodPending
	})
	b.image("ghcr.io/acme/web:2")
	b.podWhen("ready", isReady)
}

func TestInitContainersRunFirstAndVolumesAreShared(t *testing.T) {
	b := start(t)
	b.pod(func(s *corev1.PodSpec) {
		mounted := []corev1.VolumeMount{{Name: "shared", MountPath: "/shared"}}
		s.Volumes = []corev1.Volume{{Name: "shared", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		s.InitContainers = []corev1.Container{
			{Name: "one", Image: "web:1", Args: []string{"-touch=/shared/x", "-exit=0"}, VolumeMounts: mounted},
			{Name: "two", Image: "web:1", Args: []string{"-touch=/shared/x", "-exit=0"}, VolumeMounts: mounted},
		}
		s.Containers[0].VolumeMounts = mounted
		s.Containers[0].Args = append(s.Containers[0].Args, "-config=/shared/x")
	})
	pod := b.podWhen("ready", isReady)
	if got := b.get(pod, "/config"); got != "web\nweb\n" {
		t.Errorf("the init containers left %q", got)
	}
}

func TestAPodThatRunsOnceSucceeds(t *testing.T) {
	b := start(t)
	b.pod(func(s *corev1.PodSpec) {
		s.RestartPolicy = corev1.RestartPolicyNever
		s.Containers[0].Args = []string{"-exit=0"}
	})
	b.podWhen("succeeded", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	b.deletePod(metav1.DeleteOptions{})
	b.eventually(5*time.Second, b.podGone)
}

func TestSweepEndsOnlyWhatAnEarlierRunStarted(t *testing.T) {
	dir := t.TempDir()
	leave := func(name, told string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(dir, name, "web")
		if err := os.MkdirAll(at, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := writeRecord(at, cmd.Process.Pid, command{binary: told, args: []string{"1000"}}); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	ours, other := leave("a", "sleep"), leave("b", "another")
	if err := Sweep(t.Context(), dir, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := ours.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("ours ended with %v", err)
	}
	if !alive(other.Process.Pid) {
		t.Error("a process that is not ours was ended")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}
