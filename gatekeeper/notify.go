package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/notify"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policyfile"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

type notifyCmd struct {
	Test   notifyTestCmd   `cmd:"" help:"Send a sample, clearly marked as one, to a sink and print what was answered."`
	List   notifyListCmd   `cmd:"" help:"List the sinks and what each is told of."`
	Check  notifyCheckCmd  `cmd:"" help:"Read a sinks file and its secrets, or say which lines are wrong and what can not be read."`
	Schema notifySchemaCmd `cmd:"" help:"Print the JSON schema of a sinks file."`
}

type notifyTestCmd struct {
	sinkFlags `embed:""`

	Sink   string `arg:"" help:"Name of the sink."`
	Event  string `default:"rolled-back" help:"What the sample tells of: started, waiting, unattended, stalled, promoted, rolled-back, superseded, aborted or stuck."`
	DryRun bool   `help:"Print what would be sent, and send nothing."`
}

// Run sends the sample once. That it was not delivered is an error.
func (c notifyTestCmd) Run(ctx context.Context, s streams) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	sink, ok := config.Get(c.Sink)
	if !ok {
		return fmt.Errorf("there is no sink %q: %s", c.Sink, known(config))
	}
	event := rollout.Happening(c.Event)
	if !slices.Contains(rollout.Happenings(), event) {
		return fmt.Errorf("--event %s: it is none of %v", c.Event, rollout.Happenings())
	}
	teller, err := notify.New(sink, c.options(config))
	if err != nil {
		return err
	}
	m := rollout.Message{Sink: c.Sink, News: sinks.Sample(event, time.Now())}
	// Each sample is news: a receiver that knows the one before must not drop it.
	m.News.Rollout += fmt.Sprintf("-%d", m.News.At.UnixNano())
	if c.DryRun {
		payload, err := teller.Payload(m)
		if err != nil {
			return fmt.Errorf("sink %s: %w", c.Sink, err)
		}
		_, err = fmt.Fprintf(s.out, "%s\n", payload)
		return err
	}
	answer := teller.Tell(ctx, m)
	if answer.Err != nil {
		advice := "it would not be tried again"
		if answer.Retry {
			advice = "it would be tried again"
		}
		return fmt.Errorf("sink %s was not told, %s: %w", c.Sink, advice, answer.Err)
	}
	_, err = fmt.Fprintf(s.out, "sink %s (%s) was told: %s\n", sink.Name, sink.Type, answer.Status)
	return err
}

type notifyListCmd struct {
	sinkFlags `embed:""`
}

// Run prints a line for each sink.
func (c notifyListCmd) Run(s streams) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SINK\tTYPE\tON\tSEVERITY\tCANARIES")
	for _, sink := range config.Sinks {
		on := make([]string, len(sink.On))
		for i, h := range sink.On {
			on[i] = string(h)
		}
		severity := sink.Severity
		if severity == "" {
			severity = rollout.Info
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", sink.Name, sink.Type, orAll(on), severity, orAll(sink.Canaries))
	}
	return table.Flush()
}

func orAll(words []string) string {
	if len(words) == 0 {
		return "all"
	}
	return strings.Join(words, ",")
}

func known(c sinks.Config) string {
	if len(c.Sinks) == 0 {
		return "there are none, give a file with --sinks"
	}
	names := make([]string, len(c.Sinks))
	for i, s := range c.Sinks {
		names[i] = s.Name
	}
	return "there are " + strings.Join(names, ", ")
}

type notifyCheckCmd struct {
	File string `arg:"" type:"existingfile" help:"Sinks file (YAML)."`
}

// Run reads the file, and each secret that it names.
func (c notifyCheckCmd) Run(s streams) error {
	config, err := sinkFlags{Sinks: c.File}.config()
	if err != nil {
		return err
	}
	var missing []error
	for _, sink := range config.Sinks {
		missing = append(missing, notify.Secrets(sink))
	}
	if err := errors.Join(missing...); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s: %d sinks, every secret can be read and used\n", c.File, len(config.Sinks))
	return err
}

type notifySchemaCmd struct{}

// Run prints the schema.
func (notifySchemaCmd) Run(s streams) error {
	schema, err := policyfile.SinksSchema()
	if err != nil {
		return err
	}
	_, err = s.out.Write(schema)
	return err
}

// warnUnknown writes a line for each sink that a policy names and the sinks file does not have.
func warnUnknown(w io.Writer, file string, rules policy.Rules) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read sinks: %w", err)
	}
	config, err := policyfile.ParseSinks(file, text)
	if err != nil {
		return err
	}
	for _, name := range config.Unknown(rules) {
		if _, err := fmt.Fprintf(w, "warning: policy %s tells the sink %s, which %s does not have\n", rules.Name, name, file); err != nil {
			return err
		}
	}
	return nil
}
