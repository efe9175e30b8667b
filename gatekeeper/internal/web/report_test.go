package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/report"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
)

func TestReports(t *testing.T) {
	h, r, cfg := newDoor(t, nil)
	if status, body := get(h, "/api/v1/rollouts/"+r.ID+"/report.md"); status != 200 || !strings.Contains(body, "| canary | 2 | abc | 4 | 3 | 1 | 75.00 |") {
		t.Errorf("entry of one under way: %d %s", status, body)
	}
	if status, body := get(h, "/deployment_report.md"); status != 404 || !strings.Contains(body, "no rollout has ended yet") {
		t.Errorf("before the first entry: %d %s", status, body)
	}
	if status, body := get(h, "/api/v1/rollouts/"+r.ID+"/chart.svg?palette=dark"); status != 200 || !strings.HasPrefix(body, "<svg ") {
		t.Errorf("chart of one under way: %d %.60s", status, body)
	}
	rules, _, err := policy.Default().Document()
	if err != nil {
		t.Fatal(err)
	}
	r.End(rollout.Promoted, rollout.Succeeded, r.StartedAt)
	body, err := json.Marshal(rollout.Account{Rollout: r, Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	change := rollout.Change{Rollout: r}
	for i := range entriesAtOnce + 1 {
		id := r.ID
		if i > 0 { // each rollout is closed once
			id = fmt.Sprint(id, i)
		}
		change.Entries = append(change.Entries, rollout.Entry{At: r.StartedAt, Kind: rollout.EntryRollout, Rollout: id, Body: body})
	}
	memory, ok := cfg.Desk.(*store.Store)
	if !ok {
		t.Fatalf("the desk is a %T", cfg.Desk)
	}
	if err := memory.Save(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	status, text := get(h, "/deployment_report.md")
	if n := strings.Count(text, report.Mark(r.ID)); status != http.StatusOK || !strings.HasPrefix(text, report.Heading) || n != entriesAtOnce+1 {
		t.Errorf("the whole report: %d with %d entries", status, n)
	}
	if status, body := get(h, "/api/v1/rollouts/"+r.ID+"/tape"); status != 200 || !strings.Contains(body, `"seq":1,`) {
		t.Errorf("the tape of a closed one has its place in the ledger: %d %.80s", status, body)
	}
	if status, body := get(h, "/api/v1/dora?canary=demo/podinfo"); status != 200 || !strings.Contains(body, `"changeFailureRate":`) {
		t.Errorf("delivery metrics: %d %s", status, body)
	}
}

// olderDesk has rollouts that were closed before there was a ledger.
type olderDesk struct {
	Desk
	ids []string
}

func (o olderDesk) Adopted(context.Context) ([]string, error) { return o.ids, nil }

func TestTheReportBeginsWithWhatWasClosedBeforeTheLedger(t *testing.T) {
	_, r, cfg := newDoor(t, nil)
	cfg.Desk = olderDesk{cfg.Desk, []string{r.ID}}
	status, text := get(New(cfg), "/deployment_report.md")
	if status != http.StatusOK || !strings.HasPrefix(text, report.Heading) || strings.Count(text, report.Mark(r.ID)) != 1 {
		t.Errorf("%d %s", status, text)
	}
}
