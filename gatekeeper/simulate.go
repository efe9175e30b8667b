package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policyfile"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/simulate"
)

type simulateCmd struct {
	RPS         float64       `default:"10" help:"Requests a second of the service, both versions together."`
	Weight      int           `default:"10" help:"Percent of them that go to the canary."`
	ErrorRate   float64       `default:"0.02" help:"Share of the canary's requests that fail, 0 to 1."`
	PrimaryRate float64       `default:"0.001" help:"Share of the primary's requests that fail, 0 to 1."`
	Cluster     float64       `default:"1" help:"Mean number of errors that come together; 1: each by itself."`
	For         time.Duration `default:"45m" help:"How long a rollout is watched; longer than bake and evidence.maxHold, to see all rules."`
	Policy      string        `type:"existingfile" help:"Policy document (YAML); the default policy without it."`
	Runs        int           `default:"200" help:"Rollouts of each kind."`
	Seed        uint64        `default:"1" help:"The same seed gives the same result."`
	Flagger     bool          `help:"Show also what Flagger's own success rate check would do (1m window; 10s/1, 10s/10, 1m/5)."`
	Output      string        `enum:"text,json" default:"text" help:"text or json."`
}

// Validate says what can not be simulated; kong asks before Run.
func (c simulateCmd) Validate() error {
	switch {
	case c.RPS <= 0 || c.RPS > 1e5:
		return fmt.Errorf("--rps %v: must be over 0 and at most 100000", c.RPS)
	case c.Weight < 1 || c.Weight > 100:
		return fmt.Errorf("--weight %d: must be 1 to 100 percent", c.Weight)
	case c.ErrorRate < 0 || c.ErrorRate > 1 || c.PrimaryRate < 0 || c.PrimaryRate > 1:
		return errors.New("--error-rate and --primary-rate are shares from 0 to 1; 2 % is 0.02")
	case c.Cluster < 1 || c.Cluster > 1000:
		return fmt.Errorf("--cluster %v: must be 1 to 1000", c.Cluster)
	case c.For < time.Second || c.For > 24*time.Hour:
		return fmt.Errorf("--for %s: must be from 1s to 24h", c.For)
	case c.Runs < 1 || c.Runs > 1_000_000:
		return fmt.Errorf("--runs %d: must be 1 to 1000000", c.Runs)
	}
	return nil
}

// simulated is one line of the result.
type simulated struct {
	Judge     string  `json:"judge"`
	ErrorRate float64 `json:"errorRate"`
	simulate.Summary
}

// Run simulates canaries with the asked error rate, and some that are exactly at their SLO, whose rollback is a false one.
func (c simulateCmd) Run(ctx context.Context, s streams) error {
	rules := policy.Default()
	if c.Policy != "" {
		text, err := os.ReadFile(c.Policy)
		if err != nil {
			return fmt.Errorf("read policy: %w", err)
		}
		if rules, err = policyfile.ParseFile(c.Policy, text); err != nil {
			return err
		}
	}
	type kind struct {
		name string
		make func() simulate.Judge
	}
	kinds := []kind{{"gatekeeper, policy " + rules.Name, func() simulate.Judge { return simulate.NewGatekeeper(rules, c.Weight) }}}
	if c.Flagger {
		for _, f := range []simulate.Flagger{{Interval: 10 * time.Second, Threshold: 1}, {Interval: 10 * time.Second, Threshold: 10}, {Interval: time.Minute, Threshold: 5}} {
			kinds = append(kinds, kind{fmt.Sprintf("Flagger alone, %s × %d", short(f.Interval), f.Threshold), func() simulate.Judge { judge := f; return &judge }})
		}
	}
	atSLO := (100 - rules.SLO.Objective) / 100
	var lines []simulated
	for _, k := range kinds {
		for _, rates := range [][2]float64{{c.ErrorRate, c.PrimaryRate}, {atSLO, atSLO}} {
			if c.Output == "text" {
				fmt.Fprintf(s.err, "simulating %d rollouts: %s, errors %.3g %%\n", c.Runs, k.name, 100*rates[0])
			}
			service := simulate.Service{RPS: c.RPS, Weight: c.Weight, ErrorRate: rates[0], PrimaryRate: rates[1], Cluster: c.Cluster, For: c.For}
			all, err := c.many(ctx, s.err, service, k.make, fmt.Sprintf("%s, errors %v", k.name, rates[0]))
			if err != nil {
				return err
			}
			lines = append(lines, simulated{Judge: k.name, ErrorRate: rates[0], Summary: simulate.Summarize(all)})
		}
	}
	if c.Output == "json" {
		return json.NewEncoder(s.out).Encode(map[string]any{
			"rps": c.RPS, "weight": c.Weight, "primaryRate": c.PrimaryRate, "cluster": c.Cluster, "forSeconds": c.For.Seconds(), "seed": c.Seed, "results": lines,
		})
	}
	return c.print(s.out, lines)
}

// many runs all rollouts of one kind on all processors. Each has its own seed, so the result does not depend on their number.
func (c simulateCmd) many(ctx context.Context, progress io.Writer, service simulate.Service, judge func() simulate.Judge, what string) ([]simulate.Outcome, error) {
	outcomes := make([]simulate.Outcome, c.Runs)
	var next, done atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < c.Runs && ctx.Err() == nil; i = next.Add(1) - 1 {
				outcomes[i] = simulate.Run(service, judge(), rand.New(rand.NewPCG(c.Seed, uint64(i))))
				done.Add(1)
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	file, isFile := progress.(*os.File)
	terminal := isFile && isatty.IsTerminal(file.Fd())
	for {
		select {
		case <-finished:
			if terminal {
				fmt.Fprint(progress, "\r\033[K")
			}
			return outcomes, ctx.Err()
		case <-ticker.C:
			if terminal {
				fmt.Fprintf(progress, "\r\033[K%s: %d of %d", what, done.Load(), c.Runs)
			}
		}
	}
}

func (c simulateCmd) print(out io.Writer, lines []simulated) error {
	text := &strings.Builder{}
	fmt.Fprintf(text, "%v requests/s, %d %% to the canary (%.3g/s), errors in clusters of %v, %d rollouts each, watched for %s\n\n",
		c.RPS, c.Weight, c.RPS*float64(c.Weight)/100, c.Cluster, c.Runs, short(c.For))
	fmt.Fprintf(text, "%-32s %-22s %12s %16s %22s  %s\n", "judge", "canary", "rolled back", "after (95 %)", "failed requests (95 %)", "why")
	for i, l := range lines {
		canary := fmt.Sprintf("fails %.3g %%", 100*l.ErrorRate)
		if i%2 == 1 {
			canary = fmt.Sprintf("at its SLO, %.3g %%", 100*l.ErrorRate)
		}
		after, failed := "-", "-"
		if l.RolledBack > 0 {
			after = fmt.Sprintf("%.0f s (%.0f)", l.Seconds.Median, l.Seconds.P95)
			failed = fmt.Sprintf("%.0f (%.0f)", l.Failed.Median, l.Failed.P95)
		}
		fmt.Fprintf(text, "%-32s %-22s %10.4g %% %16s %22s  %s\n", l.Judge, canary, 100*float64(l.RolledBack)/float64(l.Runs), after, failed, reasons(l.Reasons))
	}
	text.WriteString("\nA canary at its SLO that is rolled back is a false rollback.\n")
	_, err := io.WriteString(out, text.String())
	return err
}

// reasons lists the kinds of verdicts, the most frequent first.
func reasons(of map[string]int) string {
	kinds := slices.SortedFunc(maps.Keys(of), func(a, b string) int { return cmp.Or(of[b]-of[a], cmp.Compare(a, b)) })
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%s %d", kind, of[kind])
	}
	return strings.Join(kinds, ", ")
}

// short is a duration without empty minutes and seconds: 10s, 1m, 30m.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
