// Package crowd is a made-up cluster with many Canaries under analysis: a Kubernetes API in memory and a page of metrics for every pod.
package crowd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/apiserver"
)

// headerTime is generous: on a machine that is busy to the last, who takes a second to be scheduled is not gone.
const headerTime = 30 * time.Second

// Namespace is where all of the Canaries are.
const Namespace = "crowd"

// Crowd serves until Close.
type Crowd struct {
	api, pods *http.Server
	server    *apiserver.Server
	URL       string // of the Kubernetes API
	begun     time.Time
	counters  sync.Map // of the pods of Members, by path: *counter
}

// New makes n Canaries, each with one canary and one primary pod that serve 10 and 90 requests a second, all good.
func New(ctx context.Context, n int) (*Crowd, error) {
	c, err := Empty(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.fill(ctx, n); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Empty makes a cluster that knows of Canaries and has none.
func Empty(ctx context.Context) (*Crowd, error) {
	c := &Crowd{server: apiserver.New(apiserver.Config{}), begun: time.Now()}
	c.api, c.pods = &http.Server{Handler: c.server, ReadHeaderTimeout: headerTime}, &http.Server{Handler: http.HandlerFunc(c.page), ReadHeaderTimeout: headerTime}
	api, err := serve(ctx, c.api)
	if err != nil {
		return nil, err
	}
	c.URL = "http://" + api
	err = c.create(ctx, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition())
	if err == nil {
		err = c.create(ctx, "/api/v1/namespaces", object{"metadata": object{"name": Namespace}})
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Kubeconfig leads clients to the Kubernetes API.
func (c *Crowd) Kubeconfig() string {
	return `{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
"users":[{"name":"u","user":{}}],"clusters":[{"name":"c","cluster":{"server":"` + c.URL + `"}}]}`
}

func serve(ctx context.Context, s *http.Server) (address string, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	go func() { _ = s.Serve(listener) }() // ends with Close, which is no error to tell
	return listener.Addr().String(), nil
}

// Close ends both servers.
func (c *Crowd) Close() {
	c.server.Close()
	_ = c.api.Close()  // nothing is left to be done
	_ = c.pods.Close() // about an error here
}

// page is the metrics of one pod, about as long as a real app's.
func (c *Crowd) page(w http.ResponseWriter, r *http.Request) {
	if of, ok := c.counters.Load(r.URL.Path); ok {
		if n, ok := of.(*counter); ok {
			n.page(w)
		}
		return
	}
	rate := 90.0
	if strings.HasSuffix(r.URL.Path, "/canary") {
		rate = 10
	}
	served := rate * time.Since(c.begun).Seconds()
	text := &bytes.Buffer{}
	text.WriteString("# TYPE http_requests_total counter\n")
	const routes = 5
	for route := range routes {
		for _, status := range []string{"200", "201", "404", "500"} {
			n := 0.0
			if status == "200" {
				n = served / routes
			}
			fmt.Fprintf(text, "http_requests_total{method=\"GET\",route=\"/r%d\",status=%q} %.0f\n", route, status, n)
		}
	}
	text.WriteString("# TYPE http_request_duration_seconds histogram\n")
	for route := range routes {
		for _, le := range []string{"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"} {
			fmt.Fprintf(text, "http_request_duration_seconds_bucket{method=\"GET\",route=\"/r%d\",status=\"200\",le=%q} %.0f\n", route, le, served/routes)
		}
		fmt.Fprintf(text, "http_request_duration_seconds_sum{method=\"GET\",route=\"/r%d\",status=\"200\"} 1\nhttp_request_duration_seconds_count{method=\"GET\",route=\"/r%d\",status=\"200\"} %.0f\n", route, route, served/routes)
	}
	fmt.Fprintf(text, "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %d\n", c.begun.Unix())
	_, _ = w.Write(text.Bytes()) // whoever went away does not read
}

// object is one to be created; status is sent after it, as a controller would.
type object map[string]any

func (c *Crowd) fill(ctx context.Context, n int) error {
	for i := range n {
		name := Name(i)
		if err := c.version(ctx, name, "canary"); err != nil {
			return err
		}
		if err := c.version(ctx, name+"-primary", "primary"); err != nil {
			return err
		}
		ingress := object{
			"metadata": object{"name": name + "-canary", "annotations": object{"nginx.ingress.kubernetes.io/canary-weight": "10"}},
			"spec":     object{"defaultBackend": object{"service": object{"name": name, "port": object{"number": 80}}}},
		}
		if err := c.create(ctx, "/apis/networking.k8s.io/v1/namespaces/"+Namespace+"/ingresses", ingress); err != nil {
			return err
		}
		canary := object{
			"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": object{"name": name},
			"spec": object{
				"targetRef": object{"apiVersion": "apps/v1", "kind": "Deployment", "name": name}, "ingressRef": object{"name": name},
				"analysis": object{"interval": "10s", "threshold": 10, "stepWeights": []int{10, 25, 50, 100}},
			},
			"status": object{"phase": "Progressing", "canaryWeight": 10},
		}
		if err := c.create(ctx, "/apis/flagger.app/v1beta1/namespaces/"+Namespace+"/canaries", canary); err != nil {
			return err
		}
	}
	return nil
}

// Name is the i-th Canary's.
func Name(i int) string { return "c" + strconv.Itoa(i) }

// version makes a Deployment with its ReplicaSet and one ready pod.
func (c *Crowd) version(ctx context.Context, name, track string) error {
	// A port of its own, as a pod has an address of its own: connections to it are kept.
	address, err := serve(ctx, c.pods)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("read address of pod: %w", err)
	}
	const hash = "abc"
	labels := object{"app": name, "pod-template-hash": hash}
	template := object{"metadata": object{"labels": labels}, "spec": object{"containers": []object{{"name": "app", "image": "app:2"}}}}
	deployments, pods := "/apis/apps/v1/namespaces/"+Namespace+"/", "/api/v1/namespaces/"+Namespace+"/pods"
	uid, err := c.createWithStatus(ctx, deployments+"deployments", object{
		"metadata": object{"name": name, "annotations": object{"deployment.kubernetes.io/revision": "1"}},
		"spec":     object{"replicas": 1, "selector": object{"matchLabels": object{"app": name}}, "template": template},
	}, object{"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1})
	if err != nil {
		return err
	}
	owner := func(kind, name, uid string) []object {
		return []object{{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}}
	}
	set := name + "-" + hash
	if uid, err = c.createWithStatus(ctx, deployments+"replicasets", object{
		"metadata": object{"name": set, "labels": labels, "annotations": object{"deployment.kubernetes.io/revision": "1"}, "ownerReferences": owner("Deployment", name, uid)},
		"spec":     object{"replicas": 1, "selector": object{"matchLabels": labels}, "template": template},
	}, object{"observedGeneration": 1, "replicas": 1, "readyReplicas": 1}); err != nil {
		return err
	}
	_, err = c.createWithStatus(ctx, pods, object{
		"metadata": object{
			"name": set + "-x", "labels": labels, "ownerReferences": owner("ReplicaSet", set, uid),
			"annotations": object{"prometheus.io/port": port, "prometheus.io/path": "/" + name + "/" + track},
		},
		"spec": template["spec"],
	}, object{"phase": "Running", "podIP": "127.0.0.1", "conditions": []object{{"type": "Ready", "status": "True", "lastTransitionTime": c.begun.UTC().Format(time.RFC3339)}}})
	return err
}

func (c *Crowd) create(ctx context.Context, path string, o object) error {
	_, err := c.send(ctx, http.MethodPost, path, o)
	return err
}

func (c *Crowd) createWithStatus(ctx context.Context, path string, o, status object) (uid string, err error) {
	made, err := c.send(ctx, http.MethodPost, path, o)
	if err != nil {
		return "", err
	}
	made["status"] = status
	metadata, _ := made["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	uid, _ = metadata["uid"].(string)
	_, err = c.send(ctx, http.MethodPut, path+"/"+name+"/status", made)
	return uid, err
}

func (c *Crowd) send(ctx context.Context, method, path string, o object) (object, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode object: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("send %s: %w", path, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("send %s: %w", path, err)
	}
	defer res.Body.Close()
	var answer object
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("send %s: %w", path, err)
	}
	if res.StatusCode/100 != 2 {
		return nil, fmt.Errorf("send %s: %s: %v", path, res.Status, answer["message"])
	}
	return answer, nil
}

// definition is the Canary kind without its schema, which nobody checks here.
func definition() object {
	return object{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": object{"name": "canaries.flagger.app"},
		"spec": object{
			"group": "flagger.app", "scope": "Namespaced", "names": object{"kind": "Canary", "listKind": "CanaryList", "plural": "canaries", "singular": "canary"},
			"versions": []object{{
				"name": "v1beta1", "served": true, "storage": true,
				"schema": object{"openAPIV3Schema": object{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
			}},
		},
	}
}
