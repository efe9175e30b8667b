package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/ledger/ledgertest"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
)

// keep makes a ledger of two rollouts that have ended and one that has not, and gives the sidecar of the first.
func keep(t *testing.T, memory *store.Store) (sidecar []byte) {
	t.Helper()
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	good := ledgertest.Closed("good", begin, 0, judge())
	for _, c := range []rollout.Change{good, ledgertest.Closed("bad", begin.Add(time.Hour), 7, judge()), ledgertest.Open("open", begin.Add(2*time.Hour), 0, judge())} {
		if err := memory.Save(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := memory.Entries(t.Context(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	tape, err := policy.TapeOf(entries[0])
	if err != nil {
		t.Fatal(err)
	}
	tape.Ticks = good.Ticks
	if sidecar, err = json.MarshalIndent(tape, "", "  "); err != nil {
		t.Fatal(err)
	}
	return sidecar
}

func TestVerifyBackupAndRestore(t *testing.T) {
	dir, empty := t.TempDir(), t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	memory, err := store.Open(t.Context(), filepath.Join(dir, databaseName))
	if err != nil {
		t.Fatal(err)
	}
	text := string(keep(t, memory))
	sidecar := write("sidecar.json", text)
	wrong := write("wrong.json", strings.Replace(text, `"bad": 0`, `"bad": 1`, 1))
	tick := write("tick.json", text[:strings.LastIndex(text, `"good": 300`)]+`"good": 301`+text[strings.LastIndex(text, `"good": 300`)+11:])
	rule := write("rule.json", strings.Replace(text, `"Objective": 99.5`, `"Objective": 99.6`, 1))
	other := write("other.json", strings.ReplaceAll(text, `"id": "demo-podinfo-good`, `"id": "demo-podinfo-else`))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/ledger", func(w http.ResponseWriter, r *http.Request) { _ = memory.WriteLedger(r.Context(), w) })
	mux.HandleFunc("GET /api/v1/backup", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer operator" {
			http.Error(w, `{"error":"a bearer token is needed"}`, http.StatusUnauthorized)
			return
		}
		_ = memory.WriteBackup(r.Context(), w)
	})
	mux.HandleFunc("GET /cut/api/v1/backup", func(w http.ResponseWriter, r *http.Request) {
		all := &bytes.Buffer{}
		_ = memory.WriteBackup(r.Context(), all)
		_, _ = w.Write(all.Bytes()[:all.Len()-10])
	})
	door := httptest.NewServer(mux)
	defer door.Close()
	at := func(args ...string) []string { return append(args, "--server", door.URL) }
	backup := filepath.Join(dir, "backup")

	try(t, map[string]command{
		"the ledger of a gatekeeper":       {at("verify"), "120 verdicts judged again", ""},
		"as JSON":                          {at("verify", "--output", "json"), `{"fits":true,`, ""},
		"a sidecar that is the ledger's":   {at("verify", sidecar), "1 sidecars", ""},
		"a figure in a sidecar":            {at("verify", wrong), "", "rollout.before.bad: written is 1, it should be 0, as the ledger has it"},
		"a rule in a sidecar":              {at("verify", rule), "", "rules.SLO.Objective: written is 99.6, it should be 99.5"},
		"a tick in a sidecar":              {at("verify", tick), "", "ticks[20].tick.canary.good: written is 301, it should be 300"},
		"a sidecar of another ledger":      {at("verify", other), "", "demo-podinfo-else"},
		"a sidecar by itself":              {[]string{"verify", "--alone", sidecar}, "60 verdicts judged again", ""},
		"a tick in a sidecar by itself":    {[]string{"verify", "--alone", tick}, "", "ticks[20].digest"},
		"no sidecar":                       {at("verify", write("text.json", "{}")), "", "names no rollout"},
		"alone with nothing":               {[]string{"verify", "--alone"}, "", "name some"},
		"the file of one that runs":        {[]string{"verify", "--data", dir}, "", "another gatekeeper has the file open"},
		"no gatekeeper there":              {[]string{"verify", "--server", "http://127.0.0.1:1"}, "", "is --server right"},
		"a folder without a ledger":        {[]string{"verify", "--data", empty}, "", "no such file"},
		"a backup without the right":       {at("backup", backup), "", "a bearer token is needed"},
		"a backup that was cut off":        {[]string{"backup", backup, "--server", door.URL + "/cut"}, "", "is not complete"},
		"restore without a place":          {[]string{"restore", sidecar}, "", "say where to"},
		"what is no backup can not be one": {[]string{"restore", sidecar, "--data", t.TempDir()}, "", "no ledger's file"},
		"an empty file":                    {at("verify", write("nothing", "")), "", "read sidecar"},
	})
	if _, err := os.Stat(backup); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a backup that failed left a file: %v", err)
	}
	try(t, map[string]command{"a backup": {at("backup", backup, "--token", "operator"), "5 entries and 1 rollouts without one", ""}})
	if err := memory.Close(); err != nil {
		t.Fatal(err)
	}
	text2, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	unused := t.TempDir()
	forged := write("forged", strings.Replace(string(text2), `\"by\":\"ann\"`, `\"by\":\"bob\"`, 1))
	try(t, map[string]command{
		"a backup that fits":         {[]string{"verify", backup}, "1 rollouts without an entry yet", ""},
		"a sidecar with a backup":    {[]string{"verify", backup, sidecar}, "1 sidecars", ""},
		"two backups":                {[]string{"verify", backup, forged}, "", "one backup at a time"},
		"a backup that was changed":  {[]string{"verify", forged}, "", "entry 1 (rollout demo-podinfo-good-1767323045) does not fit at hash"},
		"the file of one that ended": {[]string{"verify", "--data", dir}, "2 rollouts closed", ""},
		"over a ledger":              {[]string{"restore", backup, "--data", dir}, "", "there is a ledger already"},
		"a changed backup":           {[]string{"restore", forged, "--data", unused}, "", "nothing is restored"},
		"a backup restored":          {[]string{"restore", backup, "--data", empty}, "restored", ""},
	})
	if left, err := os.ReadDir(unused); err != nil || len(left) != 0 {
		t.Errorf("a backup that does not fit leaves %v behind: %v", left, err)
	}
	database, err := os.ReadFile(filepath.Join(dir, databaseName))
	if err != nil {
		t.Fatal(err)
	}
	listed := t.TempDir() // another weight in what lists show, of which the ledger's hashes know nothing
	database = regexp.MustCompile(`"weight":\d(\d*),"canaryRequests"`).ReplaceAll(database, []byte(`"weight":7$1,"canaryRequests"`))
	if err := os.WriteFile(filepath.Join(listed, databaseName), database, 0o600); err != nil {
		t.Fatal(err)
	}
	try(t, map[string]command{
		"a list that was changed": {[]string{"verify", "--data", listed}, "", "entry 2 (rollout demo-podinfo-good-1767323045) does not fit at list.brief.weight: written is 7"},
	})
	try(t, map[string]command{"what was restored": {[]string{"verify", "--data", empty, sidecar}, "2 rollouts closed", ""}})

	var out, errs bytes.Buffer
	if err := run(t.Context(), []string{"verify", forged, "--output", "json"}, &out, &errs); exitCode(err) != exitMisfit || !strings.Contains(out.String(), `"misfit":{"seq":1,`) {
		t.Errorf("code %d, %v: %s", exitCode(err), err, out.String())
	}
}
