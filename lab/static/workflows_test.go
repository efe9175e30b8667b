package static

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
)

// Workflows are only run by GitHub, so what they name is looked up here: targets, files, chart values, outputs, inputs,
// variables; and what makes them safe: no expression in a script, pins, few rights, time limits.
func TestWhatTheWorkflowsNameIsThere(t *testing.T) {
	for _, problem := range inspect(t, readSources(t)) {
		t.Error(problem)
	}
}

// Each mistake is made once, and must be found.
func TestMistakesInTheWorkflowsAreFound(t *testing.T) {
	const (
		deploy  = ".github/workflows/deploy.yml"
		release = ".github/workflows/release.yml"
		drill   = ".github/workflows/drill.yml"
		ci      = ".github/workflows/ci.yml"
		action  = ".github/actions/gated-rollout/action.yml"
		access  = ".github/actions/cluster-access/action.yml"
	)
	for name, c := range map[string]struct{ file, old, new, want string }{
		"a target that there is not":                 {ci, "run: make lint", "run: make lints", "no target lints"},
		"a target behind a variable":                 {deploy, `make images REGISTRY=`, `make image REGISTRY=`, "no target image"},
		"a variable of make":                         {ci, "make prove ARGS=", "make prove ARG=", "no variable ARG"},
		"a target in the Jenkinsfile":                {"Jenkinsfile", "sh 'make test'", "sh 'make tests'", "no target tests"},
		"a script of ours":                           {deploy, "hack/release-values\n", "hack/release-value\n", "no file hack/release-value"},
		"a values file":                              {deploy, "faults/{0}.yaml", "fault/{0}.yaml", "no file helm/podinfo-like/fault/*.yaml"},
		"a chart":                                    {deploy, "chart: helm/podinfo-like", "chart: helm/podinfo", "no file helm/podinfo"},
		"a file for another action":                  {deploy, "go-version-file: gatekeeper/go.mod", "go-version-file: gatekeeper/mod", "no file gatekeeper/mod"},
		"a local action":                             {deploy, "uses: ./.github/actions/cluster-access", "uses: ./.github/actions/cluster", "no .github/actions/cluster/action.yml"},
		"a script of the action":                     {action, `"$GITHUB_ACTION_PATH/upgrade"`, `"$GITHUB_ACTION_PATH/update"`, "no script .github/actions/gated-rollout/update"},
		"a chart value":                              {deploy, "image.digest=", "image.hash=", "no value image.hash"},
		"a chart value in the Jenkinsfile":           {"Jenkinsfile", "--set-literal deployId=", "--set-literal deployID=", "no value deployID"},
		"an input that the action has not":           {deploy, "gatekeeper: build/gatekeeper", "binary: build/gatekeeper", "has no input binary"},
		"an input that the action needs":             {drill, "server: ${{ vars.GATEKEEPER_SERVER }}\n", "\n", "needs the input server"},
		"an input of the called workflow":            {deploy, "app: ${{ needs.images.outputs.app }}\n      gate", "apps: ${{ needs.images.outputs.app }}\n      gate", "has no input apps"},
		"an input of the workflow itself":            {deploy, "NOTE: ${{ inputs.note }}", "NOTE: ${{ inputs.notes }}", "no input notes"},
		"an output of a script":                      {deploy, `echo "app=$app"`, `echo "apps=$app"`, "steps.images.outputs.app"},
		"an output of an action":                     {drill, "outputs.exposed-seconds", "outputs.exposed", "steps.rollout.outputs.exposed"},
		"an output of the gatekeeper":                {action, "steps.wait.outputs.reason", "steps.wait.outputs.reasons", "steps.wait.outputs.reasons"},
		"an output of an action's script":            {action, "steps.report.outputs.report", "steps.report.outputs.folder", "steps.report.outputs.folder"},
		"an output of another job":                   {deploy, "RESULT: ${{ needs.deploy.outputs.result }}", "RESULT: ${{ needs.deploy.outputs.end }}", "needs.deploy.outputs.end"},
		"a job that is not waited for":               {deploy, "needs: [images, deploy]", "needs: [images]", "needs.deploy.outputs."},
		"a step that comes later":                    {drill, "        id: rollout\n", "", "steps.rollout.outputs.result"},
		"a variable that nothing sets":               {action, "RELEASE: ${{ inputs.release }}\n        NAMESPACE: ${{ inputs.namespace }}\n        VALUES", "NAMESPACE: ${{ inputs.namespace }}\n        VALUES", "nothing sets the variable RELEASE"},
		"a variable of the environment":              {deploy, "vars.CLUSTER }}", "vars.CLUSTERS }}", "does not tell of vars.CLUSTERS"},
		"a secret":                                   {deploy, "secrets.KUBECONFIG", "secrets.KUBE", "does not tell of secrets.KUBE"},
		"an expression in a script":                  {deploy, "run: make tagged TAG=\"$GITHUB_REF_NAME\"", "run: make tagged TAG=\"${{ github.ref_name }}\"", "an expression stands in a script"},
		"an expression in a script of the action":    {action, `run: exec "$GITHUB_ACTION_PATH/report"`, "run: echo ${{ inputs.release }}", "an expression stands in a script"},
		"a parameter that make takes":                {"Jenkinsfile", "name: 'RELEASE_VERSION'", "name: 'VERSION'", "make's own VERSION"},
		"Groovy in a script":                         {"Jenkinsfile", "sh 'make test'", `sh "make test ${params.NOTE}"`, "double quotes"},
		"a pin by tag":                               {access, "azure/login@532459ea530d8321f2fb9bb10d1e0bcf23869a43", "azure/login@v3", "is not pinned"},
		"a pin without its version":                  {ci, " # v7.0.1\n", "\n", "is not pinned"},
		"two pins of one action":                     {release, "checkout@3d3c42e5aac5ba805825da76410c181273ba90b1", "checkout@9c091bb21b7c1c1d1991bb908d89e4e9dddfe3e0", "two commits"},
		"no permissions":                             {ci, "permissions:\n  contents: read\n", "", "permissions of the whole workflow"},
		"too many permissions":                       {ci, "permissions:\n  contents: read\n", "permissions: write-all\n", "permissions of the whole workflow"},
		"a job without permissions":                  {deploy, "    permissions:\n      statuses: write\n", "", "nor does the job"},
		"no time limit":                              {drill, "    timeout-minutes: 60\n", "", "no timeout-minutes"},
		"another shell":                              {release, "    shell: bash\n", "    shell: sh\n", "defaults.run.shell"},
		"another shell in the action":                {action, "      shell: bash\n", "      shell: sh\n", "an action names its shell"},
		"a release that is broken off":               {deploy, "cancel-in-progress: false", "cancel-in-progress: true", "not broken off"},
		"a drill beside a release":                   {drill, "group: rollout-", "group: drill-", "wait for one another"},
		"images that were not tested":                {deploy, "    needs: test\n", "", "jobs/images/needs"},
		"a deployment that was not tested":           {deploy, "needs: [test, images]\n", "needs: [images]\n", "jobs/deploy/needs"},
		"a release without its images":               {deploy, " && needs.images.result == 'success'", "", "jobs/release/if"},
		"images of a tag that is not VERSION":        {deploy, "          TAG: ${{ github.ref_type == 'tag' && github.ref_name || '' }}\n", "", "env/TAG"},
		"a cache of branches for releases":           {deploy, "github.ref_type != 'tag' && ", "", "env/CACHE"},
		"a right too few to push":                    {deploy, "      packages: write # push\n", "", "deploy.yml images: its permissions are map[contents:read id-token:write], want"},
		"a right too few to log in":                  {deploy, "      id-token: write # to the cloud and to the gatekeeper\n", "", "deploy.yml deploy: its permissions are"},
		"a right too many":                           {drill, "      contents: read\n", "      contents: write\n", "drill.yml drill: its permissions are"},
		"a deployment without its environment":       {deploy, "    environment:\n      name: ${{ inputs.environment || vars.TAGS_ENVIRONMENT }}\n      url: ${{ steps.rollout.outputs.report-url }}\n", "", "jobs/deploy/environment"},
		"strangers' changes with secrets":            {ci, "  pull_request:\n", "  pull_request_target:\n", "ci.yml: on is"},
		"images that nobody verifies":                {release, "cosign verify", "true", "cosign verify"},
		"charts that name no content":                {release, "          APP: ${{ inputs.app }}\n          GATEKEEPER: ${{ inputs.gatekeeper }}\n          LOADGEN: ${{ inputs.loadgen }}\n        run: |\n          make archives", "        run: |\n          make archives", "charts with those images/env"},
		"a drill that may be promoted":               {drill, "          expect: rolled-back\n", "", "with/expect"},
		"a drill that throws a release out":          {drill, "if: needs.free.outputs.releases == '0'", "if: needs.free.outputs.releases != ''", "jobs/drill/if"},
		"a drill of what does not run":               {drill, "build/gatekeeper settle", "echo", "or refuse/run"},
		"a drill with a chart that was not released": {drill, "          chart: ${{ steps.running.outputs.chart }}\n", "          chart: helm/podinfo-like\n", "must come back/with/chart"},
		"a drill that leaves its fault":              {drill, "steps.rollout.outputs.result == 'promoted'", "steps.rollout.outputs.result == 'stuck'", "was promoted/if"},
		"a record that a failure loses":              {action, "if: always() && steps.wait.outputs.rollout", "if: steps.wait.outputs.rollout", "Keep what is recorded/if"},
		"a failure after which nothing is settled":   {action, "if: always() && inputs.settle", "if: inputs.settle", "promoted last/if"},
		"a cancel after which nothing is settled":    {action, `, "interrupted"`, "", "interrupted"},
		"what is no shell":                           {release, "make archives\n", "make archives )\n", "release.yml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := readSources(t)
			if !strings.Contains(all[c.file], c.old) {
				t.Fatalf("%s no longer has %q", c.file, c.old)
			}
			all[c.file] = strings.Replace(all[c.file], c.old, c.new, 1)
			if got := strings.Join(inspect(t, all), "\n"); !strings.Contains(got, c.want) {
				t.Errorf("not found; said %q, want %q in it", got, c.want)
			}
		})
	}
}

// The faults that can be chosen are files, and each is a release that the chart takes and that counts as a drill.
func TestFaultsToRehearseAreReleases(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "helm/podinfo-like/faults/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var faults []string
	for _, file := range files {
		faults = append(faults, strings.TrimSuffix(filepath.Base(file), ".yaml"))
		kinds := render(t, chart.Release{Chart: "podinfo-like", Values: []string{file}})
		pod := dig[map[string]any](t, kinds["Deployment"][0], "spec", "template")
		if dig[string](t, pod, "metadata", "annotations", "rollout.monitoring/drill") != "true" {
			t.Errorf("%s is no drill: its rollback would count as a failed change", file)
		}
		if plan := chaosOf(t, pod); !strings.Contains(plan, `"ttl"`) {
			t.Errorf("%s has the plan %q", file, plan)
		}
	}
	all := readSources(t)
	for file, want := range map[string][]string{".github/workflows/deploy.yml": append([]string{"none"}, faults...), ".github/workflows/drill.yml": faults} {
		if got := sorted(readFlow(t, file).On.Dispatch.Inputs["fault"].Options); !slices.Equal(got, sorted(want)) {
			t.Errorf("%s offers %v, want %v", file, got, want)
		}
	}
	if got := regexp.MustCompile(`'FAULT', choices: \[(.*?)\]`).FindStringSubmatch(all["Jenkinsfile"]); got == nil || !slices.Equal(sorted(strings.Split(strings.ReplaceAll(got[1], "'", ""), ", ")), sorted(append([]string{"none"}, faults...))) {
		t.Errorf("the Jenkinsfile offers %v, want none and %v", got, faults)
	}
}

// chaosOf is the plan that a pod template's app is born with.
func chaosOf(t *testing.T, pod map[string]any) string {
	t.Helper()
	for _, variable := range dig[[]any](t, pod, "spec", "containers", 0, "env") {
		if dig[string](t, variable, "name") == "CHAOS" {
			return dig[string](t, variable, "value")
		}
	}
	return ""
}

// A module, an image or an action that dependabot does not look at grows old unseen.
func TestPinsAreKeptFresh(t *testing.T) {
	var kept struct {
		Updates []struct {
			Ecosystem   string   `yaml:"package-ecosystem"`
			Directories []string `yaml:"directories"`
		} `yaml:"updates"`
	}
	if err := yaml.Unmarshal([]byte(readSources(t)[".github/dependabot.yml"]), &kept); err != nil {
		t.Fatal(err)
	}
	listed := map[string][]string{}
	for _, one := range kept.Updates {
		listed[one.Ecosystem] = sorted(one.Directories)
	}
	// hack/bases makes the stand-ins of base images and pins none.
	for ecosystem, patterns := range map[string][]string{
		"gomod": {"*/go.mod", "*/*/go.mod"}, "docker": {"Dockerfile.*", "lab/*/Dockerfile", "examples/*/Dockerfile"},
		"npm": {"monitoring/*/package.json"}, "github-actions": {".github/actions/*/action.yml"},
	} {
		want := map[string]bool{}
		if ecosystem == "github-actions" {
			want["/"] = true // where workflows are looked for
		}
		for _, pattern := range patterns {
			found, err := filepath.Glob(filepath.Join(root, pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range found {
				folder, err := filepath.Rel(root, filepath.Dir(file))
				if err != nil {
					t.Fatal(err)
				}
				want[strings.TrimSuffix("/"+folder, ".")] = true
			}
		}
		if got := listed[ecosystem]; !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Errorf("dependabot looks at %v for %s, there are %v", got, ecosystem, slices.Sorted(maps.Keys(want)))
		}
	}
}

// actionlint hands the scripts of workflows to shellcheck, and not those of actions.
func TestScriptsInActionsAreChecked(t *testing.T) {
	program, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skip("shellcheck is not here; its Debian package has the same name")
	}
	checked := 0
	for file, text := range readSources(t) {
		var f flow
		if !strings.HasSuffix(file, "/action.yml") || yaml.Unmarshal([]byte(text), &f) != nil {
			continue
		}
		for _, one := range f.Runs.Steps {
			if one.Run == "" {
				continue
			}
			checked++
			script := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(script, []byte("#!/usr/bin/env bash\nset -eo pipefail\n"+one.Run), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), program, script).CombinedOutput(); err != nil {
				t.Errorf("%s, step %q: %v\n%s", file, one.Name, err, out)
			}
		}
	}
	if checked < 5 {
		t.Errorf("only %d scripts were found", checked)
	}
}
