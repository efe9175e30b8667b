package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// recorded is the tape of a rollout that fails half of the canary's requests from its first traffic on.
func recorded(t *testing.T) policy.Tape {
	t.Helper()
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rules := policy.Default()
	r := rollout.New(rollout.Canary{Key: rollout.Key{Namespace: "demo", Name: "shop"}, Revision: rollout.Revision{Hash: "abc"}}, begin)
	tape := policy.Tape{Rollout: r, Rules: rules}
	for s := range uint64(20) {
		tick := rollout.Tick{
			At: begin.Add(time.Duration(s) * time.Second), Phase: rollout.Progressing, Weight: 10, Next: 25, Answering: 1,
			Canary: rollout.Counts{Good: 5 * s, Bad: 5 * s}, Primary: rollout.Counts{Good: 90 * s}, Health: rollout.Health{Pods: 1, Ready: 1},
		}
		policy.Advance(rules, &r, tick)
		tape.Ticks = append(tape.Ticks, rollout.Judge(tick, r.Verdict))
	}
	tape.Rollout = r
	return tape
}

func TestCommandsThatAskTheGatekeeper(t *testing.T) {
	dir := t.TempDir()
	tape := recorded(t)
	write := func(name string, content any) string {
		text, ok := content.(string)
		if !ok {
			encoded, err := json.Marshal(content)
			if err != nil {
				t.Fatal(err)
			}
			text = string(encoded)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	good := write("tape.json", tape)
	calm := write("calm.yaml", "name: calm\nconfidence: {block: 1m}\n")
	tape.Ticks[3].Tick.Canary.Bad = 0
	changed := write("changed.json", tape)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/why", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("canary") != "demo/shop" {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":"canary demo/none: unknown canary"}`)
			return
		}
		_ = json.NewEncoder(w).Encode(policy.Standing{
			Canary: tape.Rollout.Canary, Phase: rollout.Progressing, Weight: 10, Rollout: &tape.Rollout, Silent: 3,
			Gates: []policy.Gate{{Kind: policy.GateFreeze, Why: "frozen from Fri 16:00", OpensAt: time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)}},
		})
	})
	mux.HandleFunc("GET /api/v1/rollouts/{id}", func(w http.ResponseWriter, r *http.Request) {
		result := "promoted"
		if r.PathValue("id") == tape.Rollout.ID {
			result = ""
		}
		fmt.Fprintf(w, `{"id":%q,"canary":{"namespace":"demo","name":"shop"},"revision":{"hash":"abc","note":"CHG-7"},"result":%q,"endedAt":"2026-01-02T04:00:00Z","latest":{"age":0.5},"version":3}`, r.PathValue("id"), result)
	})
	mux.HandleFunc("POST /api/v1/rollouts/{id}/reject", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" || r.PathValue("id") != tape.Rollout.ID {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"a bearer token is needed"}`)
			return
		}
		fmt.Fprint(w, `{"canary":{"namespace":"demo","name":"shop"},"revision":{"hash":"abc"},"latest":{"age":0.5},"decisions":[{"kind":"reject","by":"ann","why":"no"}]}`)
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	try(t, map[string]command{
		"why":                            {[]string{"why", "demo/shop", "--server", server.URL}, "verdict: fail", ""},
		"why, with gates":                {[]string{"why", "demo/shop", "--server", server.URL}, "gate freeze     closed  frozen from Fri 16:00; opens at Mon 2026-01-05 08:00 UTC", ""},
		"why, for machines":              {[]string{"why", "demo/shop", "--server", server.URL, "--output", "json"}, `"flaggerAskedSecondsAgo":3`, ""},
		"why of a rollout that is over":  {[]string{"why", "demo-shop-old-1", "--server", server.URL}, "abc of demo/shop was promoted", ""},
		"why says what was noted":        {[]string{"why", "demo-shop-old-1", "--server", server.URL}, "note: CHG-7\n", ""},
		"why of a rollout under way":     {[]string{"why", tape.Rollout.ID, "--server", server.URL}, "verdict: fail", ""},
		"why of a Canary without a name": {[]string{"why", "demo/", "--server", server.URL}, "", "namespace/name"},
		"reject, for machines":           {[]string{"reject", "demo/shop", "--force", "--server", server.URL, "--token", "secret", "--output", "json"}, `"kind":"reject"`, ""},
		"reject in sight and by force":   {[]string{"reject", "demo/shop", "--force", "--version", "2"}, "", "can't be used together"},
		"why of a Canary that is none":   {[]string{"why", "demo/none", "--server", server.URL}, "", "unknown canary"},
		"why without a gatekeeper":       {[]string{"why", "demo/shop", "--server", "http://127.0.0.1:1"}, "", "port-forward"},
		"reject by the Canary":           {[]string{"reject", "demo/shop", "--by", "ann", "-r", "no", "--server", server.URL, "--token", "secret"}, "rejected by ann: no", ""},
		"reject without a token":         {[]string{"reject", tape.Rollout.ID, "--by", "ann", "--server", server.URL}, "", "refused (401): a bearer token is needed"},
		"replay gives the verdicts":      {[]string{"replay", good}, "20 verdicts by policy default, judged again by default: 0 differ", ""},
		"replay by another policy":       {[]string{"replay", good, "--policy", calm}, "in the end: recorded fail (slo), now hold (over-limit)", ""},
		"replay for machines":            {[]string{"replay", good, "--policy", calm, "--output", "json"}, `"policy":"calm"`, ""},
		"replay of a changed tape":       {[]string{"replay", changed}, "", "not those that were recorded"},
		"replay of nothing":              {[]string{"replay", dir + "/none", "--server", server.URL}, "", "there is no file"},
		"simulate":                       {[]string{"simulate", "--runs", "20", "--rps", "100", "--error-rate", "0.5", "--for", "30s", "--flagger"}, "Flagger alone, 10s × 10", ""},
		"simulate for machines":          {[]string{"simulate", "--runs", "5", "--for", "10s", "--output", "json"}, `"judge":"gatekeeper, policy default"`, ""},
		"simulate percent for a share":   {[]string{"simulate", "--error-rate", "2"}, "", "2 % is 0.02"},
	})
}

func TestTheSameSeedGivesTheSameResult(t *testing.T) {
	once := func() string {
		var out, errs bytes.Buffer
		if err := run(t.Context(), []string{"simulate", "--runs", "20", "--for", "60s", "--seed", "7", "--output", "json"}, &out, &errs); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if a, b := once(), once(); a != b {
		t.Errorf("%s\nand then\n%s", a, b)
	}
}
