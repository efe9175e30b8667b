package flow

import (
	"slices"
	"strings"
	"testing"
)

// Lines as act 0.2.89 prints them, shortened.
const printed = `time="2026-01-02T03:04:05Z" level=warning msg="no docker"
{"jobID":"images","level":"info","msg":"Run Set up job","step":"Set up job","stepid":["--setup-job"]}
{"jobID":"images","arg":"sha256:aa","command":"set-output","msg":"::set-output:: app=sha256:aa","name":"app","stage":"Main","stepID":["images"]}
{"jobID":"images","stage":"Main","step":"Build and push","stepID":["images"],"stepResult":"success"}
{"jobID":"images","stage":"Post","step":"Build and push","stepID":["images"],"stepResult":"success"}
{"jobID":"images","jobResult":"success","msg":"Job succeeded"}
{"jobID":"deploy","msg":"\r\u001b[K  0s  moving\r\u001b[K  0s  \u001b[32m10 %\u001b[0m\n","raw_output":true,"stage":"Main","stepID":["rollout","wait"]}
{"jobID":"deploy","arg":"9 of 40 requests failed","command":"error","kvPairs":{"title":"release x: rolled-back"},"level":"error","msg":"!","stage":"Main","stepID":["rollout","wait"]}
{"jobID":"deploy","command":"summary","content":"## rolled back\n","stage":"Main","stepID":["rollout","wait"]}
{"jobID":"deploy","command":"summary","content":"settled\n","stage":"Main","stepID":["rollout","4"]}
{"jobID":"deploy","stage":"Main","step":"Wait","stepID":["rollout","wait"],"stepResult":"failure"}
{"jobID":"deploy","stage":"Main","step":"Release","stepID":["rollout"],"stepResult":"failure"}
{"jobID":"deploy","jobResult":"failure"}
`

func TestRead(t *testing.T) {
	var said []string
	r, err := Read(strings.NewReader(printed), func(job, text string) { said = append(said, job+": "+text) })
	if err != nil {
		t.Fatal(err)
	}
	if r.Jobs["images"] != "success" || r.Jobs["deploy"] != "failure" || len(r.Jobs) != 2 {
		t.Errorf("jobs %v", r.Jobs)
	}
	if got := r.Output("images", "images", "app"); got != "sha256:aa" {
		t.Errorf("output %q of %v", got, r.Outputs)
	}
	if got := r.Failed("deploy"); !slices.Equal(got, []string{"Release"}) {
		t.Errorf("failed %v", got)
	}
	if want := (Annotation{"deploy", "error", "release x: rolled-back", "9 of 40 requests failed"}); !slices.Equal(r.Annotations, []Annotation{want}) {
		t.Errorf("annotations %+v", r.Annotations)
	}
	if r.Summaries["deploy"] != "## rolled back\nsettled\n" {
		t.Errorf("summary %q", r.Summaries["deploy"])
	}
	if want := []string{"deploy: 0s  10 %", "deploy: !", "deploy: step failed: Wait", "deploy: step failed: Release"}; !slices.Equal(said, want) {
		t.Errorf("said %q", said)
	}
	if _, err := Read(strings.NewReader("{"), nil); err == nil {
		t.Error("half a line is read")
	}
}

func TestForeign(t *testing.T) {
	const sha = "3d3c42e5aac5ba805825da76410c181273ba90b1"
	got := Foreign([]byte("steps:\n  - uses: actions/checkout@"+sha+" # v7\n  - name: x\n    uses: a/b/c@"+sha+"\n  - uses: ./.github/actions/x\n"), []byte("- uses: actions/checkout@"+sha))
	if want := []string{"a/b/c@" + sha, "actions/checkout@" + sha}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}
