package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/crowd"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// Result is what a run came to.
type Result struct {
	Seed      uint64
	Kills     int
	Handovers int // kills after which another replica led
	Took      time.Duration
	Rollouts  map[string]int            // by result
	Hooks     map[string]map[string]int // answers (yes, no, unreachable) by hook
	Keys      int                       // notifications that arrived, each counted once
	Answers   map[int]int               // what the receiver answered, by status; 0: nothing
	// Repeats are notifications that came again after 2xx because their sender was killed before it could note that. Each
	// is the last one that its sender had delivered.
	Repeats int
	Verify  string   // what gatekeeper verify said of the ledger
	Faults  []string // all that should not have been
}

// judge waits until everything is told and compares.
func judge(ctx context.Context, f *fleet, s *sink, expected []map[string]string) (Result, error) {
	rng := rand.New(rand.NewPCG(0, 0)) // whom to ask: all must say the same
	result := Result{Rollouts: map[string]int{}}
	var want []string // keys of notifications
	var all []rollout
	err := within(ctx, func() error {
		all, want = nil, nil
		for i := range expected {
			of, err := f.rollouts(ctx, f.any(rng), crowd.Name(i))
			if err != nil {
				return err
			}
			all = append(all, of...)
		}
		entries, err := f.entries(ctx, f.any(rng))
		if err != nil {
			return err
		}
		for _, o := range all {
			if entries[o.ID] != 1 {
				return fmt.Errorf("rollout %s has %d closing entries in the ledger, it should be one", o.ID, entries[o.ID])
			}
			want = append(want, o.ID+"/started", o.ID+"/"+o.Result)
		}
		received, _ := s.all()
		for _, key := range want {
			if !slices.ContainsFunc(received, func(d delivery) bool { return d.key == key }) {
				return fmt.Errorf("notification %s has not arrived", key)
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	if err != nil {
		result.Faults = append(result.Faults, err.Error())
	}
	result.Faults = append(result.Faults, compare(all, expected)...)
	for _, o := range all {
		result.Rollouts[o.Result]++
	}
	received, answers := s.all()
	repeats, faults := again(received)
	result.Keys, result.Answers, result.Repeats = len(received)-repeats, answers, repeats
	result.Faults = append(result.Faults, faults...)
	verify := sh.Command(f.cfg.Program, "verify", "--server", "http://"+f.any(rng).people)
	if result.Verify, err = verify.Output(ctx); err != nil {
		result.Faults = append(result.Faults, err.Error())
	}
	result.Verify = strings.Join(strings.Fields(result.Verify), " ")
	return result, nil
}

// within tries until it succeeds or the time for the end is over.
func within(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	for {
		err := try()
		if err == nil || pause(ctx, 500*time.Millisecond) != nil {
			return err
		}
	}
}

// compare says where the rollouts on record are not those that there were: each version once, with its result.
func compare(all []rollout, expected []map[string]string) []string {
	var faults []string
	want := map[string]string{}
	for _, of := range expected {
		maps.Copy(want, of)
	}
	seen := map[string]int{}
	for _, o := range all {
		version := o.Revision.DeployID
		seen[version]++
		if result, known := want[version]; !known || result != o.Result {
			faults = append(faults, fmt.Sprintf("rollout %s of %s has the result %q, it should be %q", o.ID, version, o.Result, result))
		}
	}
	for _, version := range slices.Sorted(maps.Keys(want)) {
		if seen[version] != 1 {
			faults = append(faults, fmt.Sprintf("%s has %d rollouts on record, it should be one", version, seen[version]))
		}
	}
	return faults
}

// again counts deliveries that came once more after 2xx. There is one cause that nobody can prevent: the sender is killed
// between the receiver's answer and its own note of it. Then the delivery is the last of its sender, and another process
// sends it again. All else is a fault.
func again(received []delivery) (repeats int, faults []string) {
	last := map[string]delivery{} // by sender
	for _, d := range received {
		last[d.run] = d
	}
	first := map[string]delivery{} // by key; the latest of them
	for _, d := range received {
		before, repeated := first[d.key]
		first[d.key] = d
		if !repeated {
			continue
		}
		repeats++
		switch {
		case before.run == d.run:
			faults = append(faults, fmt.Sprintf("notification %s came twice from process %s", d.key, d.run))
		case last[before.run] != before:
			faults = append(faults, fmt.Sprintf("notification %s came again from process %s though process %s had delivered another after it", d.key, d.run, before.run))
		}
	}
	return repeats, faults
}

// Err says that something was not as it should be.
func (r Result) Err() error {
	if len(r.Faults) == 0 {
		return nil
	}
	return errors.New("faults were found:\n" + strings.Join(r.Faults, "\n"))
}

// WriteText is the result for people.
func (r Result) WriteText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	total := 0
	for _, n := range r.Rollouts {
		total += n
	}
	fmt.Fprintf(table, "kills\t%d, after %d of them another replica led (seed %d, %s)\n", r.Kills, r.Handovers, r.Seed, r.Took.Round(time.Second))
	fmt.Fprintf(table, "rollouts\t%d: %s\n", total, counts(r.Rollouts))
	for _, hook := range slices.Sorted(maps.Keys(r.Hooks)) {
		fmt.Fprintf(table, "hook %s\t%s\n", hook, counts(r.Hooks[hook]))
	}
	answers := map[string]int{}
	for status, n := range r.Answers {
		answers[map[int]string{0: "no answer"}[status]+map[bool]string{true: fmt.Sprint(status)}[status > 0]] = n
	}
	fmt.Fprintf(table, "notifications\t%d, the receiver's answers: %s\n", r.Keys, counts(answers))
	fmt.Fprintf(table, "came again after 2xx\t%d, each the last of a process that was killed before it could note the answer\n", r.Repeats)
	fmt.Fprintf(table, "ledger\t%s\n", r.Verify)
	fmt.Fprintf(table, "faults\t%d\n", len(r.Faults))
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

func counts(of map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%d %s", of[name], name))
	}
	return strings.Join(parts, ", ")
}
