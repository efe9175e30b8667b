package main

import (
	"encoding/json"
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
history) printf '%s' "$HELM_HISTORY" ;;
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
	g.deployed("v2")
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
