package crowd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Requests a second of a Member's service, which its two versions share by the weight.
const memberRate = 1000

// The paths of a Member's objects.
const (
	deploymentsPath = "/apis/apps/v1/namespaces/" + Namespace + "/deployments"
	setsPath        = "/apis/apps/v1/namespaces/" + Namespace + "/replicasets"
	podsPath        = "/api/v1/namespaces/" + Namespace + "/pods"
	ingressesPath   = "/apis/networking.k8s.io/v1/namespaces/" + Namespace + "/ingresses"
	canariesPath    = "/apis/flagger.app/v1beta1/namespaces/" + Namespace + "/canaries"
)

// Member is one Canary of the crowd that somebody moves through releases, as Flagger would. Not safe for concurrent use.
type Member struct {
	crowd   *Crowd
	Name    string
	port    string // of all its pods
	target  deployment
	primary deployment
	weight  int
	// Annotations of the pod templates of its next versions.
	Annotations map[string]string
	// Address is that of a program whose /metrics are the pod's of the target's next versions; "": made-up counts.
	Address string
}

// deployment is one of a Member's two.
type deployment struct {
	name, uid string
	revision  int
	set       string // name of the newest
	pod       string // name of the one that serves, "" for none
	serves    *counter
}

// Join adds a Canary at rest, whose primary serves.
func (c *Crowd) Join(ctx context.Context, name string) (*Member, error) {
	address, err := serve(ctx, c.pods)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("read address of pods: %w", err)
	}
	m := &Member{crowd: c, Name: name, port: port, target: deployment{name: name}, primary: deployment{name: name + "-primary"}}
	for _, d := range []*deployment{&m.target, &m.primary} {
		d.uid, err = c.createWithStatus(ctx, deploymentsPath, object{
			"metadata": object{"name": d.name, "annotations": object{revisionAnnotation: "0"}},
			"spec": object{
				"replicas": 1, "selector": object{"matchLabels": object{"app": d.name}},
				"template": object{"metadata": object{"labels": object{"app": d.name}}, "spec": podSpec("begin")},
			},
		}, object{"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1})
		if err != nil {
			return nil, err
		}
		if err := m.roll(ctx, d, "begin", 0); err != nil {
			return nil, err
		}
	}
	if err := m.remove(ctx, &m.target); err != nil { // at rest it has no pods
		return nil, err
	}
	if err := c.create(ctx, ingressesPath, object{
		"metadata": object{"name": name + "-canary", "annotations": object{weightAnnotation: "0"}},
		"spec":     object{"defaultBackend": object{"service": object{"name": name, "port": object{"number": 80}}}},
	}); err != nil {
		return nil, err
	}
	m.share()
	return m, m.Create(ctx)
}

const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	weightAnnotation   = "nginx.ingress.kubernetes.io/canary-weight"
)

func podSpec(version string) object {
	return object{"containers": []object{{"name": "app", "image": "app:" + version}}}
}

// Create makes the Canary object, after a release that went well.
func (m *Member) Create(ctx context.Context) error {
	return m.crowd.create(ctx, canariesPath, object{
		"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": object{"name": m.Name},
		"spec": object{
			"targetRef": object{"apiVersion": "apps/v1", "kind": "Deployment", "name": m.Name}, "ingressRef": object{"name": m.Name},
			"analysis": object{"interval": "10s", "threshold": 10, "stepWeights": []int{10, 50, 100}},
		},
		"status": object{"phase": "Initialized", "canaryWeight": 0},
	})
}

// Delete takes the Canary object away, and its traffic.
func (m *Member) Delete(ctx context.Context) error {
	if _, err := m.crowd.send(ctx, http.MethodDelete, canariesPath+"/"+m.Name, nil); err != nil {
		return err
	}
	return m.turn(ctx, 0)
}

// Release gives the target a new version, whose share bad (0 to 1) of responses are errors, in place of the one before.
func (m *Member) Release(ctx context.Context, version string, bad float64) error {
	if err := m.remove(ctx, &m.target); err != nil {
		return err
	}
	return m.roll(ctx, &m.target, version, bad)
}

// Promote lets the primary run a version.
func (m *Member) Promote(ctx context.Context, version string) error {
	if err := m.remove(ctx, &m.primary); err != nil {
		return err
	}
	err := m.roll(ctx, &m.primary, version, 0)
	m.share()
	return err
}

// Rest takes the target's pod away.
func (m *Member) Rest(ctx context.Context) error { return m.remove(ctx, &m.target) }

// Move sets the Canary's phase and the share of traffic, in percent, that the target gets.
func (m *Member) Move(ctx context.Context, phase string, weight int) error {
	if err := m.turn(ctx, weight); err != nil {
		return err
	}
	_, err := m.crowd.send(ctx, http.MethodPatch, canariesPath+"/"+m.Name, object{"status": object{"phase": phase, "canaryWeight": weight}})
	return err
}

func (m *Member) turn(ctx context.Context, weight int) error {
	if weight == m.weight {
		return nil
	}
	_, err := m.crowd.send(ctx, http.MethodPatch, ingressesPath+"/"+m.Name+"-canary", object{"metadata": object{"annotations": object{weightAnnotation: fmt.Sprint(weight)}}})
	if err == nil {
		m.weight = weight
		m.share()
	}
	return err
}

// share lets both versions serve their part.
func (m *Member) share() {
	m.primary.serves.serve(memberRate * float64(100-m.weight) / 100)
	m.target.serves.serve(memberRate * float64(m.weight) / 100)
}

// roll gives a Deployment a new version with a ready pod that serves nothing yet. The set comes first: a Deployment whose
// set is not there has no version.
func (m *Member) roll(ctx context.Context, d *deployment, version string, bad float64) error {
	d.revision++
	hash := fmt.Sprintf("%s%d", version, d.revision)
	labels, set := object{"app": d.name, "pod-template-hash": hash}, d.name+"-"+hash
	annotations := object{"rollout.monitoring/deploy-id": version}
	for name, value := range m.Annotations {
		annotations[name] = value
	}
	owner := func(kind, name, uid string) []object {
		return []object{{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}}
	}
	uid, err := m.crowd.createWithStatus(ctx, setsPath, object{
		"metadata": object{"name": set, "labels": labels, "annotations": object{revisionAnnotation: fmt.Sprint(d.revision)}, "ownerReferences": owner("Deployment", d.name, d.uid)},
		"spec": object{
			"replicas": 1, "selector": object{"matchLabels": labels},
			"template": object{"metadata": object{"labels": labels, "annotations": annotations}, "spec": podSpec(version)},
		},
	}, object{"observedGeneration": 1, "replicas": 1, "readyReplicas": 1})
	if err != nil {
		return err
	}
	if _, err := m.crowd.send(ctx, http.MethodPatch, deploymentsPath+"/"+d.name, object{"metadata": object{"annotations": object{revisionAnnotation: fmt.Sprint(d.revision)}}}); err != nil {
		return err
	}
	if d.set != "" { // nobody goes back to old ones here
		if _, err := m.crowd.send(ctx, http.MethodDelete, setsPath+"/"+d.set, nil); err != nil {
			return err
		}
	}
	d.set = set
	now := time.Now()
	d.pod, d.serves = set+"-x", &counter{bad: bad, began: now, at: now}
	m.crowd.counters.Store("/"+d.pod, d.serves)
	_, err = m.crowd.createWithStatus(ctx, podsPath, object{
		"metadata": object{
			"name": d.pod, "labels": labels, "ownerReferences": owner("ReplicaSet", set, uid),
			"annotations": m.metrics(d),
		},
		"spec": podSpec(version),
	}, object{"phase": "Running", "podIP": "127.0.0.1", "conditions": []object{{"type": "Ready", "status": "True", "lastTransitionTime": now.UTC().Format(time.RFC3339)}}})
	return err
}

// metrics say where the newest pod of d shows its counts.
func (m *Member) metrics(d *deployment) object {
	_, port, err := net.SplitHostPort(m.Address)
	if err != nil || d != &m.target {
		return object{"prometheus.io/port": m.port, "prometheus.io/path": "/" + d.pod}
	}
	return object{"prometheus.io/port": port, "prometheus.io/path": "/metrics"}
}

// remove takes a Deployment's pod away.
func (m *Member) remove(ctx context.Context, d *deployment) error {
	if d.pod == "" {
		return nil
	}
	if _, err := m.crowd.send(ctx, http.MethodDelete, podsPath+"/"+d.pod+"?gracePeriodSeconds=0", nil); err != nil {
		return err
	}
	m.crowd.counters.Delete("/" + d.pod)
	d.pod = ""
	return nil
}

// counter is what a pod has served. Safe for concurrent use.
type counter struct {
	mu          sync.Mutex
	rate, bad   float64 // requests a second, and the share of them that fail
	good, wrong float64
	began, at   time.Time
}

func (n *counter) serve(rate float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count()
	n.rate = rate
}

func (n *counter) count() {
	now := time.Now()
	served := n.rate * now.Sub(n.at).Seconds()
	n.good, n.wrong, n.at = n.good+served*(1-n.bad), n.wrong+served*n.bad, now
}

func (n *counter) page(w io.Writer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count()
	fmt.Fprintf(w, "# TYPE http_requests_total counter\nhttp_requests_total{status=\"200\"} %.0f\nhttp_requests_total{status=\"500\"} %.0f\n"+
		"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %.3f\n", n.good, n.wrong, float64(n.began.UnixMilli())/1000)
}
