package workload

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// pod is ready, at host port 20001 for "http" (8080) and 20002 for 9090.
func pod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: "shop", UID: "1", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{NodeName: "node", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
			{Name: "http", ContainerPort: 8080, HostPort: 20001}, {ContainerPort: 9090, HostPort: 20002},
		}}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "127.0.0.1",
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	if change != nil {
		change(p)
	}
	return p
}

func service(ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: types.UID("s")},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: ports},
	}
}

func TestEndpoints(t *testing.T) {
	byName := corev1.ServicePort{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}
	stopping := func(p *corev1.Pod) { now := metav1.Now(); p.DeletionTimestamp = &now }
	notReady := func(p *corev1.Pod) { p.Status.Conditions = nil }
	public := service(byName)
	public.Spec.PublishNotReadyAddresses = true
	none := service(byName)
	none.Spec.Selector = nil
	for name, c := range map[string]struct {
		service *corev1.Service
		pod     *corev1.Pod
		// want is "ready|waiting ports" of the Endpoints, then ready/serving/terminating of the slice.
		want, slice string
	}{
		"a port by name is the host's":                   {service(byName), pod(nil), "ready 20001", "true true false 20001"},
		"a port by number is the host's":                 {service(corev1.ServicePort{Port: 80, TargetPort: intstr.FromInt32(9090)}), pod(nil), "ready 20002", "true true false 20002"},
		"no target port means the service's own":         {service(corev1.ServicePort{Port: 8080}), pod(nil), "ready 20001", "true true false 20001"},
		"several ports stay together":                    {service(byName, corev1.ServicePort{Name: "m", Port: 9090}), pod(nil), "ready 20001 20002", "true true false 20001 20002"},
		"a port no container declares is left out":       {service(byName, corev1.ServicePort{Name: "x", Port: 1}), pod(nil), "ready 20001", "true true false 20001"},
		"a pod that is not ready waits":                  {service(byName), pod(notReady), "waiting 20001", "false false false 20001"},
		"a stopping pod is only in the slice":            {service(byName), pod(stopping), "", "false true true 20001"},
		"publishNotReadyAddresses takes it as it is":     {public, pod(notReady), "ready 20001", "true false false 20001"},
		"a pod without address is not there":             {service(byName), pod(func(p *corev1.Pod) { p.Status.PodIP = "" }), "", ""},
		"a pod that has ended is not there":              {service(byName), pod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), "", ""},
		"a pod with other labels is not there":           {service(byName), pod(func(p *corev1.Pod) { p.Labels = nil }), "", ""},
		"a service without selector has none of its own": {none, pod(nil), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			for _, s := range endpoints(c.service, []*corev1.Pod{c.pod}) {
				addresses := s.Addresses
				if got = "ready"; len(addresses) == 0 {
					addresses, got = s.NotReadyAddresses, "waiting"
				}
				for _, p := range s.Ports {
					got += fmt.Sprint(" ", p.Port)
				}
				if a := addresses[0]; a.IP != "127.0.0.1" || a.TargetRef.Name != "web-1" || *a.NodeName != "node" {
					t.Errorf("address %+v", a)
				}
			}
			if got != c.want {
				t.Errorf("endpoints %q, want %q", got, c.want)
			}
			got = ""
			for _, s := range endpointSlices(c.service, []*corev1.Pod{c.pod}) {
				e := s.Endpoints[0].Conditions
				got = fmt.Sprint(*e.Ready, *e.Serving, *e.Terminating)
				for _, p := range s.Ports {
					got += fmt.Sprint(" ", *p.Port)
				}
			}
			if got != c.slice {
				t.Errorf("slice %q, want %q", got, c.slice)
			}
		})
	}
}
