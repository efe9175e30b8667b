package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/fatih/color"
	"github.com/mattn/go-isatty"
	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/count"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/doctor"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policyfile"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/serve/check"
)

// doctorPause is between the two readings of which the traffic's rate is made, and what the gatekeeper has to answer in.
const doctorPause = 5 * time.Second

type doctorCmd struct {
	Canary        string        `arg:"" optional:"" help:"Canary to examine, namespace/name; all without it."`
	Kubeconfig    string        `env:"GATEKEEPER_KUBECONFIG,KUBECONFIG" help:"Way to the cluster; the pod's service account without it."`
	Policies      string        `type:"existingdir" help:"Folder of policy documents (*.yaml); the default policy without it."`
	GatekeeperURL string        `name:"gatekeeper-url" help:"Ask the gatekeeper at this URL whether it is ready."`
	Prometheus    string        `help:"URL of the Prometheus that knows the traffic; without it the primary's pods are read twice."`
	Timeout       time.Duration `default:"60s" help:"Time the whole examination may take."`
	Output        string        `enum:"text,json" default:"text" help:"text or json."`
}

// examined is what the command prints of one Canary.
type examined struct {
	Canary   rollout.Key      `json:"canary"`
	Policy   string           `json:"policy"`
	Findings []doctor.Finding `json:"findings"`
}

// Run examines and prints. Findings of severity error end it with exit code 3.
func (c doctorCmd) Run(ctx context.Context, s streams) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var key rollout.Key
	if c.Canary != "" {
		ns, name, ok := strings.Cut(c.Canary, "/")
		if !ok || ns == "" || name == "" {
			return fmt.Errorf("examine %q: write namespace/name", c.Canary)
		}
		key = rollout.Key{Namespace: ns, Name: name}
	}
	rules := policy.Set{"default": policy.Default()}
	var names []string
	if c.Policies != "" {
		var err error
		if rules, err = policyfile.Load(os.DirFS(c.Policies)); err != nil {
			return fmt.Errorf("load policies from %s: %w", c.Policies, err)
		}
		names = slices.Sorted(maps.Keys(rules))
	}
	cfg, err := kube.Config(c.Kubeconfig)
	if err != nil {
		return err
	}
	reader, err := kube.NewReader(cfg)
	if err != nil {
		return err
	}
	patients, err := reader.Patients(ctx, key, time.Now())
	if err != nil {
		return err
	}
	c.askGatekeeper(ctx, patients)
	for i := range patients {
		p := &patients[i]
		p.Policies, p.Rules = names, rules.For(p.Policy())
	}
	c.measure(ctx, reader, patients)

	all := []examined{}
	for _, p := range patients {
		all = append(all, examined{rollout.Key{Namespace: p.Namespace(), Name: p.Name()}, p.Policy(), doctor.Examine(p)})
	}
	if err := c.print(s.out, all); err != nil {
		return err
	}
	errs := 0
	for _, e := range all {
		for _, f := range e.Findings {
			if f.Severity == doctor.Error {
				errs++
			}
		}
	}
	if errs > 0 {
		return exitError{fmt.Errorf("errors found: %d, Canaries examined: %d", errs, len(all)), 3}
	}
	return nil
}

func (c doctorCmd) askGatekeeper(ctx context.Context, patients []doctor.Patient) {
	if c.GatekeeperURL == "" {
		return
	}
	trouble := ""
	ready := check.Command{URL: strings.TrimSuffix(c.GatekeeperURL, "/") + "/readyz", Timeout: doctorPause}
	if err := ready.Run(ctx, io.Discard); err != nil {
		trouble = err.Error()
	}
	for i := range patients {
		patients[i].GatekeeperURL, patients[i].GatekeeperTrouble = c.GatekeeperURL, trouble
	}
}

// measure fills in the primaries' traffic. Without it the examination is worth as much, so trouble is only noted.
func (c doctorCmd) measure(ctx context.Context, reader *kube.Reader, patients []doctor.Patient) {
	note := func(p *doctor.Patient, rate float64, err error) {
		if err != nil {
			p.RateTrouble = err.Error()
			return
		}
		p.Rate, p.RateKnown = rate, true
	}
	if c.Prometheus != "" {
		for i := range patients {
			rate, err := c.promRate(ctx, patients[i])
			note(&patients[i], rate, err)
		}
		return
	}
	before := make([]reading, len(patients))
	for i, p := range patients {
		before[i] = read(ctx, reader, p)
	}
	if !slices.ContainsFunc(before, func(r reading) bool { return r.err == nil }) {
		for i := range patients {
			note(&patients[i], 0, before[i].err)
		}
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(doctorPause):
	}
	for i := range patients {
		after := read(ctx, reader, patients[i])
		if before[i].err != nil {
			after = before[i]
		}
		note(&patients[i], after.since(before[i]), after.err)
	}
}

// reading is what the primary's pods had counted at a moment.
type reading struct {
	at   time.Time
	pods map[string]uint64
	err  error
}

func read(ctx context.Context, reader *kube.Reader, p doctor.Patient) reading {
	pages, err := reader.Pages(ctx, p.Primary)
	r := reading{at: time.Now(), err: err}
	if err == nil {
		r.pods, r.err = counted(pages, p.Rules.SLI())
	}
	return r
}

// counted is what each pod's metrics page has counted. A pod without the counter has answered nothing yet, unless none has it.
func counted(pages map[string]string, sli rollout.SLI) (map[string]uint64, error) {
	counts, has, without := map[string]uint64{}, false, error(nil)
	for pod, page := range pages {
		got, err := count.Parse(strings.NewReader(page), sli)
		switch {
		case errors.Is(err, count.ErrNoRequestsMetric):
			without = fmt.Errorf("pod %s: %w", pod, err)
		case err != nil:
			return nil, fmt.Errorf("pod %s: %w", pod, err)
		default:
			has = true
		}
		counts[pod] = got.Counts.Total()
	}
	if !has {
		return nil, without
	}
	return counts, nil
}

// since is the requests a second of the pods that were there both times; one that began anew in between counts for
// nothing.
func (r reading) since(before reading) float64 {
	more := uint64(0)
	for pod, n := range r.pods {
		if was, known := before.pods[pod]; known && n >= was {
			more += n - was
		}
	}
	seconds := r.at.Sub(before.at).Seconds()
	if seconds <= 0 {
		return 0
	}
	return float64(more) / seconds
}

// promRate asks for the mean of the last five minutes, by the labels of monitoring/prometheus.yaml.
func (c doctorCmd) promRate(ctx context.Context, p doctor.Patient) (float64, error) {
	client, err := api.NewClient(api.Config{Address: c.Prometheus, Client: new(http.Client)})
	if err != nil {
		return 0, fmt.Errorf("ask Prometheus at %s: %w", c.Prometheus, err)
	}
	name := regexp.QuoteMeta(p.Primary.Text("metadata", "name"))
	query := fmt.Sprintf(`sum(rate(%s{namespace=%q,pod=~"%s-[0-9a-z]+-[0-9a-z]+"}[5m]))`, p.Rules.SLI().Requests, p.Namespace(), strings.ReplaceAll(name, `\`, `\\`))
	got, _, _, err := promv1.NewAPI(client).Query(ctx, query, time.Now())
	if err != nil {
		return 0, fmt.Errorf("ask Prometheus at %s: %w", c.Prometheus, err)
	}
	vector, ok := got.(model.Vector)
	if !ok || len(vector) != 1 {
		return 0, fmt.Errorf("ask Prometheus at %s: no result for %s", c.Prometheus, query)
	}
	return float64(vector[0].Value), nil
}

func (c doctorCmd) print(out io.Writer, all []examined) error {
	if c.Output == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(all); err != nil {
			return fmt.Errorf("write findings: %w", err)
		}
		return nil
	}
	file, isFile := out.(*os.File)
	paint := painter(isFile && isatty.IsTerminal(file.Fd()) && os.Getenv("NO_COLOR") == "")
	for _, e := range all {
		fmt.Fprintf(out, "%s, policy %s: %s\n", e.Canary, e.Policy, tally(e.Findings))
		for _, f := range e.Findings {
			fmt.Fprintf(out, "\n%s %s  %s\n      %s\n", paint(f.Severity), f.ID, printable(f.Where), printable(f.Says))
			if f.Change != "" {
				fmt.Fprintf(out, "      Change: %s.\n", printable(f.Change))
			}
			fmt.Fprintf(out, "      (%s)\n", f.Source)
		}
		fmt.Fprintln(out)
	}
	if len(all) == 0 {
		fmt.Fprintln(out, "there is no Canary in the cluster")
	}
	return nil
}

// printable keeps what people wrote into objects from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// painter gives a severity its width and, on a terminal, its colour.
func painter(terminal bool) func(doctor.Severity) string {
	return func(s doctor.Severity) string {
		c := color.New(map[doctor.Severity]color.Attribute{doctor.Error: color.FgRed, doctor.Warn: color.FgYellow, doctor.Info: color.FgCyan}[s])
		c.DisableColor()
		if terminal {
			c.EnableColor()
		}
		return c.Sprintf("%-5s", s)
	}
}

func tally(findings []doctor.Finding) string {
	n := map[doctor.Severity]int{}
	for _, f := range findings {
		n[f.Severity]++
	}
	return fmt.Sprintf("%d errors, %d warnings, %d notes", n[doctor.Error], n[doctor.Warn], n[doctor.Info])
}

// exitError ends the process with a code other than 1.
type exitError struct {
	error
	code int
}

func exitCode(err error) int {
	var exit exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	return 1
}
