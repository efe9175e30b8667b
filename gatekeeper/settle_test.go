package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// standIn is a program helm with a history of three revisions: v1, v1 again, v2. Real Helm is in the proof on a cluster,
// make provedeploy.
const standIn = `#!/bin/sh
case "$1" in
history) [ -n "$HELM_HISTORY" ] || { echo "Error: release: not found" >&2; exit 1; }; printf '%s' "$HELM_HISTORY" ;;
get) id=v1; [ "$5" = 3 ] && id=v2
	printf 'kind: Deployment\nmetadata: {name: shop}\nspec: {template: {metadata: {annotations: {rollout.monitoring/deploy-id: %s}}}}\n' "$id" ;;
rollback) [ -z "$HELM_BROKEN" ] || { echo "Error: no permission" >&2; exit 1; }; echo "$*" >>"$HELM_LOG" ;;
esac
`

// withHelm puts the stand-in on the PATH and returns the file that has its rollbacks.
func withHelm(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "helm"), []byte(standIn), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":/bin:/usr/bin")
	t.Setenv("HELM_HISTORY", `[{"revision":1,"status":"superseded"},{"revision":2,"status":"superseded"},{"revision":3,"status":"deployed"}]`)
	t.Setenv("HELM_LOG", filepath.Join(bin, "log"))
	return filepath.Join(bin, "log")
}

func (g *gatekeeper) settle(log string, more ...string) (code int, said, rolledBack string) {
	var out, errs printed
	err := run(g.t.Context(), append([]string{"settle", "--server", "http://" + g.address, "--release", "shop", "-n", "demo"}, more...), &out, &errs)
	if said = out.String() + errs.String(); err != nil {
		code, said = exitCode(err), said+err.Error()
	}
	text, _ := os.ReadFile(log) // without a rollback there is none
	_ = os.Remove(log)
	return code, said, strings.TrimSpace(string(text))
}

// A release through the gatekeeper's own door: refused while it is under way, brought back once, and left alone after that.
func TestSettleFollowsTheGatekeeper(t *testing.T) {
	log := withHelm(t)
	g := newGatekeeper(t)
	g.deployed()
	w := g.wait(t.Context())
	w.until("has not begun with it")
	expect := func(what string, code int, says, helm string, more ...string) {
		t.Helper()
		if got, said, back := g.settle(log, more...); got != code || !strings.Contains(said, says) || back != helm {
			t.Errorf("%s: exit %d, helm %q, want %d and %q:\n%s", what, got, back, code, helm, said)
		}
	}
	expect("not begun", exitLate, "has not looked at v2 (hash-v2) yet", "")
	g.flows("v2", 50)
	w.until("fail  ")
	expect("under way", exitLate, "gatekeeper abort demo/shop", "", "--timeout", "10ms")
	g.rests(rollout.Failed)
	w.ends(2, "")

	expect("only asked", 0, "would be brought back to revision 2: Helm's revision 2 has the deploy id v1", "", "--dry-run")
	t.Setenv("HELM_BROKEN", "yes")
	expect("Helm fails", 1, "helm rollback shop -n demo: exit status 1: Error: no permission", "")
	t.Setenv("HELM_BROKEN", "")
	summary := filepath.Join(t.TempDir(), "summary")
	expect("rolled back", 0, "brought back to revision 2", "rollback shop 2 --namespace demo", "--in-actions", "--summary-file", summary)
	if text, err := os.ReadFile(summary); err != nil || !strings.Contains(string(text), "brought back to revision 2") {
		t.Errorf("the job's summary is %s, %v", text, err)
	}
	code, said, _ := g.settle(log, "--output", "json", "--canary", "demo/shop")
	if got := (settled{}); code != 0 || json.Unmarshal([]byte(said), &got) != nil || got.From != 3 || got.To != 2 || !got.Changed || got.DeployID != "v1" {
		t.Errorf("exit %d: %s", code, said)
	}
	t.Setenv("HELM_HISTORY", `[{"revision":4,"status":"deployed"}]`)
	expect("settled before", 0, "nothing to do: Helm's revision 4 is what the primary runs (deploy id v1)", "")
	t.Setenv("HELM_HISTORY", `[{"revision":3,"status":"deployed"}]`)
	expect("what the primary runs is pruned", exitBack, "--history-max", "")
	expect("no such Canary", 1, "unknown canary", "", "--canary", "demo/none")
	t.Setenv("PATH", t.TempDir())
	expect("no helm", 1, "install it: https://helm.sh", "")
}

// Nobody watches a release whose pipeline is gone: it is sent back all the same, from wherever it stands.
func TestSettleSendsBackWhatMustNotStay(t *testing.T) {
	const (
		deployed = `[{"revision":2,"status":"superseded"},{"revision":3,"status":"deployed"}]`
		killed   = `[{"revision":2,"status":"deployed"},{"revision":3,"status":"pending-upgrade"}]`
		failed   = `[{"revision":2,"status":"deployed"},{"revision":3,"status":"failed"}]`
		refused  = `[{"revision":2,"status":"deployed"}]`
	)
	cancelled := func(g *gatekeeper, at string) {
		ctx, cancel := context.WithCancelCause(g.t.Context())
		w := g.wait(ctx, "--abort-on-cancel", "--token", "a-pipeline's-token")
		w.until(at)
		cancel(errors.New("by GitHub"))
		w.ends(exitInterrupted, "")
	}
	begins := func(g *gatekeeper) { // Flagger, and takes it back as it is told
		g.flows("v2", 0)
		g.wait(g.t.Context()).until("aborted by pipeline")
		g.rests(rollout.Failed)
	}
	for name, c := range map[string]struct {
		history       string
		before, after func(*gatekeeper) // settle is called
		code          int
		says          string
		helm          string
		more          []string
	}{
		"cancelled before Flagger begins": {deployed, func(g *gatekeeper) { g.deployed(); cancelled(g, "has not begun") }, begins, 0, "back to revision 2", "rollback shop 2 --namespace demo", nil},
		"cancelled while it has traffic":  {deployed, func(g *gatekeeper) { g.flows("v2", 0); cancelled(g, " 10 %  ") }, begins, 0, "back to revision 2", "rollback shop 2 --namespace demo", nil},
		"nobody has waited yet":           {deployed, func(g *gatekeeper) { g.flows("v2", 0) }, begins, 0, "back to revision 2", "rollback shop 2 --namespace demo", nil},
		"helm upgrade was killed":         {killed, func(g *gatekeeper) { g.deployed() }, begins, 0, "back to revision 2", "rollback shop 2 --namespace demo", nil},
		"helm upgrade failed half way":    {failed, func(g *gatekeeper) { g.deployed() }, begins, 0, "back to revision 2", "rollback shop 2 --namespace demo", nil},
		"helm upgrade was refused":        {refused, nil, nil, 0, "nothing to do: Helm's newest revision 2 (deploy id v1)", "", nil},
		"helm install was refused":        {"", nil, nil, 0, "nothing to do", "", nil},
		"Flagger does not begin":          {deployed, func(g *gatekeeper) { g.deployed(); g.wait(g.t.Context()).until("has not begun") }, nil, exitLate, "has not begun with it", "", []string{"--timeout", "100ms"}},
		"it was promoted": {deployed, func(g *gatekeeper) {
			g.flows("v2", 0)
			g.wait(g.t.Context()).until("pass  ")
			g.rests(rollout.Succeeded)
		}, nil, exitBack, "the primary runs the release v2 already", "", nil},
		"who has no right to abort": {deployed, func(g *gatekeeper) { g.flows("v2", 0) }, nil, 1, "(401)", "", []string{"--token", ""}},
		"only asked":                {deployed, func(g *gatekeeper) { g.flows("v2", 0); g.wait(g.t.Context()).until(" 10 %  ") }, nil, 0, "would be aborted", "", []string{"--dry-run"}},
	} {
		t.Run(name, func(t *testing.T) {
			log := withHelm(t)
			t.Setenv("HELM_HISTORY", c.history)
			g := newGatekeeper(t)
			if c.before != nil {
				c.before(g)
			}
			ended := make(chan bool)
			go func() {
				defer close(ended)
				code, said, back := g.settle(log, append([]string{"--deploy-id", "v2", "--token", "a-pipeline's-token"}, c.more...)...)
				if code != c.code || !strings.Contains(said, c.says) || back != c.helm {
					t.Errorf("exit %d, helm %q, want %d, %q and %q:\n%s", code, back, c.code, c.helm, c.says, said)
				}
			}()
			if c.after != nil {
				c.after(g)
			}
			<-ended
		})
	}
}

// What is under way when it is looked at may be over when it is to be aborted.
func TestSettleOfARolloutThatEndsBeforeItsAbort(t *testing.T) {
	log := withHelm(t)
	t.Setenv("HELM_HISTORY", `[{"revision":2,"status":"superseded"},{"revision":3,"status":"deployed"}]`)
	g := newGatekeeper(t)
	g.flows("v2", 0)
	w := g.wait(t.Context())
	w.until(" 10 %  ")
	refused := 0
	through := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: g.address})
	through.ModifyResponse = func(resp *http.Response) error {
		if resp.Request.Method == http.MethodPost {
			refused = resp.StatusCode
		}
		return nil
	}
	door := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost { // the abort
			g.rests(rollout.Failed)
			w.ends(2, "")
		}
		through.ServeHTTP(rw, r)
	}))
	t.Cleanup(door.Close)
	code, said, back := g.settle(log, "--server", door.URL, "--deploy-id", "v2", "--token", "a-pipeline's-token")
	if code != 0 || back != "rollback shop 2 --namespace demo" || refused != http.StatusNotFound {
		t.Errorf("exit %d, helm %q, the abort was answered %d:\n%s", code, back, refused, said)
	}
}

// Whoever aborted may wait for the end.
func TestSettleWaitsForTheEndOfAnAbort(t *testing.T) {
	log := withHelm(t)
	g := newGatekeeper(t)
	w := g.wait(t.Context())
	g.flows("v2", 50)
	w.until("fail  ")
	ended := make(chan bool)
	go func() {
		defer close(ended)
		code, said, back := g.settle(log, "--timeout", "1m")
		if code != 0 || back == "" {
			t.Errorf("exit %d, helm %q: %s", code, back, said)
		}
	}()
	g.rests(rollout.Failed)
	<-ended
}
