package drill

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/flow"
)

// What else becomes of a release: a first installation has nothing that it is compared with; nobody waits any more for one
// whose job was cancelled.
const (
	nothingToDo = "nothing-to-do"
	interrupted = "interrupted"
)

// note is who released it and why, as a person would type it.
const note = `proof $(touch note-ran) "quoted", with a comma`

// delivery is one run of the workflow, and what must become of it.
type delivery struct{ name, fault, result string }

// back reports whether the version before must serve in the end.
func (d delivery) back() bool { return d.result == rolledBack || d.result == interrupted }

// delivered is what was seen of one run.
type delivered struct {
	exit     int
	run      flow.Run
	asked    []string // of the stand-ins
	artifact []string // names of files
	helm     string   // deploy id in Helm's newest revision
	stands   standing
	imageIDs []string // of the primary's pods
	record   rollout  // the gatekeeper's, empty when there is none
	began    string   // after a rollback; "" is nothing
	users    load
}

// standing is how the Canary stands.
type standing struct {
	Phase    string    `json:"phase"`
	Rollout  *struct{} `json:"rollout"`
	Weight   int
	Revision revision `json:"revision"`
	Stable   revision `json:"stable"`
}

type revision struct {
	DeployID string `json:"deployId"`
	Image    string `json:"image"`
	Note     string `json:"note"`
}

// check is one line of the proof.
type check struct {
	what string
	ok   bool
	seen string
}

// checks compares one run of the workflow with what must come of it. Before is the run before it.
func checks(of delivery, before, now delivered) (all []check) {
	add := func(what string, ok bool, format string, args ...any) {
		all = append(all, check{what, ok, fmt.Sprintf(format, args...)})
	}
	output := func(name string) string { return now.run.Output("deploy", "rollout", name) }
	digest, id := now.run.Output("images", "images", "app"), output("deploy-id")
	good := !of.back()

	add("jobs test and images succeed", now.run.Jobs["test"] == "success" && now.run.Jobs["images"] == "success", "%v", now.run.Jobs)
	add("the images are signed by digest (stand-in)", signs(now.asked, digest), "%s", digest)
	add("job deploy ends as the release does", (now.run.Jobs["deploy"] == "success") == good && (now.exit == 0) == good, "%s, exit %d", now.run.Jobs["deploy"], now.exit)
	add("the step's outputs: result, deploy-id, canary", output("result") == of.result && id != "" && output("canary") != "", "%s %s %s", output("result"), id, output("canary"))
	state := map[string]string{rolledBack: "failure", interrupted: "error"}[of.result]
	if good {
		state = "success"
	}
	add("the commit's status (stand-in)", asks(now.asked, "state="+state), "%s", state)

	if of.result != nothingToDo {
		add("the rollout carries the note word for word", now.record.Revision.Note == note, "%s", now.record.Revision.Note)
		add("the rollout is of the image by its digest", digest != "" && strings.HasSuffix(now.record.Revision.Image, "@"+digest), "%s", now.record.Revision.Image)
		slices.Sort(now.artifact)
		kept := slices.Equal(now.artifact, []string{"chart.svg", "report.md", "rollout.json"})
		// Sent back with its first traffic it may have nothing to draw.
		kept = kept || of.result == interrupted && slices.Equal(now.artifact, []string{"report.md", "rollout.json"})
		add("entry, chart and sidecar are attached", kept, "%v", now.artifact)
	}
	if of.result == promoted || of.result == rolledBack {
		summary := now.run.Summaries["deploy"]
		add("the job's summary is the report entry", strings.Contains(summary, "| rollout | ") && strings.Contains(summary, "Traffic steps"), "%d bytes", len(summary))
	}
	if good {
		add("Helm's release and the primary are this one", now.helm == id && now.stands.Stable.DeployID == id, "%s", now.stands.Stable.DeployID)
		add("the primary's pods run that digest, pulled by the node", runs(now.imageIDs, digest), "%v", now.imageIDs)
		add("no request of the users failed", now.users.failed() == 0 && (of.result == nothingToDo || now.users.Requests > 0), "%d of %d", now.users.failed(), now.users.Requests)
		return all
	}
	why := annotation(now.run)
	if of.result == interrupted {
		add("the annotation says that it was sent back", why == "interrupted; the release was sent back", "%s", why)
		add("no request of the users failed", now.users.Requests > 0 && now.users.failed() == 0, "%d of %d", now.users.failed(), now.users.Requests)
	} else {
		add("the annotation is the verdict's first reason", why != "" && why == now.record.reason(), "%s", why)
		add("users met the fault only while it had traffic", now.users.Requests > 0 && now.users.failed() < now.users.Requests/20, "%d of %d failed", now.users.failed(), now.users.Requests)
	}
	add("Helm's release is back at what was promoted last", now.helm == before.helm && now.helm != id, "%s", now.helm)
	add("the primary and the target are of that release", now.stands.Stable.DeployID == before.helm && now.stands.Revision.DeployID == before.helm, "%s", now.stands.Revision.DeployID)
	add("phase Failed, canary weight 0", now.stands.Phase == "Failed" && now.stands.Weight == 0, "%s, %d", now.stands.Phase, now.stands.Weight)
	add(fmt.Sprintf("nothing begins in %d intervals of Flagger", intervals), now.began == "", "%s", now.began)
	return all
}

// asks reports whether a stand-in was asked for something with that word.
func asks(calls []string, word string) bool {
	return slices.ContainsFunc(calls, func(call string) bool { return slices.Contains(strings.Fields(call), word) })
}

// signs reports whether cosign was asked to sign only names with a digest, this one among them.
func signs(calls []string, digest string) bool {
	for _, call := range calls {
		rest, ok := strings.CutPrefix(call, "cosign sign --yes ")
		if !ok {
			continue
		}
		for _, image := range strings.Fields(rest) {
			if !strings.Contains(image, "@sha256:") {
				return false
			}
		}
		return digest != "" && strings.Contains(rest, "/app@"+digest)
	}
	return false
}

func runs(imageIDs []string, digest string) bool {
	return digest != "" && len(imageIDs) > 0 && !slices.ContainsFunc(imageIDs, func(id string) bool { return !strings.HasSuffix(id, "@"+digest) })
}

// annotation is the text of the only error, "" when there is none or there are several.
func annotation(r flow.Run) (text string) {
	for _, a := range r.Annotations {
		if a.Level == "error" && a.Job == "deploy" {
			if text != "" {
				return ""
			}
			text = a.Text
		}
	}
	return text
}
