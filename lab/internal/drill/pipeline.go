package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// lastAnswer is how much later than everybody else the pipeline may learn how its release ended.
const lastAnswer = 30 * time.Second

// Waited is what `gatekeeper wait` made of a release, as it tells machines.
type Waited struct {
	Result   string `json:"result"`
	ExitCode int    `json:"exitCode"` // as it said, and as it ended
	Reason   string `json:"reason"`
}

// pipeline is the command that a pipeline runs beside its `helm upgrade`, with a way of its own to the gatekeeper that
// survives the gatekeeper's pod.
type pipeline struct {
	cancel context.CancelFunc
	work   sync.WaitGroup
	waited Waited
	err    error
}

// startPipeline lets `gatekeeper wait` wait for a release that may not be there yet.
func (d *Drill) startPipeline(ctx context.Context, deployID string) (*pipeline, error) {
	server, shut, err := d.door(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &pipeline{cancel: cancel}
	p.work.Go(func() {
		defer shut()
		p.waited, p.err = d.runWait(ctx, server, deployID)
	})
	return p, nil
}

// door opens a way to the gatekeeper's people's door for programs of this machine, until shut is called.
func (d *Drill) door(ctx context.Context) (url string, shut func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("open a way to the gatekeeper: %w", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(d.passOn), ReadHeaderTimeout: 10 * time.Second}
	var work sync.WaitGroup
	work.Go(func() { _ = server.Serve(listener) }) // it ends by Close
	return "http://" + listener.Addr().String(), func() { _ = server.Close(); work.Wait() }, nil
}

// passOn hands a request to the gatekeeper's people's door through the API server, as long as its client waits.
func (d *Drill) passOn(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	text, status, err := d.Kube.Service(r.Context(), r.Method, d.System, "gatekeeper", "people", r.URL.RequestURI(), body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that is gone wants no answer
}

func (d *Drill) runWait(ctx context.Context, server, deployID string) (Waited, error) {
	command := sh.Command(d.Gatekeeper, "wait", "--server", server, "--deploy-id", deployID, "--canary", d.Namespace+"/"+d.Name, "--timeout", patience.String(), "--output", "json")
	// A CI job that proves this is not the pipeline of the release.
	command.Env = []string{"GITHUB_ACTIONS=false", "ACTIONS_ID_TOKEN_REQUEST_URL="}
	out, err := command.Output(ctx)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var w Waited
	if bad := json.Unmarshal([]byte(lines[len(lines)-1]), &w); bad != nil {
		return w, errors.Join(fmt.Errorf("gatekeeper wait does not say how it ended: %w", bad), err)
	}
	code := 0
	var exit interface {
		error
		ExitCode() int
	}
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		return w, err
	}
	if code != w.ExitCode {
		return w, fmt.Errorf("gatekeeper wait says exit code %d and ends with %d", w.ExitCode, code)
	}
	return w, nil
}

// end waits until the pipeline knows how its release ended, and says what is wrong with that, "" for nothing.
func (p *pipeline) end(result string) (Waited, string) {
	late := time.AfterFunc(lastAnswer, p.cancel)
	p.work.Wait()
	late.Stop()
	code := map[string]int{promoted: 0, rolledBack: 2}[result]
	switch {
	case p.err != nil:
		return p.waited, "gatekeeper wait: " + p.err.Error()
	case p.waited.Result != result || p.waited.ExitCode != code:
		return p.waited, fmt.Sprintf("gatekeeper wait ended with %d (%s: %s), want %d (%s)", p.waited.ExitCode, p.waited.Result, p.waited.Reason, code, result)
	}
	return p.waited, ""
}

// stop ends it in any case.
func (p *pipeline) stop() {
	p.cancel()
	p.work.Wait()
}
