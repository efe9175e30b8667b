package static

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// sources are the text of every workflow, action and script below .github, and of the Jenkinsfile, by path in the repository.
type sources map[string]string

func readSources(t *testing.T) sources {
	t.Helper()
	p := sources{}
	keep := func(file string) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		p[name] = string(text)
	}
	keep(filepath.Join(root, "Jenkinsfile"))
	err := filepath.WalkDir(filepath.Join(root, ".github"), func(file string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			keep(file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// step is a step of a job or of an action.
type step struct {
	ID    string         `yaml:"id"`
	Name  string         `yaml:"name"`
	Uses  string         `yaml:"uses"`
	Run   string         `yaml:"run"`
	Shell string         `yaml:"shell"`
	If    string         `yaml:"if"`
	With  map[string]any `yaml:"with"`
	Env   map[string]any `yaml:"env"`
}

type job struct {
	Needs       any               `yaml:"needs"`
	Uses        string            `yaml:"uses"`
	With        map[string]any    `yaml:"with"`
	Env         map[string]any    `yaml:"env"`
	Outputs     map[string]string `yaml:"outputs"`
	Timeout     int               `yaml:"timeout-minutes"`
	Permissions any               `yaml:"permissions"`
	Concurrency struct {
		Group  string `yaml:"group"`
		Cancel bool   `yaml:"cancel-in-progress"`
	} `yaml:"concurrency"`
	Steps []step `yaml:"steps"`
}

// input of an action, or of a workflow that is started by hand or called.
type input struct {
	Required bool     `yaml:"required"`
	Options  []string `yaml:"options"`
}

// flow is a workflow or an action.
type flow struct {
	On struct {
		Dispatch struct {
			Inputs map[string]input `yaml:"inputs"`
		} `yaml:"workflow_dispatch"`
		Call struct {
			Inputs map[string]input `yaml:"inputs"`
		} `yaml:"workflow_call"`
	} `yaml:"on"`
	Permissions any            `yaml:"permissions"`
	Env         map[string]any `yaml:"env"`
	Defaults    struct {
		Run struct {
			Shell string `yaml:"shell"`
		} `yaml:"run"`
	} `yaml:"defaults"`
	Jobs    map[string]job          `yaml:"jobs"`
	Inputs  map[string]input        `yaml:"inputs"`
	Outputs map[string]actionOutput `yaml:"outputs"`
	Runs    struct {
		Steps []step `yaml:"steps"`
	} `yaml:"runs"`
}

type actionOutput struct {
	Value string `yaml:"value"`
}

// given are the inputs that f declares.
func (f flow) given() map[string]input {
	all := map[string]input{}
	maps.Copy(all, f.Inputs)
	maps.Copy(all, f.On.Dispatch.Inputs)
	maps.Copy(all, f.On.Call.Inputs)
	return all
}

// readFlow reads a workflow or an action of the repository.
func readFlow(t *testing.T, file string) (f flow) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// review is one look at them. It collects what leads nowhere.
type review struct {
	sources
	flows     map[string]flow
	makefile  string
	bake      string // docker-bake.hcl
	document  string // docs/pipeline.md
	waitGives map[string]bool
	pins      map[string]string
	problems  []string
}

func (r *review) bad(where, format string, args ...any) {
	r.problems = append(r.problems, where+": "+fmt.Sprintf(format, args...))
}

// inspect says all that is wrong with p, in the repository as it is.
func inspect(t *testing.T, p sources) []string {
	t.Helper()
	read := func(file string) string {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	r := &review{sources: p, flows: map[string]flow{}, makefile: read("Makefile"), bake: read("docker-bake.hcl"), document: read("docs/pipeline.md"), waitGives: map[string]bool{}, pins: map[string]string{}}
	for _, found := range regexp.MustCompile(`\{"([a-z-]+)", (?:end|strconv)\.`).FindAllStringSubmatch(read("gatekeeper/wait.go"), -1) {
		r.waitGives[found[1]] = true
	}
	for _, file := range slices.Sorted(maps.Keys(p)) {
		if !strings.HasSuffix(file, ".yml") || file == ".github/dependabot.yml" {
			continue
		}
		var f flow
		if err := yaml.Unmarshal([]byte(p[file]), &f); err != nil {
			r.bad(file, "%v", err)
		}
		r.flows[file] = f
	}
	for _, file := range slices.Sorted(maps.Keys(r.flows)) {
		r.uses(file)
		r.flow(file, r.flows[file])
	}
	r.jenkins(p["Jenkinsfile"])
	r.documented()
	r.holds()
	return r.problems
}

// uses holds each foreign action to one full commit with its version beside it.
func (r *review) uses(file string) {
	for _, line := range regexp.MustCompile(`(?m)^ +(?:- )?uses: *(\S+)(.*)$`).FindAllStringSubmatch(r.sources[file], -1) {
		name, pin, _ := strings.Cut(line[1], "@")
		switch {
		case strings.HasPrefix(name, "./"):
		case !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(pin) || !regexp.MustCompile(`^ # v[0-9.]+$`).MatchString(line[2]):
			r.bad(file, "%s is not pinned as NAME@COMMIT # vVERSION", line[1])
		case r.pins[name] != "" && r.pins[name] != pin:
			r.bad(file, "%s is pinned to two commits", name)
		default:
			r.pins[name] = pin
		}
	}
}

func (r *review) flow(file string, f flow) {
	if f.Runs.Steps != nil {
		s := scope{review: r, where: file, flow: f, steps: map[string]map[string]bool{}, folder: path.Dir(file)}
		for _, one := range f.Runs.Steps {
			if one.Run != "" && one.Shell != "bash" {
				r.bad(file, "step %q: an action names its shell, and ours is bash", one.Name)
			}
			s.step(one)
		}
		for _, output := range f.Outputs {
			s.expressions(output.Value)
		}
		return
	}
	if f.Defaults.Run.Shell != "bash" {
		r.bad(file, "defaults.run.shell is not bash, by which a failing part of a pipe would be no failure")
	}
	if text := fmt.Sprint(f.Permissions); f.Permissions == nil || strings.Contains(text, "write") {
		r.bad(file, "permissions of the whole workflow are %s: {} or contents: read, and jobs ask for more", text)
	}
	for name, j := range f.Jobs {
		r.job(file+" "+name, name, f, j)
	}
}

func (r *review) job(where, name string, f flow, j job) {
	if j.Uses == "" && j.Timeout == 0 {
		r.bad(where, "there is no timeout-minutes")
	}
	if fmt.Sprint(f.Permissions) == "map[]" && j.Permissions == nil {
		r.bad(where, "the workflow gives no permissions, nor does the job")
	}
	if strings.HasPrefix(j.Concurrency.Group, "rollout-") && j.Concurrency.Cancel || (name == "deploy" || name == "drill") && !strings.HasPrefix(j.Concurrency.Group, "rollout-${{ inputs.environment || vars.") {
		r.bad(where, "releases to one environment wait for one another and are not broken off: concurrency %q, cancel %v", j.Concurrency.Group, j.Concurrency.Cancel)
	}
	s := scope{review: r, where: where, flow: f, job: j, steps: map[string]map[string]bool{}}
	for _, one := range j.Steps {
		s.step(one)
	}
	if j.Uses != "" {
		s.local(j.Uses, j.With)
	}
	var whole struct {
		Jobs map[string]map[string]any `yaml:"jobs"`
	}
	_ = yaml.Unmarshal([]byte(r.sources[strings.Fields(where)[0]]), &whole) // it was read before
	delete(whole.Jobs[name], "steps")
	s.expressions(fmt.Sprint(whole.Jobs[name], "${{ ", whole.Jobs[name]["if"], " }}"))
}

// scope is where an expression or a script of a job or an action stands.
type scope struct {
	*review
	where  string
	flow   flow
	job    job
	folder string                     // of the action; "" in a workflow
	steps  map[string]map[string]bool // outputs of the steps before, by their ids
	sets   []string                   // variables that steps before have written into GITHUB_ENV
}

func (s *scope) step(one step) {
	where := s.where
	s.where += fmt.Sprintf(" %q", cmp.Or(one.Name, one.Uses, one.Run))
	defer func() { s.where = where }()
	s.expressions(one.Name + " ${{ " + one.If + " }} " + fmt.Sprint(one.With, one.Env))
	outputs := map[string]bool{}
	switch {
	case strings.HasPrefix(one.Uses, "./"):
		maps.Copy(outputs, s.local(one.Uses, one.With))
	case one.Uses != "":
		s.files(one.With, "go-version-file", "cache-dependency-path")
	default:
		maps.Copy(outputs, s.run(one))
	}
	if one.ID != "" {
		s.steps[one.ID] = outputs
	}
}

// local holds the call of an action or workflow of ours against what it declares; it returns the outputs that there are.
func (s *scope) local(uses string, with map[string]any) map[string]bool {
	file := path.Clean(uses)
	if !strings.HasSuffix(file, ".yml") {
		file += "/action.yml"
	}
	callee, ok := s.flows[file]
	if !ok {
		s.bad(s.where, "there is no %s", file)
		return nil
	}
	declared := callee.given()
	for name := range with {
		if _, ok := declared[name]; !ok {
			s.bad(s.where, "%s has no input %s", uses, name)
		}
	}
	for name, in := range declared {
		if _, ok := with[name]; in.Required && !ok {
			s.bad(s.where, "%s needs the input %s", uses, name)
		}
	}
	if with["chart"] != nil {
		s.release(with)
	}
	outputs := map[string]bool{}
	for name := range callee.Outputs {
		outputs[name] = true
	}
	return outputs
}

// release looks at the chart, values files and values that the action gated-rollout is called with.
func (s *scope) release(with map[string]any) {
	chart := fmt.Sprint(with["chart"])
	if strings.HasPrefix(chart, "${{") {
		chart = "helm/podinfo-like" // as it is or was at another commit
	}
	for line := range strings.Lines(fmt.Sprint(with["values"])) {
		line = strings.TrimSpace(line)
		if found := regexp.MustCompile(`'(helm/[^']*)'`).FindStringSubmatch(line); found != nil {
			line = strings.ReplaceAll(found[1], "{0}", "*")
		}
		s.file(regexp.MustCompile(`\$\{\{.*?\}\}`).ReplaceAllString(line, "*"))
	}
	for line := range strings.Lines(fmt.Sprint(with["set"])) {
		if key, _, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(key, "${{") {
			s.value(chart, key)
		}
	}
	s.file(chart)
}

// value holds a key against a chart's schema.
func (s *scope) value(chart, key string) {
	text, err := os.ReadFile(filepath.Join(root, chart, "values.schema.json"))
	if err != nil {
		s.bad(s.where, "%v", err)
		return
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		s.bad(s.where, "%v", err)
		return
	}
	if !allows(schema, schema, strings.Split(key, ".")) {
		s.bad(s.where, "%s has no value %s", chart, key)
	}
}

// allows says whether a JSON schema, part of whole, knows a path of properties.
func allows(whole, part map[string]any, keys []string) bool {
	if ref, ok := part["$ref"].(string); ok {
		definitions, _ := whole["definitions"].(map[string]any)
		part, _ = definitions[path.Base(ref)].(map[string]any)
	}
	if len(keys) == 0 {
		return true
	}
	properties, _ := part["properties"].(map[string]any)
	if next, ok := properties[keys[0]].(map[string]any); ok {
		return allows(whole, next, keys[1:])
	}
	for _, one := range list(part["anyOf"]) {
		if one, _ := one.(map[string]any); allows(whole, one, keys) {
			return true
		}
	}
	return len(properties) == 0 && part["additionalProperties"] != false && part["anyOf"] == nil
}

func list(value any) []any { many, _ := value.([]any); return many }

// file holds a path or pattern in the repository against what is there; what is built, and no path, is left alone.
func (s *scope) file(name string) {
	if !regexp.MustCompile(`^(\./)?(hack|helm|docs|\.github|app|gatekeeper|lab)/`).MatchString(name) && !strings.HasPrefix(name, "*/") {
		return
	}
	if found, err := filepath.Glob(filepath.Join(root, regexp.MustCompile(`\$\{?\w+\}?`).ReplaceAllString(name, "*"))); err != nil || len(found) == 0 {
		s.bad(s.where, "there is no file %s", name)
	}
}

func (s *scope) files(with map[string]any, names ...string) {
	for _, name := range names {
		if value, ok := with[name].(string); ok {
			s.file(value)
		}
	}
}

// run looks at a script, and at that of the action which it hands over to. It returns the outputs that they give.
func (s *scope) run(one step) map[string]bool {
	if strings.Contains(one.Run, "${{") {
		s.bad(s.where, "an expression stands in a script, where it becomes code: hand it over by env")
	}
	known := []string{"BASH_SOURCE"}
	for _, env := range []map[string]any{s.flow.Env, s.job.Env, one.Env} {
		known = append(known, slices.Collect(maps.Keys(env))...)
	}
	return s.script(one.Run, append(known, s.sets...))
}

func (s *scope) script(text string, known []string) map[string]bool {
	parsed, err := parse(text)
	if err != nil {
		s.bad(s.where, "%v", err)
		return nil
	}
	for name := range parsed.reads {
		if !slices.Contains(known, name) && !strings.HasPrefix(name, "GITHUB_") && !strings.HasPrefix(name, "RUNNER_") {
			s.bad(s.where, "nothing sets the variable %s", name)
		}
	}
	if strings.Contains(text, "GITHUB_ENV") {
		s.sets = append(s.sets, slices.Collect(maps.Keys(parsed.outputs))...)
	}
	for _, words := range parsed.calls {
		s.command(words, known, parsed.outputs)
	}
	return parsed.outputs
}

// command looks at one call: targets, files, chart values. What a command gives is added to outputs.
func (s *scope) command(words, known []string, outputs map[string]bool) {
	beside, ours := strings.CutPrefix(words[0], "$GITHUB_ACTION_PATH/")
	switch {
	case ours:
		text, there := s.sources[path.Join(s.folder, beside)]
		if !there {
			s.bad(s.where, "there is no script %s", path.Join(s.folder, beside))
		}
		maps.Copy(outputs, s.script(text, known))
	case words[0] == "make":
		s.targets(words[1:])
	case path.Base(words[0]) == "gatekeeper" && words[1] == "wait":
		maps.Copy(outputs, s.waitGives)
	case words[0] == "helm":
		s.settings(words)
	}
	for _, word := range words {
		s.file(strings.TrimPrefix(word, "./"))
	}
}

func (s *scope) targets(words []string) {
	for _, word := range words {
		name, _, assigned := strings.Cut(word, "=")
		switch {
		case strings.HasPrefix(word, "-"):
		case assigned:
			if !regexp.MustCompile(`(?m)\$\(`+name+`\)|^`+name+`\b`).MatchString(s.makefile) && !strings.Contains(s.bake, `variable "`+name+`"`) {
				s.bad(s.where, "the Makefile knows no variable %s", name)
			}
		case !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(word) + `:`).MatchString(s.makefile):
			s.bad(s.where, "the Makefile has no target %s", word)
		}
	}
}

// settings holds the values that helm is given against the chart that it is given.
func (s *scope) settings(words []string) {
	chart := ""
	for _, word := range words {
		if strings.HasPrefix(word, "helm/") && !strings.HasSuffix(word, ".yaml") {
			chart = word
		}
	}
	for i, word := range words[1:] {
		if key, _, ok := strings.Cut(word, "="); ok && strings.HasPrefix(words[i], "--set") && chart != "" {
			s.value(chart, key)
		}
	}
}

// expressions follows what is named in expressions.
func (s *scope) expressions(text string) {
	inputs := s.flow.given()
	for _, found := range regexp.MustCompile(`\b(steps|needs|inputs|env)\.([\w-]+)(?:\.outputs\.([\w-]+))?`).FindAllStringSubmatch(strings.Join(regexp.MustCompile(`(?s)\$\{\{.*?\}\}`).FindAllString(text, -1), " "), -1) {
		name, output := found[2], found[3]
		switch found[1] {
		case "inputs":
			if _, ok := inputs[name]; !ok {
				s.bad(s.where, "there is no input %s", name)
			}
		case "env":
			if s.job.Env[name] == nil && s.flow.Env[name] == nil {
				s.bad(s.where, "there is no variable %s", name)
			}
		case "steps":
			if gives, ok := s.steps[name]; !ok || output != "" && !gives[output] {
				s.bad(s.where, "no step before gives steps.%s.outputs.%s", name, output)
			}
		case "needs":
			before := s.flow.Jobs[name]
			if _, ok := before.Outputs[output]; !strings.Contains(" "+strings.Trim(fmt.Sprint(s.job.Needs), "[]")+" ", " "+name+" ") || output != "" && !ok {
				s.bad(s.where, "no job that is waited for gives needs.%s.outputs.%s", name, output)
			}
		}
	}
}

// jenkins looks at the scripts of the Jenkinsfile.
func (r *review) jenkins(text string) {
	s := scope{review: r, where: "Jenkinsfile"}
	if regexp.MustCompile(`\bsh *\(?(script: *)?"`).MatchString(text) {
		r.bad("Jenkinsfile", "a script stands in double quotes, where what people type becomes code")
	}
	known := []string{}
	for _, found := range regexp.MustCompile(`(?m)^\s+([A-Z_]+) = |name: '([A-Z_]+)'|(?:[a-z]+V|v)ariable: '([A-Z_]+)'`).FindAllStringSubmatch(text, -1) {
		known = append(known, cmp.Or(found[1], found[2], found[3]))
		if found[2] != "" && regexp.MustCompile(`(?m)^`+found[2]+` *\?=`).MatchString(r.makefile) {
			r.bad("Jenkinsfile", "the parameter %s, set even when it is empty, is make's own %s", found[2], found[2])
		}
	}
	scripts := jenkinsScripts(text)
	if len(scripts) < 5 {
		r.bad("Jenkinsfile", "only %d scripts are found", len(scripts))
	}
	for _, text := range scripts {
		s.script(text, known)
	}
}

// jenkinsScripts are the scripts of a Jenkinsfile, as Jenkins hands them to the shell.
func jenkinsScripts(text string) (scripts []string) {
	for _, found := range regexp.MustCompile(`(?s)sh '''(.*?)'''|sh '([^'\n]+)'`).FindAllStringSubmatch(text, -1) {
		scripts = append(scripts, found[1]+found[2])
	}
	return scripts
}

// documented holds the variables and secrets of environments against the tables of docs/pipeline.md, both ways.
func (r *review) documented() {
	named := map[string]bool{}
	for file, text := range r.sources {
		for _, found := range regexp.MustCompile(`\b(vars|secrets)\.([A-Z_]+)`).FindAllStringSubmatch(text, -1) {
			named[found[2]] = true
			if found[2] != "GITHUB_TOKEN" && !strings.Contains(r.document, "| `"+found[2]+"` |") {
				r.bad(file, "docs/pipeline.md does not tell of %s.%s", found[1], found[2])
			}
		}
	}
	for _, found := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|").FindAllStringSubmatch(r.document, -1) {
		if !named[found[1]] {
			r.bad("docs/pipeline.md", "no workflow takes %s", found[1])
		}
	}
}

// rule is a part of a workflow or action without which a release would be unsafe.
type rule struct {
	file, at string // the way to the part, by keys, and names of steps
	has      string // in the part as fmt prints it, where maps are sorted by key
}

// rules are short: what the other checks do not see missing.
func rules() []rule {
	const (
		ci      = ".github/workflows/ci.yml"
		deploy  = ".github/workflows/deploy.yml"
		drill   = ".github/workflows/drill.yml"
		release = ".github/workflows/release.yml"
		action  = ".github/actions/gated-rollout/action.yml"
	)
	return []rule{
		// Strangers' changes run without secrets and write nothing.
		{ci, "on", "map[pull_request:<nil> push:map[branches:[main]]]"},
		{ci, "permissions", "map[contents:read]"},
		{ci, "jobs/rules/steps/What was written is what is in the repository/run", "git add --intent-to-add ."},
		// Nothing is pushed or signed that was not tested, and no tag that is not VERSION.
		{deploy, "on/push", "map[tags:[v*]]"},
		{deploy, "jobs/test/steps/Hold the tag against VERSION/run", "make tagged"},
		{deploy, "jobs/test/steps/Test/run", "make test"},
		{deploy, "jobs/images/needs", "test"},
		{deploy, "jobs/images/steps/Build and push/env/TAG", "${{ github.ref_type == 'tag' && github.ref_name || '' }}"},
		{deploy, "jobs/images/steps/Build and push/env/CACHE", "github.ref_type != 'tag' &&"},
		{deploy, "jobs/images/steps/Build and push/run", "version=$(hack/version pick"},
		{deploy, "jobs/images/steps/Sign as this workflow/run", "cosign sign --yes"},
		{deploy, "jobs/deploy/needs", "[test images]"},
		{deploy, "jobs/deploy/environment/name", "${{ inputs.environment || vars.TAGS_ENVIRONMENT }}"},
		{deploy, "jobs/deploy/steps/Attach entry, chart and sidecar/if", "always()"},
		{deploy, "jobs/report/if", "always()"},
		{deploy, "jobs/release/needs", "[test images deploy]"},
		{deploy, "jobs/release/if", "github.event_name == 'push' && !cancelled() && needs.test.result == 'success' && needs.images.result == 'success' &&"},
		// A drill throws no release out, is of what runs, and leaves no fault behind.
		{drill, "jobs/free/steps/Look for releases that run or wait/run", "gh run list"},
		{drill, "jobs/drill/needs", "free"},
		{drill, "jobs/drill/if", "needs.free.outputs.releases == '0'"},
		{drill, "jobs/drill/steps/Bring Helm's release to what runs, or refuse/run", "gatekeeper settle"},
		{drill, "jobs/drill/steps/Take its chart, for what a chart changes beside the pods is not judged/with/ref", "${{ steps.running.outputs.commit }}"},
		{drill, "jobs/drill/steps/Release it with the fault; it must come back/with/chart", "${{ steps.running.outputs.chart }}"},
		{drill, "jobs/drill/steps/Release it with the fault; it must come back/with/set", "${{ steps.running.outputs.trace }}"},
		{drill, "jobs/drill/steps/Release what ran before again, for the fault was promoted/if", "always() && steps.rollout.outputs.result == 'promoted'"},
		{drill, "jobs/drill/steps/Release what ran before again, for the fault was promoted/with/deploy-id", "-again"},
		{drill, "jobs/drill/environment/name", "${{ inputs.environment || vars.DRILL_ENVIRONMENT }}"},
		{drill, "jobs/drill/steps/Release it with the fault; it must come back/with/expect", "rolled-back"},
		{drill, "jobs/drill/steps/Report the drill/if", "always()"},
		{drill, "jobs/drill/steps/Attach entry, chart and sidecar/if", "always()"},
		{release, "on", "map[workflow_call:"},
		{release, "jobs/publish/steps/Hold the tag against VERSION/run", "make tagged"},
		{release, "jobs/publish/steps/Build programs, and charts with those images/env", "map[APP:${{ inputs.app }} GATEKEEPER:${{ inputs.gatekeeper }} LOADGEN:${{ inputs.loadgen }}]"},
		{release, "jobs/publish/steps/Publish/run", "gh release upload \"$GITHUB_REF_NAME\" --clobber"},
		{release, "jobs/publish/steps/Verify the images' signatures/run", "cosign verify --certificate-oidc-issuer"},
		// A job that fails or is cancelled still keeps what is recorded, and does not leave Helm at a bad release.
		{action, "runs/steps/Keep what is recorded/if", "always()"},
		{action, "runs/steps/Bring Helm's release back to what was promoted last/if", "always()"},
		{action, "runs/steps/Bring Helm's release back to what was promoted last/if", `"interrupted"`},
	}
}

// rights are those of every job of a workflow that gives none: no more, no less.
func rights() map[string]string {
	return map[string]string{
		".github/workflows/deploy.yml test":     "map[contents:read]",
		".github/workflows/deploy.yml images":   "map[contents:read id-token:write packages:write]",
		".github/workflows/deploy.yml deploy":   "map[contents:read id-token:write]",
		".github/workflows/deploy.yml report":   "map[statuses:write]",
		".github/workflows/deploy.yml release":  "map[attestations:write contents:write id-token:write packages:write]",
		".github/workflows/drill.yml free":      "map[actions:read]",
		".github/workflows/drill.yml drill":     "map[contents:read id-token:write]",
		".github/workflows/release.yml publish": "map[attestations:write contents:write id-token:write packages:write]",
	}
}

// holds looks for what must be there.
func (r *review) holds() {
	for file, f := range r.flows {
		for name, j := range f.Jobs {
			if want := rights()[file+" "+name]; want != fmt.Sprint(j.Permissions) && (want != "" || j.Permissions != nil) {
				r.bad(file+" "+name, "its permissions are %v, want %q", j.Permissions, want)
			}
		}
	}
	for _, one := range rules() {
		var at any
		if err := yaml.Unmarshal([]byte(r.sources[one.file]), &at); err != nil {
			r.bad(one.file, "%v", err)
			continue
		}
		for key := range strings.SplitSeq(one.at, "/") {
			at = child(at, key)
		}
		if got := fmt.Sprint(at); !strings.Contains(got, one.has) {
			r.bad(one.file, "%s is %q, %q must be in it", one.at, got, one.has)
		}
	}
}

// child is what a map holds under a key, or the step of a list with that name; nil without one.
func child(of any, key string) any {
	for _, one := range list(of) {
		if one, _ := one.(map[string]any); one["name"] == key {
			return one
		}
	}
	all, _ := of.(map[string]any)
	return all[key]
}
