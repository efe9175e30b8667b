package drill

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/report"
)

// rollout is what the proof reads of the gatekeeper's record.
type rollout struct {
	ID       string   `json:"id"`
	Revision revision `json:"revision"`
	Result   string   `json:"result"`
	Verdict  struct {
		Outcome string    `json:"outcome"`
		At      time.Time `json:"at"`
		Reasons []struct {
			Kind   string             `json:"kind"`
			Text   string             `json:"text"`
			Values map[string]float64 `json:"values"`
		} `json:"reasons"`
	} `json:"verdict"`
	Reported bool       `json:"reported"`
	Failing  []struct { // requests of the canary
		Trace string `json:"trace"`
	} `json:"failing"`
}

// reason is the strongest one, as a sentence.
func (r rollout) reason() string {
	if len(r.Verdict.Reasons) == 0 {
		return ""
	}
	return r.Verdict.Reasons[0].Text
}

// because reports whether the verdict has a reason of that kind.
func (r rollout) because(kind string) bool {
	for _, why := range r.Verdict.Reasons {
		if why.Kind == kind {
			return true
		}
	}
	return false
}

// blindAtIngress reports whether the verdict holds because the ingress's counts are old.
func (r rollout) blindAtIngress() bool {
	for _, why := range r.Verdict.Reasons {
		if _, old := why.Values["ingressAge"]; old && why.Kind == "blind" {
			return r.Verdict.Outcome == "hold"
		}
	}
	return false
}

// message is a notification as the receiver keeps it.
type message struct {
	At   time.Time
	Key  string   // a notification that is sent again has the key it had
	Body struct { // a CloudEvent
		Data struct {
			Event    string `json:"event"`
			Revision struct {
				DeployID string `json:"deployId"`
			} `json:"revision"`
		} `json:"data"`
	}
}

// call asks one of our own services and reads its JSON into answer, unless that is nil. Any other status than those
// listed is an error with the body's text.
func (d *Drill) call(ctx context.Context, method, service, port, path string, body, answer any, statuses ...int) error {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encode request for %s: %w", service, err)
		}
	}
	text, status, err := d.Kube.Service(ctx, method, d.System, service, port, path, raw)
	if err != nil {
		return err
	}
	for _, want := range statuses {
		if status != want {
			continue
		}
		if answer == nil {
			return nil
		}
		if err := json.Unmarshal(text, answer); err != nil {
			return fmt.Errorf("read answer of %s to %s %s: %w", service, method, path, err)
		}
		return nil
	}
	return fmt.Errorf("%s answered %s %s with %d: %s", service, method, path, status, strings.TrimSpace(string(text)))
}

// rollouts are the gatekeeper's records of our Canary that have the deploy id, the newest first.
func (d *Drill) rollouts(ctx context.Context, deployID string) ([]rollout, error) {
	var list struct {
		Rollouts []struct {
			ID string `json:"id"`
		} `json:"rollouts"`
	}
	chosen := url.Values{"canary": {d.Namespace + "/" + d.Name}, "deployId": {deployID}}
	if err := d.call(ctx, http.MethodGet, "gatekeeper", "people", "/api/v1/rollouts?"+chosen.Encode(), nil, &list, http.StatusOK); err != nil {
		return nil, err
	}
	all := make([]rollout, len(list.Rollouts))
	for i, short := range list.Rollouts {
		if err := d.call(ctx, http.MethodGet, "gatekeeper", "people", "/api/v1/rollouts/"+short.ID, nil, &all[i], http.StatusOK); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// entries reads the whole report.
func (d *Drill) report(ctx context.Context) ([]report.Entry, error) {
	text, status, err := d.Kube.Service(ctx, http.MethodGet, d.System, "gatekeeper", "people", "/deployment_report.md", nil)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("gatekeeper answered GET /deployment_report.md with %d: %s", status, text)
	}
	return report.Parse(string(text))
}

// messages are the notifications that were received, the oldest first. What is none of the gatekeeper's is left out.
func (d *Drill) messages(ctx context.Context) ([]message, error) {
	raw, err := d.received(ctx, "/")
	if err != nil {
		return nil, err
	}
	var list []message
	for _, r := range raw {
		m := message{At: r.At, Key: r.Headers.Get("Idempotency-Key")}
		if json.Unmarshal([]byte(r.Body), &m.Body) == nil {
			list = append(list, m)
		}
	}
	return list, nil
}

// posted is what was posted to the receiver.
type posted struct {
	At      time.Time   `json:"at"`
	Headers http.Header `json:"headers"`
	Body    string      `json:"body"`
}

// received is one of the receiver's lists, the oldest first.
func (d *Drill) received(ctx context.Context, path string) (list []posted, err error) {
	err = d.call(ctx, http.MethodGet, "receiver", "http", path, nil, &list, http.StatusOK)
	return list, err
}

// load is what became of the users' requests.
type load struct {
	Requests uint64            `json:"requests"`
	Codes    map[string]uint64 `json:"codes"` // by status, "0" without a complete answer
	EndedAt  *time.Time        `json:"endedAt"`
}

// failed are all requests whose answer was not 2xx.
func (l load) failed() uint64 {
	n := l.Requests
	for code, times := range l.Codes {
		if strings.HasPrefix(code, "2") {
			n -= times
		}
	}
	return n
}

// crowd is the load generator that plays the users.
func (d *Drill) crowd() string { return cmp.Or(d.Users, "loadgen") }

// users is the load of one scenario.
type users struct {
	d    *Drill
	name string
}

// startUsers lets users come through the ingress for as long as stop is not called, at most for duration.
func (d *Drill) startUsers(ctx context.Context, name string, duration time.Duration) (users, error) {
	return d.startUsersAt(ctx, d.Rate, name, duration)
}

// startUsersAt is startUsers with a rate of its own, in requests a second.
func (d *Drill) startUsersAt(ctx context.Context, rate float64, name string, duration time.Duration) (users, error) {
	get := func(path string) target {
		return target{Method: http.MethodGet, URL: d.Target + path, Header: http.Header{"Host": {d.Host}}}
	}
	return d.attack(ctx, "users-"+d.run+"-"+name, rate, duration, get("/api/items"), get("/"))
}

// target is one request as loadgen is told of it.
type target struct {
	Method string      `json:"method"`
	URL    string      `json:"url"`
	Header http.Header `json:"header"`
	Body   string      `json:"body,omitempty"`
}

// attack lets loadgen send the targets in turn, rate in requests a second.
func (d *Drill) attack(ctx context.Context, name string, rate float64, duration time.Duration, targets ...target) (users, error) {
	request := map[string]any{"name": name, "rate": rate, "duration": duration.String(), "targets": targets}
	return users{d: d, name: name}, d.call(ctx, http.MethodPost, d.crowd(), "http", "/api/v1/attacks", request, nil, http.StatusCreated)
}

// stop ends the load, also when ctx has ended, and returns the final counts. It may be called again.
func (u users) stop(ctx context.Context) (load, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 45*time.Second)
	defer cancel()
	if err := u.d.call(ctx, http.MethodDelete, u.d.crowd(), "http", u.path(), nil, nil, http.StatusOK); err != nil {
		return load{}, fmt.Errorf("stop users: %w", err)
	}
	return u.final(ctx)
}

// final waits until the load has ended and its last requests are answered.
func (u users) final(ctx context.Context) (load, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		l, err := u.now(ctx)
		if err == nil && l.EndedAt != nil {
			return l, nil
		}
		select {
		case <-ctx.Done():
			return l, errors.Join(fmt.Errorf("count users' requests: %w", ctx.Err()), err)
		case <-tick.C:
		}
	}
}

// now are the counts so far.
func (u users) now(ctx context.Context) (load, error) {
	var l load
	err := u.d.call(ctx, http.MethodGet, u.d.crowd(), "http", u.path(), nil, &l, http.StatusOK)
	return l, err
}

// lost is an error when the load generator does not know the load any more: it has been started anew, and nobody sends
// requests. While it does not answer nothing can be said.
func (u users) lost(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, oneCall)
	defer cancel()
	_, status, err := u.d.Kube.Service(ctx, http.MethodGet, u.d.System, u.d.crowd(), "http", u.path(), nil)
	if err != nil || status != http.StatusNotFound {
		return nil
	}
	return errors.New("the users are gone: the load generator died and was started again without their load")
}

func (u users) path() string { return "/api/v1/attacks/" + u.name }

// breakCanary sets a fault on every pod of the release, through each pod's own /chaos.
func (d *Drill) breakCanary(ctx context.Context, eyes *observer, plan string) error {
	pods, err := d.canaries(ctx, eyes.deployID)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		err := d.Kube.Forward(ctx, d.Namespace, pod.Name, appPort, func(base string) error {
			onset := time.Now()
			if _, err := callChaos(ctx, http.MethodPut, base, d.token, plan); err != nil {
				return err
			}
			eyes.mu.Lock()
			defer eyes.mu.Unlock()
			eyes.faulty(onset)
			return nil
		})
		if err != nil {
			return fmt.Errorf("set fault: %w", err)
		}
	}
	if len(pods) == 0 {
		return errors.New("set fault: there is no canary pod")
	}
	return nil
}

// canaries are the pods of the release with that deploy id that are to stay.
func (d *Drill) canaries(ctx context.Context, deployID string) ([]kube.Pod, error) {
	pods, err := d.Kube.Pods(ctx, d.Namespace, d.Name)
	return slices.DeleteFunc(pods, func(p kube.Pod) bool { return p.DeployID != deployID || p.Terminating }), err
}

// callChaos returns what /chaos answered with 200.
func callChaos(ctx context.Context, method, base, token, plan string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, base+"/chaos", strings.NewReader(plan))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	return send(request)
}

// send returns what was answered with 200.
func send(request *http.Request) ([]byte, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s gave %s: %s", request.Method, request.URL.Path, response.Status, text)
	}
	return text, err
}

// randomToken is a bearer token for one run.
func randomToken() string { return rand.Text() }
