package static

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"go/constant"
	"go/token"
	"go/types"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
)

const gated = ".github/actions/gated-rollout"

// sheet makes a file below dir.
func sheet(t *testing.T, dir, name, text string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// borrow copies a file of the repository to the same place below dir.
func borrow(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		sheet(t, dir, name, string(text), 0o755)
	}
}

// bash runs a command line in dir with no environment but PATH and env; programs in dir/bin come first.
func bash(t *testing.T, dir, line string, env ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bash", "-c", line)
	command.Dir = dir
	command.Env = append([]string{"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	out, err := command.CombinedOutput()
	return string(out), err
}

// GitHub interrupts a cancelled step's first process and no other (actions/runner). The release is only sent back if that
// process is the gatekeeper, through the shell of the step and the script of the action.
func TestACancelledStepSendsTheReleaseBack(t *testing.T) {
	dir := t.TempDir()
	binary := build(t, "gatekeeper")
	asked, aborted := make(chan bool, 100), make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			aborted <- r.URL.Path
		case r.FormValue("seen") != "":
			asked <- true
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, `{"state":"under-way","mark":"1","text":"on its way","canary":{"namespace":"demo","name":"shop"},"rollout":{"id":"r1","weight":10}}`)
	}))
	defer server.Close()
	folder, err := filepath.Abs(filepath.Join(root, gated))
	if err != nil {
		t.Fatal(err)
	}
	sheet(t, dir, "step.sh", readSteps(t)["wait"].Run, 0o600)
	outputs := filepath.Join(dir, "outputs")
	step := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc", "-e", "-o", "pipefail", filepath.Join(dir, "step.sh"))
	step.Env = []string{
		"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH"), "GITHUB_ACTION_PATH=" + folder, "GITHUB_ACTIONS=true", "GITHUB_OUTPUT=" + outputs,
		"GATEKEEPER_SERVER=" + server.URL, "DEPLOY_ID=v2", "CANARY=demo/shop", "TIMEOUT=1m", "EXPECT=promoted",
	}
	step.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said bytes.Buffer
	step.Stdout, step.Stderr = &said, &said
	if err := step.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-asked:
	case <-t.Context().Done():
	}
	if err := step.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = step.Wait() // its exit code is looked at
	text, _ := os.ReadFile(outputs)
	select {
	case where := <-aborted:
		if where != "/api/v1/rollouts/r1/abort" || step.ProcessState.ExitCode() != 130 || !strings.Contains(string(text), "\ninterrupted\n") {
			t.Errorf("posted to %s, exit %d, outputs %s, said\n%s", where, step.ProcessState.ExitCode(), text, said.String())
		}
	default:
		t.Errorf("nothing was sent back; exit %d, said\n%s", step.ProcessState.ExitCode(), said.String())
	}
}

// readSteps are the steps of the action, by their ids.
func readSteps(t *testing.T) map[string]step {
	t.Helper()
	steps := map[string]step{}
	for _, one := range readFlow(t, gated+"/action.yml").Runs.Steps {
		steps[one.ID] = one
	}
	return steps
}

// Flagger begins with whatever has reached the cluster. So a release that ended badly is sent back also where its upgrade failed, or
// nobody came to wait for it, and one that is decided or goes on is left alone.
func TestTheActionSendsBackWhatNobodyWatches(t *testing.T) {
	settle := readFlow(t, gated+"/action.yml").Runs.Steps
	last := settle[len(settle)-1]
	if !strings.HasPrefix(last.If, "always() && ") || !strings.Contains(last.Run, `gatekeeper settle `) || !strings.Contains(last.Run, `--deploy-id "$DEPLOY_ID"`) || last.Env["DEPLOY_ID"] != "${{ inputs.deploy-id }}" {
		t.Errorf("the last step is %+v", last)
	}
	lists := regexp.MustCompile(`contains\(fromJSON\('(\[[^']*\])'\), (steps\.[a-z.]+)\)`)
	for _, c := range []struct {
		upgrade, result string
		want            bool
	}{
		{"skipped", "", false},
		{"failure", "", true},
		{"cancelled", "", true},
		{"success", "", true},
		{"success", "interrupted", true},
		{"success", "aborted", true},
		{"success", "rolled-back", true},
		{"success", "promoted", false},
		{"success", "nothing-to-do", false},
		{"success", "superseded", false},
		{"success", "timeout", false},
		{"success", "stuck", false},
		{"success", "error", false},
	} {
		values := map[string]string{"steps.upgrade.outcome": c.upgrade, "steps.wait.outputs.result": c.result}
		expression := lists.ReplaceAllStringFunc(last.If, func(one string) string {
			part := lists.FindStringSubmatch(one)
			return strconv.FormatBool(strings.Contains(part[1], strconv.Quote(values[part[2]])))
		})
		expression = strings.NewReplacer("always()", "true", "inputs.settle == 'true'", "true", "steps.wait.outputs.result == ''", strconv.FormatBool(c.result == "")).Replace(expression)
		got, err := types.Eval(token.NewFileSet(), nil, token.NoPos, expression) // the same grammar by now
		if err != nil || got.Value == nil || constant.BoolVal(got.Value) != c.want {
			t.Errorf("upgrade %s, wait %q: %s is %v, %v; want %v", c.upgrade, c.result, expression, got.Value, err, c.want)
		}
	}
}

// What is installed is what the checksums of the release and GitHub's attestation say, or nothing.
func TestTheActionInstallsNothingThatIsNotVerified(t *testing.T) {
	if runtime.GOARCH != "amd64" || runtime.GOOS != "linux" {
		t.Skip("the archives of this test are for linux_amd64")
	}
	const archive = "gatekeeper_1.2.3_linux_amd64.tar.gz"
	packed := packed(t, "gatekeeper", "#!/bin/sh\necho gatekeeper 1.2.3\n")
	sum := sha256.Sum256(packed)
	good := hex.EncodeToString(sum[:]) + "  " + archive + "\n"
	for name, c := range map[string]struct {
		sums, attestation, given string
		ok                       bool
		says                     string
	}{
		"a release":                         {good, "exit 0", "", true, "gatekeeper 1.2.3"},
		"other bytes than the checksum's":   {strings.Repeat("0", 64) + "  " + archive + "\n", "exit 0", "", false, "FAILED"},
		"no checksum of it":                 {"\n", "exit 0", "", false, ""},
		"not attested":                      {good, "echo no attestation; exit 1", "", false, "no attestation"},
		"a binary that the workflow brings": {"", "exit 1", "bin/own", true, "own"},
		"no such release yet":               {"", "exit 0", "", false, "has no release v1.2.3 with gatekeeper_1.2.3_linux_amd64.tar.gz"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			borrow(t, dir, gated+"/install")
			sheet(t, dir, "VERSION", "1.2.3\n", 0o644)
			sheet(t, dir, "release/"+archive, string(packed), 0o644)
			sheet(t, dir, "release/checksums.txt", c.sums, 0o644)
			sheet(t, dir, "bin/helm", "#!/bin/sh\n", 0o755)
			sheet(t, dir, "bin/own", "#!/bin/sh\necho own\n", 0o755)
			sheet(t, dir, "bin/gh", "#!/bin/sh\ncase \"$1 $2 $3$6$7\" in\n\"release download v1.2.3\"*) test -s "+dir+"/release/checksums.txt && cp "+dir+"/release/* . ;;\n\"attestation verify "+archive+"--signer-workflowrollout-monitoring/microservice_rollout_monitoring/.github/workflows/release.yml\") "+c.attestation+" ;;\n*) echo \"gh $*\"; exit 2 ;;\nesac\n", 0o755)
			out, err := bash(t, dir, gated+"/install", "RUNNER_TEMP="+dir+"/temp", "GITHUB_PATH="+dir+"/path", "GITHUB_ACTION_PATH="+dir+"/"+gated, "GATEKEEPER="+c.given, "REPOSITORY=")
			path, _ := os.ReadFile(filepath.Join(dir, "path"))
			if (err == nil) != c.ok || (len(path) > 0) != c.ok || !strings.Contains(out, c.says) {
				t.Errorf("%v, on the PATH %q, said\n%s", err, path, out)
			}
		})
	}
}

// packed is an archive with one program in it.
func packed(t *testing.T, name, text string) []byte {
	t.Helper()
	var file bytes.Buffer
	zipper := gzip.NewWriter(&file)
	writer := tar.NewWriter(zipper)
	err := writer.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))})
	if err == nil {
		_, err = writer.Write([]byte(text))
	}
	for _, end := range []func() error{writer.Close, zipper.Close} {
		if err == nil {
			err = end()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// Each line is one argument, whatever is in it: what a person typed as a note sets no other value.
func TestTheActionHandsValuesOverAsTheyAre(t *testing.T) {
	dir := t.TempDir()
	borrow(t, dir, gated+"/upgrade")
	sheet(t, dir, "bin/helm", "#!/bin/sh\nprintf '%s\\n' \"$@\"\n", 0o755)
	out, err := bash(t, dir, gated+"/upgrade", "CHART=helm/shop", "RELEASE=shop", "NAMESPACE=demo", "VALUES=a b.yaml\n\nc.yaml\n", "SET=note=now, image.tag=evil {x} $(y)\n\nimage.tag=1.10\n", "DEPLOY_ID=d-1", "DEPLOY_ID_VALUE=shop.deployId")
	want := strings.Join([]string{
		"upgrade", "--install", "shop", "helm/shop", "--namespace", "demo", "--values", "a b.yaml", "--values", "c.yaml",
		"--set-literal", "note=now, image.tag=evil {x} $(y)", "--set-literal", "image.tag=1.10", "--set-literal", "shop.deployId=d-1", "",
	}, "\n")
	if err != nil || out != want {
		t.Errorf("%v, helm got\n%s want\n%s", err, out, want)
	}
}

// A chart that was checked out has no charts/ folder. Where Helm misses nothing, as with a link in charts/, nothing is fetched.
func TestTheActionFetchesWhatTheChartDependsOn(t *testing.T) {
	for status, want := range map[string]string{"missing": "dependency build chart\nupgrade ", "unpacked": "upgrade "} {
		dir := t.TempDir()
		borrow(t, dir, gated+"/upgrade")
		sheet(t, dir, "chart/Chart.yaml", "name: shop\n", 0o644)
		sheet(t, dir, "bin/helm", "#!/bin/sh\nif [ \"$1 $2\" = 'dependency list' ]; then printf 'NAME\\tSTATUS \\nmissing-things\\t"+status+"\\n\\n'; else echo \"$@\" >>asked; fi\n", 0o755)
		out, err := bash(t, dir, gated+"/upgrade", "CHART=chart", "RELEASE=shop", "NAMESPACE=demo", "VALUES=", "SET=", "DEPLOY_ID=d-1", "DEPLOY_ID_VALUE=deployId")
		asked, _ := os.ReadFile(filepath.Join(dir, "asked"))
		if err != nil || !strings.HasPrefix(string(asked), want) {
			t.Errorf("%s: %v, said %s; helm was asked\n%s", status, err, out, asked)
		}
	}
}

func TestTheActionRefusesAnotherExpectation(t *testing.T) {
	dir := t.TempDir()
	borrow(t, dir, gated+"/wait")
	if out, err := bash(t, dir, gated+"/wait", "EXPECT=maybe"); err == nil || !strings.Contains(out, `"maybe": it must be promoted or rolled-back`) {
		t.Errorf("%v, said %s", err, out)
	}
}

// The trace is that of the run in the OpenTelemetry collector's githubreceiver (newTraceID, newParentSpanID): SHA-256 of run and
// attempt with a letter.
func TestWhatTheChartIsToldOfARelease(t *testing.T) {
	dir := t.TempDir()
	borrow(t, dir, "hack/release-values")
	if out, err := bash(t, dir, "git init -q . && git -c user.name=a -c user.email=a@example commit -q --allow-empty -m x --date 2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	hash := func(text string) string { sum := sha256.Sum256([]byte(text)); return hex.EncodeToString(sum[:]) }
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"nothing is known":       {nil, ""},
		"a run of GitHub":        {[]string{"GITHUB_RUN_ID=42", "GITHUB_RUN_ATTEMPT=3"}, "traceparent=00-" + hash("423t")[:32] + "-" + hash("423s")[16:32] + "-01\n"},
		"a trace of Jenkins":     {[]string{"TRACEPARENT=00-a-b-01"}, "traceparent=00-a-b-01\n"},
		"a note":                 {[]string{"NOTE=Ann, because\nimage.tag=evil\r\n"}, "note=Ann, because image.tag=evil\n"},
		"a note that is long":    {[]string{"NOTE=" + strings.Repeat("x", 400)}, "note=" + strings.Repeat("x", 300) + "\n"},
		"a long note of umlauts": {[]string{"LC_ALL=C", "NOTE=" + strings.Repeat("ü", 400)}, "note=" + strings.Repeat("ü", 300) + "\n"},
		"a note of blank text":   {[]string{"NOTE=\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := bash(t, dir, "hack/release-values", c.env...)
			commit, rest, _ := strings.Cut(out, "\n")
			when, rest, _ := strings.Cut(rest, "\n")
			if err != nil || len(commit) != len("commit=")+40 || !strings.HasPrefix(when, "commitTime=2026-01-02T03:04:05") || rest != c.want {
				t.Errorf("%v, said\n%s want\n%s", err, out, c.want)
			}
		})
	}
}

func TestTheVersionIsWrittenEverywhere(t *testing.T) {
	dir := t.TempDir()
	borrow(t, dir, "hack/version", "helm/podinfo-like/Chart.yaml", "helm/rollout-canary/Chart.yaml")
	sheet(t, dir, "VERSION", "0.2.0\n", 0o644)
	sheet(t, dir, "CHANGELOG.md", "# Changes\n\n## 0.2.0\n\n- second\n\n## 0.1.0 (commit abc)\n\n- first\n", 0o644)
	for _, c := range []struct {
		line string
		ok   bool
		says string
	}{
		{"hack/version notes", true, "- second\n\n"},
		{"hack/version check v0.2.0", true, ""},
		{"hack/version check v0.3.0", false, `the tag is "v0.3.0", but VERSION says 0.2.0`},
		{"hack/version set three", false, `"three" is no version`},
		{"hack/version set 0.3.0", true, ""},
		{"hack/version set 0.3.0", true, ""}, // once more changes nothing
		{"cat VERSION", true, "0.3.0\n"},
		{"head -5 CHANGELOG.md", true, "# Changes\n\n## 0.3.0\n\n## 0.2.0\n"},
		{"grep -hE '^(version|appVersion):|file:' helm/*/Chart.yaml | grep -vc 0.3.0", false, "0\n"},
		{"hack/version check v0.3.0", false, `no section "## 0.3.0", or an empty one`},
		{"git init -q . && git -c user.name=a -c user.email=a@example commit -q --allow-empty -m x", true, ""},
		{"test $(hack/version pick) = 0.3.0-g$(git rev-parse HEAD | cut -c1-12)", true, ""},
		{"hack/version pick 7.0-rc1", true, "7.0-rc1\n"},
		{"hack/version pick 0.2.0", false, "0.2.0 is the name of a release"},
		{"hack/version pick v9.9.9", false, "v9.9.9 is the name of a release"},
		{"TAG=v0.3.0 hack/version pick", false, `no section "## 0.3.0", or an empty one`},
		{"sed -i.old 's/^## 0.3.0$/&\\n\\n- third/; s/^## 0.2.0/&-rc.1/' CHANGELOG.md", true, ""},
		{"hack/version pick v0.2.0-rc.1", false, "v0.2.0-rc.1 is the name of a release"},
		{"TAG=v0.3.0 hack/version pick", true, "0.3.0\n"},
		{"TAG=v9.9.9 hack/version pick", false, `the tag is "v9.9.9", but VERSION says 0.3.0`},
		{"TAG=v9.9.9 hack/version pick 0.3.0", false, "0.3.0 is the name of a release"},
		{"hack/version pick '$(shell id)'", false, "can not be the tag of an image"},
	} {
		out, err := bash(t, dir, c.line)
		if (err == nil) != c.ok || c.ok && out != c.says || !strings.Contains(out, c.says) {
			t.Errorf("%s: %v, said %q, want %q", c.line, err, out, c.says)
		}
	}
}

func TestTheReportOfADrillSaysWhetherItCameBack(t *testing.T) {
	dir := t.TempDir()
	borrow(t, dir, "hack/drill-report")
	const reason, url = "REASON=5 of 20\nfailed", "URL=https://gatekeeper.example/r"
	const entry = "\n    5 of 20 failed\n\n[its entry](https://gatekeeper.example/r)\n"
	for want, env := range map[string][]string{
		`## Drill: the release with the fault "errors" came back after 29 s of traffic` + "\n" + entry:     {"RESULT=rolled-back", "EXPOSED=29", reason, url},
		`## Drill: the release with the fault "errors" came back` + "\n" + entry:                           {"RESULT=rolled-back", "EXPOSED=", reason, url},
		`## Drill: the release with the fault "errors" did NOT come back: it was not even judged` + "\n":   {"RESULT=", "EXPOSED=", "REASON=", "URL="},
		"\nWhat ran before was released again: rolled-back\n::error title=the drill was promoted::":        {"RESULT=promoted", "EXPOSED=9", "AGAIN=rolled-back", "REASON=", "URL="},
		"\nWhat ran before was released again: error\n::error title=the drill was promoted::users had the": {"RESULT=promoted", "EXPOSED=9", "REASON=", "URL="},
	} {
		out, err := bash(t, dir, "hack/drill-report", append([]string{"FAULT=errors", "AGAIN="}, env...)...)
		if err != nil || !strings.Contains(out, want) || strings.HasPrefix(want, "#") && out != want {
			t.Errorf("%v, said\n%s want %q", err, out, want)
		}
	}
}

// What the Jenkinsfile keeps is the record of its own release, also when an earlier rollout is the Canary's newest.
func TestJenkinsReportsItsOwnRelease(t *testing.T) {
	scripts := jenkinsScripts(readSources(t)["Jenkinsfile"])
	const under, back = `{"state":"under-way","rollout":{"id":"r2"}}`, `{"result":"rolled-back","exitCode":2,"rollout":"r2"}`
	for name, c := range map[string]struct{ helm, printed, asked string }{
		"rolled back":               {"exit 0", under + "\n" + back, "wait,report r2 --file,settle --deploy-id d-7"},
		"ended at once":             {"exit 0", under, "wait,report r2 --file,settle --deploy-id d-7"},
		"cancelled before it began": {"exit 0", `{"result":"interrupted","exitCode":130,"rollout":""}`, "wait,settle --deploy-id d-7"},
		"not decided":               {"exit 0", under + "\n" + `{"result":"timeout","exitCode":3,"rollout":"r2"}`, "wait,report r2 --file"},
		"Helm refused":              {"exit 1", "", "settle --deploy-id d-7"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			borrow(t, dir, "hack/version", "VERSION", "CHANGELOG.md")
			sheet(t, dir, "build/app.digest", "sha256:aa", 0o644)
			sheet(t, dir, "build/wait.json", `{"rollout":"r1"}`, 0o644) // of the build before
			sheet(t, dir, "hack/release-values", "#!/bin/sh\necho commit=x\n", 0o755)
			sheet(t, dir, "bin/make", "#!/bin/sh\n", 0o755)
			sheet(t, dir, "bin/helm", "#!/bin/sh\n"+c.helm+"\n", 0o755)
			sheet(t, dir, "build/gatekeeper", "#!/bin/sh\ncase $1 in\nwait) echo wait >>asked; echo '"+c.printed+"'; exit 2 ;;\nreport) echo $1 $2 $3 >>asked ;;\n*) shift 7; echo settle $* >>asked ;;\nesac\n", 0o755)
			sheet(t, dir, "asked", "", 0o644)
			for _, script := range scripts[len(scripts)-3:] {
				sheet(t, dir, "script", script, 0o755)
				out, err := bash(t, dir, "bash ./script", "RELEASE_VERSION=1-rc", "TAG=", "FAULT=none", "RELEASE=podinfo", "NAMESPACE=demo", "REGISTRY=r", "DEPLOY_ID=d-7")
				if failed := err != nil; failed != strings.Contains(script, "helm upgrade") {
					t.Errorf("%v, said\n%s", err, out)
				}
			}
			asked, err := os.ReadFile(filepath.Join(dir, "asked"))
			if got := strings.ReplaceAll(strings.TrimSpace(string(asked)), "\n", ","); err != nil || got != c.asked {
				t.Errorf("%v: asked for %q, want %q", err, got, c.asked)
			}
		})
	}
}

// An image whose digest is not known is not signed, and the registry's password does not stay.
func TestJenkinsSignsWhatItPushed(t *testing.T) {
	scripts := jenkinsScripts(readSources(t)["Jenkinsfile"])
	for name, c := range map[string]struct {
		images, says string
		ok           bool
	}{
		"all":     {`{"app":{"containerimage.digest":"sha256:a"},"gatekeeper":{"containerimage.digest":"sha256:b"},"loadgen":{"containerimage.digest":"sha256:c"}}`, "r.example/x/loadgen@sha256:c", true},
		"missing": {`{"app":{"containerimage.digest":"sha256:a"},"gatekeeper":{}}`, "r.example/x/app@sha256:a", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			borrow(t, dir, "hack/version", "VERSION", "CHANGELOG.md")
			sheet(t, dir, "build/images.json", c.images, 0o644)
			for _, program := range []string{"make", "docker", "cosign"} {
				sheet(t, dir, "bin/"+program, "#!/bin/sh\necho "+program+" $*\n", 0o755)
			}
			sheet(t, dir, "script", scripts[len(scripts)-4], 0o755)
			out, err := bash(t, dir, "bash ./script", "RELEASE_VERSION=1-rc", "TAG=", "REGISTRY=r.example/x", "REGISTRY_USER=u", "REGISTRY_PASSWORD=p", "COSIGN_KEY=k")
			if (err == nil) != c.ok || !strings.Contains(out, c.says) || strings.Contains(out, "null") || !strings.HasSuffix(out, "docker logout r.example\n") {
				t.Errorf("%v, said\n%s", err, out)
			}
		})
	}
}

// What a release's charts install is its images, whatever becomes of their tags.
func TestPackedChartsNameTheirImagesByContent(t *testing.T) {
	dir := t.TempDir()
	from, err := filepath.Abs(filepath.Join(root, "helm"))
	if err != nil {
		t.Fatal(err)
	}
	borrow(t, dir, "hack/package")
	sheet(t, dir, "bin/helm", "#!/bin/sh\nmkdir -p \"$4\" && cp -RL \"$2\" \"$4/\"\n", 0o755)
	digest := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	for registry, env := range map[string][]string{
		"":            {},
		"r.example/x": {"REGISTRY=r.example/x", "APP=" + digest("a"), "GATEKEEPER=" + digest("b"), "LOADGEN=" + digest("c")},
	} {
		if out, err := bash(t, dir, "rm -rf helm && cp -R '"+from+"' helm && hack/package && git diff --no-index --exit-code '"+from+"' helm", env...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for chartName, image := range map[string]string{"podinfo-like": "app", "gatekeeper": "gatekeeper", "loadgen": "loadgen"} {
			rendered, err := chart.Render(chart.Release{Name: "podinfo", Chart: filepath.Join(dir, "build/charts", chartName)})
			if err != nil {
				t.Fatal(err)
			}
			tagged, err := chart.Render(chart.Release{Name: "podinfo", Chart: filepath.Join(dir, "build/charts", chartName), Sets: []string{"image.tag=1.2.3"}})
			if err != nil || !regexp.MustCompile(`image: "?\S+/`+image+`:1\.2\.3"?\n`).Match(tagged.Objects) {
				t.Errorf("%s with registry %q does not run the tag that is asked for: %v", chartName, registry, err)
			}
			pinned := regexp.MustCompile(`image: "?r\.example/x/` + image + `@sha256:[abc]{64}"?`).Match(rendered.Objects)
			if pinned != (registry != "") {
				t.Errorf("%s with registry %q: an image by digest is %v", chartName, registry, pinned)
			}
		}
	}
}
