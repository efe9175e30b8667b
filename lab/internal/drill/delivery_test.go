package drill

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/flow"
)

const digest = "sha256:aa"

// run is what is seen of a run that came out as it must.
func ran(result, id string) delivered {
	now := delivered{
		run: flow.Run{
			Jobs:      map[string]string{"test": "success", "images": "success", "deploy": "success", "report": "success"},
			Outputs:   map[string]string{"images/images/app": digest, "deploy/rollout/deploy-id": id, "deploy/rollout/result": result, "deploy/rollout/canary": "demo/podinfo"},
			Summaries: map[string]string{"deploy": "| rollout | x |\n### Traffic steps\n"},
		},
		asked:    []string{"cosign sign --yes r/app@" + digest + " r/loadgen@sha256:bb ", "gh api --silent repos/x --raw-field state=success "},
		artifact: []string{"report.md", "rollout.json", "chart.svg"},
		helm:     id, imageIDs: []string{"r/app@" + digest}, users: load{Requests: 1000, Codes: map[string]uint64{"200": 1000}},
	}
	now.stands.Phase, now.stands.Stable.DeployID, now.stands.Revision.DeployID = "Succeeded", id, id
	now.record.Revision = revision{DeployID: id, Image: "r/app:1@" + digest, Note: note}
	return now
}

func wentBack() delivered {
	now := ran(rolledBack, "v2")
	now.exit, now.run.Jobs["deploy"], now.asked[1] = 1, "failure", "gh api state=failure"
	now.run.Annotations = []flow.Annotation{{Job: "deploy", Level: "error", Title: "release v2", Text: "5 of 20 failed"}}
	now.record.Verdict.Reasons = append(now.record.Verdict.Reasons, struct {
		Kind   string             `json:"kind"`
		Text   string             `json:"text"`
		Values map[string]float64 `json:"values"`
	}{Text: "5 of 20 failed"})
	now.helm, now.stands.Phase, now.stands.Stable.DeployID, now.stands.Revision.DeployID = "v1", "Failed", "v1", "v1"
	now.users.Codes = map[string]uint64{"200": 980, "500": 20}
	return now
}

func cancelled() delivered {
	now := wentBack()
	now.run.Outputs["deploy/rollout/result"], now.asked[1] = interrupted, "gh api state=error"
	now.run.Annotations[0].Text, now.users.Codes = "interrupted; the release was sent back", map[string]uint64{"200": 1000}
	return now
}

func misses(of delivery, now delivered) (what []string) {
	for _, c := range checks(of, ran(promoted, "v1"), now) {
		if !c.ok {
			what = append(what, c.what)
		}
	}
	return what
}

func TestChecks(t *testing.T) {
	first, good, bad, gone := delivery{result: nothingToDo}, delivery{result: promoted}, delivery{result: rolledBack}, delivery{result: interrupted}
	for name, c := range map[string]struct {
		of     delivery
		now    delivered
		change func(*delivered)
		misses string
	}{
		"first":                          {first, ran(nothingToDo, "v2"), func(d *delivered) { d.record, d.artifact, d.users = rollout{}, nil, load{} }, "[]"},
		"good":                           {good, ran(promoted, "v2"), func(*delivered) {}, "[]"},
		"bad":                            {bad, wentBack(), func(*delivered) {}, "[]"},
		"cancelled":                      {gone, cancelled(), func(*delivered) {}, "[]"},
		"cancelled and not sent back":    {gone, cancelled(), func(d *delivered) { d.run.Annotations[0].Text = "interrupted" }, "was sent back"},
		"cancelled and users noticed":    {gone, cancelled(), func(d *delivered) { d.users.Codes = nil }, "no request"},
		"a request fails":                {good, ran(promoted, "v2"), func(d *delivered) { d.users.Codes = map[string]uint64{"200": 999} }, "no request of the users failed"},
		"nobody came":                    {good, ran(promoted, "v2"), func(d *delivered) { d.users = load{} }, "no request of the users failed"},
		"another image":                  {good, ran(promoted, "v2"), func(d *delivered) { d.imageIDs = append(d.imageIDs, "r/app@sha256:cc") }, "run that digest"},
		"no image":                       {good, ran(promoted, "v2"), func(d *delivered) { delete(d.run.Outputs, "images/images/app") }, "signed by digest"},
		"signed by tag":                  {good, ran(promoted, "v2"), func(d *delivered) { d.asked[0] += "r/gatekeeper:1" }, "signed by digest"},
		"the note was run":               {good, ran(promoted, "v2"), func(d *delivered) { d.record.Revision.Note = "proof" }, "word for word"},
		"the chart is missing":           {good, ran(promoted, "v2"), func(d *delivered) { d.artifact = d.artifact[:2] }, "are attached"},
		"a bad release that ends well":   {bad, wentBack(), func(d *delivered) { d.exit, d.run.Jobs["deploy"] = 0, "success" }, "ends as the release does"},
		"another reason":                 {bad, wentBack(), func(d *delivered) { d.run.Annotations[0].Text = "failed" }, "first reason"},
		"two errors":                     {bad, wentBack(), func(d *delivered) { d.run.Annotations = slices.Repeat(d.run.Annotations, 2) }, "first reason"},
		"Helm was not brought back":      {bad, wentBack(), func(d *delivered) { d.helm = "v2" }, "is back at"},
		"something began":                {bad, wentBack(), func(d *delivered) { d.began = "phase Progressing" }, "nothing begins"},
		"the weight is not taken back":   {bad, wentBack(), func(d *delivered) { d.stands.Weight = 10 }, "canary weight 0"},
		"users met the fault for a long": {bad, wentBack(), func(d *delivered) { d.users.Codes = map[string]uint64{"200": 900} }, "only while it had traffic"},
	} {
		c.change(&c.now)
		if got := fmt.Sprint(misses(c.of, c.now)); !strings.Contains(got, c.misses) {
			t.Errorf("%s: misses %s, want %q", name, got, c.misses)
		}
	}
}
