package drill

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/flow"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// standins are what stands for GitHub and for actions of others, which need it.
//
//go:embed standins
var standins embed.FS

// Flow is where and how the workflow deploy.yml runs without GitHub.
type Flow struct {
	Act        string // program
	Root       string // repository; what is committed is what is deployed
	Work       string // folder for all that is written, made anew
	Kubeconfig string // file
	Registry   string // where images are pushed to, and pulled from by the node
	Values     string // file of values for the chart, from the root
}

// changes is in what the workflow that is run differs from the one in the repository: the gate has run the tests, and of two
// platforms the node has one.
func changes() [][2]string {
	return [][2]string{
		{"run: make test\n", "run: echo left out, the gate has run make test\n"},
		{"PLATFORMS: linux/amd64,linux/arm64\n", "PLATFORMS: linux/" + runtime.GOARCH + "\n"},
	}
}

const (
	workflow = ".github/workflows/deploy.yml"
	// flowTime bounds one run of the workflow. The first builds everything with empty caches.
	flowTime = 20 * time.Minute
	// intervals of Flagger in which nothing may begin after Helm's release was brought back.
	intervals, interval = 3, 10 * time.Second
)

// deliveries are the runs of the workflow, one after the other.
func deliveries() []delivery {
	return []delivery{
		{name: "the first installation", fault: "none", result: nothingToDo},
		{name: "a good release", fault: "none", result: promoted},
		{name: "a bad release", fault: "errors", result: rolledBack},
		{name: "a good release after it", fault: "none", result: promoted},
		{name: "a release whose job is cancelled", fault: "none", result: interrupted},
	}
}

// Deploys runs the workflow for a good release, a bad one, and a good one again, with users all the while, and compares
// what came of each with what must.
func (d *Drill) Deploys(ctx context.Context, f Flow) error {
	local, err := f.prepare(ctx)
	if err != nil {
		return err
	}
	if err := d.Install.Empty(ctx, d.Namespace, d.Name); err != nil {
		return err
	}
	if err := d.Install.Namespace(ctx, d.Namespace); err != nil {
		return err
	}
	if err := d.faultsSecret(ctx); err != nil {
		return err
	}
	gatekeepers, err := d.Kube.Pods(ctx, d.System, "gatekeeper")
	at := slices.IndexFunc(gatekeepers, func(p kube.Pod) bool { return p.Ready && !p.Terminating })
	if at < 0 {
		return errors.Join(errors.New("find the gatekeeper's pod: none is ready"), err)
	}
	missed := false
	err = d.Kube.Forward(ctx, d.System, gatekeepers[at].Name, 8081, func(server string) error {
		var before delivered
		for i, run := range deliveries() {
			d.Say("\n%d %s", i+1, run.name)
			began := time.Now()
			now, err := d.deliver(ctx, f, run, local, server, i+1)
			if err != nil {
				return fmt.Errorf("%s: %w", run.name, err)
			}
			for _, c := range checks(run, before, now) {
				d.Say("  %-4s %-58s %s", map[bool]string{true: "ok", false: "MISS"}[c.ok], c.what, c.seen)
				missed = missed || !c.ok
			}
			d.Say("  %.0f s", time.Since(began).Seconds())
			before = now
		}
		return nil
	})
	if err == nil && missed {
		return ErrMissed
	}
	return err
}

// faultsSecret makes the Secret that helm/podinfo-like/faults name. Flagger must not track it: releases without a fault do not
// use it, and a tracked Secret that is no longer used is a change, which begins a rollout when Helm's release is brought back.
func (d *Drill) faultsSecret(ctx context.Context) error {
	const secret = `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "chaos", "annotations": {"flagger.app/config-tracking": "disabled"}}, "stringData": {"token": %q}}`
	objects, err := kube.Parse(fmt.Appendf(nil, secret, d.token))
	if err != nil {
		return err
	}
	return d.Kube.Apply(ctx, d.Namespace, objects)
}

// prepare clones what is committed, puts the stand-ins beside it, and returns act's flags that name them.
func (f Flow) prepare(ctx context.Context) (flags []string, err error) {
	if err := os.RemoveAll(f.Work); err != nil {
		return nil, fmt.Errorf("empty work folder: %w", err)
	}
	if err := os.MkdirAll(f.Work, 0o755); err != nil {
		return nil, fmt.Errorf("make work folder: %w", err)
	}
	for _, args := range [][]string{
		{"clone", "--quiet", "--shared", f.Root, f.clone()},
		{"-C", f.clone(), "remote", "set-url", "origin", "https://github.com/rollout-monitoring/microservice_rollout_monitoring"},
	} {
		if err := sh.Command("git", args...).Run(ctx); err != nil {
			return nil, err
		}
	}
	if err := f.change(); err != nil {
		return nil, err
	}
	if err := f.unpack(); err != nil {
		return nil, err
	}
	config, err := os.ReadFile(f.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	secrets, err := json.Marshal(map[string]string{"KUBECONFIG": string(config), "GITHUB_TOKEN": "none"}) // JSON is YAML
	if err != nil {
		return nil, fmt.Errorf("encode secrets: %w", err)
	}
	if err := os.WriteFile(filepath.Join(f.Work, "secrets.yaml"), secrets, 0o600); err != nil {
		return nil, fmt.Errorf("write secrets for act: %w", err)
	}
	return f.foreign()
}

func (f Flow) clone() string { return filepath.Join(f.Work, "repository") }

// change makes the changes in the clone's workflow, each in one place, or it would be another than what is said.
func (f Flow) change() error {
	file := filepath.Join(f.clone(), workflow)
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read workflow: %w", err)
	}
	text := string(content)
	for _, c := range changes() {
		if n := strings.Count(text, c[0]); n != 1 {
			return fmt.Errorf("%s has %d lines %q, want 1: mend the changes in lab/internal/drill/deploy.go", workflow, n, strings.TrimSpace(c[0]))
		}
		text = strings.Replace(text, c[0], c[1], 1)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write workflow: %w", err)
	}
	return nil
}

func (f Flow) unpack() error {
	programs, err := fs.Sub(standins, "standins")
	if err != nil {
		return fmt.Errorf("read stand-ins: %w", err)
	}
	to := filepath.Join(f.Work, "standins")
	if err := os.CopyFS(to, programs); err != nil {
		return fmt.Errorf("write stand-ins: %w", err)
	}
	for _, program := range []string{"gh", "cosign"} {
		if err := os.Chmod(filepath.Join(to, "bin", program), 0o755); err != nil {
			return fmt.Errorf("write stand-ins: %w", err)
		}
	}
	return nil
}

// foreign gives each action of others its stand-in. actions/checkout is act's own: it copies the clone.
func (f Flow) foreign() (flags []string, err error) {
	var texts [][]byte
	for _, pattern := range []string{".github/workflows/*.yml", ".github/actions/*/action.yml"} {
		files, err := filepath.Glob(filepath.Join(f.clone(), pattern))
		if err != nil {
			return nil, fmt.Errorf("find workflows: %w", err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("read workflow: %w", err)
			}
			texts = append(texts, text)
		}
	}
	for _, action := range flow.Foreign(texts...) {
		standin := "nothing"
		if strings.HasPrefix(action, "actions/upload-artifact@") {
			standin = "artifact"
		}
		flags = append(flags, "--local-repository", action+"="+filepath.Join(f.Work, "standins", standin))
	}
	return flags, nil
}

// deliver runs the workflow once, with users, and looks at what came of it.
func (d *Drill) deliver(ctx context.Context, f Flow, of delivery, local []string, server string, number int) (seen delivered, err error) {
	var who users
	if of.result != nothingToDo { // before there is a service nobody uses it
		if who, err = d.startUsers(ctx, "deploy-"+strconv.Itoa(number), time.Hour); err != nil {
			return seen, err
		}
	}
	dir := filepath.Join(f.Work, strconv.Itoa(number))
	cancelled := make(chan error, 1)
	if of.result == interrupted {
		watching, stop := context.WithCancel(ctx)
		defer stop()
		go func() { cancelled <- d.cancel(watching, "-"+d.run+"-"+strconv.Itoa(number)+"-") }()
	} else {
		cancelled <- nil
	}
	if err = d.act(ctx, f, of, local, server, dir, number, &seen); err == nil {
		err = d.found(ctx, dir, &seen)
	}
	if err == nil && of.back() {
		err = errors.Join(<-cancelled, d.stays(ctx, &seen))
	}
	if who.d != nil {
		var stopErr error
		seen.users, stopErr = who.stop(ctx)
		err = errors.Join(err, stopErr)
	}
	return seen, err
}

// act runs the workflow as act does it, on this machine.
func (d *Drill) act(ctx context.Context, f Flow, of delivery, local []string, server, dir string, number int, seen *delivered) error {
	ctx, cancel := context.WithTimeout(ctx, flowTime)
	defer cancel()
	if err := os.MkdirAll(filepath.Join(dir, "artifacts"), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	event, err := json.Marshal(map[string]any{"inputs": map[string]string{
		"version": "0.0." + strconv.Itoa(number) + "-proof", "environment": "proof", "fault": of.fault, "note": note,
	}})
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "event.json"), event, 0o644); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	args := []string{
		"workflow_dispatch", "--json", "--directory", f.clone(), "--workflows", workflow, "--eventpath", filepath.Join(dir, "event.json"),
		"--platform", "ubuntu-24.04=-self-hosted", "--secret-file", filepath.Join(f.Work, "secrets.yaml"), "--no-cache-server",
		"--action-cache-path", filepath.Join(f.Work, "act"), "--env", "GITHUB_RUN_ID=" + d.run + "-" + strconv.Itoa(number),
	}
	for name, value := range map[string]string{
		"REGISTRY": f.Registry, "CLOUD": "kubeconfig", "RELEASE": d.Name, "NAMESPACE": d.Namespace, "VALUES": f.Values, "GATEKEEPER_SERVER": server,
	} {
		args = append(args, "--var", name+"="+value)
	}
	command := sh.Command(f.Act, append(args, local...)...)
	command.Env = []string{
		"PATH=" + filepath.Join(f.Work, "standins", "bin") + string(os.PathListSeparator) + os.Getenv("PATH"),
		"GATEKEEPER_TOKEN=" + d.Operator, "ARTIFACTS=" + filepath.Join(dir, "artifacts"), "STANDIN_LOG=" + filepath.Join(dir, "asked"),
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	defer log.Close()
	printed, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := command.Stream(ctx, write)
		_ = write.Close() // closes without an error
		ended <- err
	}()
	seen.run, err = flow.Read(printed, func(job, text string) {
		fmt.Fprintf(log, "%s | %s\n", job, text)
		if job == "deploy" { // of a build nobody wants to see all
			d.Say("    %s", text)
		}
	})
	_ = printed.CloseWithError(err)
	code, endErr := sh.ExitCode(<-ended)
	seen.exit = code
	for job, result := range seen.run.Jobs {
		if result != "success" {
			d.Say("    job %s: %s (%s)", job, result, log.Name())
		}
	}
	return errors.Join(err, endErr)
}

// found reads what the workflow left behind.
func (d *Drill) found(ctx context.Context, dir string, seen *delivered) error {
	asked, err := os.ReadFile(filepath.Join(dir, "asked"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read what stand-ins were asked: %w", err)
	}
	for _, call := range strings.Split(string(asked), "\n\n") {
		seen.asked = append(seen.asked, strings.ReplaceAll(call, "\n", " "))
	}
	err = filepath.WalkDir(filepath.Join(dir, "artifacts"), func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			seen.artifact = append(seen.artifact, e.Name())
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read artifacts: %w", err)
	}
	values, err := sh.Command("helm", "get", "values", d.Name, "--namespace", d.Namespace, "--output", "json").Output(ctx)
	if err != nil {
		return err
	}
	var helm struct {
		DeployID string `json:"deployId"`
	}
	if err := json.Unmarshal([]byte(values), &helm); err != nil {
		return fmt.Errorf("read helm's values: %w", err)
	}
	seen.helm = helm.DeployID
	if seen.stands, err = d.stands(ctx); err != nil {
		return err
	}
	pods, err := d.Kube.Pods(ctx, d.Namespace, d.Name+"-primary")
	if err != nil {
		return err
	}
	for _, p := range pods {
		if !p.Terminating {
			seen.imageIDs = append(seen.imageIDs, p.ImageID)
		}
	}
	all, err := d.rollouts(ctx, seen.run.Output("deploy", "rollout", "deploy-id"))
	if err == nil && len(all) > 0 {
		seen.record = all[0]
	}
	return err
}

// stands is how the gatekeeper sees the Canary.
func (d *Drill) stands(ctx context.Context) (s standing, err error) {
	path := "/api/v1/why?canary=" + url.QueryEscape(d.Namespace+"/"+d.Name)
	if err := d.call(ctx, http.MethodGet, "gatekeeper", "people", path, nil, &s, http.StatusOK); err != nil {
		return s, err
	}
	if s.Weight, err = d.Kube.Weight(ctx, d.Namespace, d.Name); err != nil {
		return s, err
	}
	return s, nil
}

// stays looks on for some intervals of Flagger whether anything begins. How all stands is taken from its last look: the gatekeeper
// sees a second later than Helm what Helm brought back.
func (d *Drill) stays(ctx context.Context, seen *delivered) error {
	over := time.NewTimer(intervals*interval + interval/2)
	defer over.Stop()
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		now, err := d.stands(ctx)
		if err != nil {
			return err
		}
		seen.stands = now
		if now.Phase != "Failed" || now.Weight != 0 || now.Rollout != nil {
			seen.began = fmt.Sprintf("phase %s, weight %d", now.Phase, now.Weight)
		}
		select {
		case <-again.C:
		case <-over.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// cancel does what GitHub does to a job that is cancelled: it interrupts the process of the step that runs, here the one that
// waits for a release with that in its deploy id, as soon as the release has traffic.
func (d *Drill) cancel(ctx context.Context, deployID string) error {
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return errors.New("the job was not cancelled: its release had no traffic")
		case <-again.C:
		}
		now, err := d.stands(ctx)
		if err != nil || now.Weight == 0 || !strings.Contains(now.Revision.DeployID, deployID) {
			continue // also before the first look
		}
		pid, err := sh.Running("gatekeeper", "wait", "--deploy-id", now.Revision.DeployID)
		if err != nil {
			return err
		}
		return sh.Interrupt(pid)
	}
}
