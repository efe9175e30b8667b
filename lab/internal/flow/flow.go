// Package flow reads what act (github.com/nektos/act) prints of a workflow's run: results of jobs and steps, outputs,
// summaries, annotations.
package flow

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Run is one run of a workflow.
type Run struct {
	Jobs        map[string]string // result by the job's id, of those that ran
	Steps       []Step            // that ended, in the order of their ends
	Outputs     map[string]string // of steps, by job/step/name, where step is its id, or its number without one
	Summaries   map[string]string // by job
	Annotations []Annotation
}

// Step is one of a job's, or one inside an action that a step uses.
type Step struct{ Job, ID, Name, Result string }

// Annotation is a message at the head of a run.
type Annotation struct{ Job, Level, Title, Text string }

// maxLine bounds one line, in bytes: a report entry is one.
const maxLine = 8 << 20

// line is one of act's, with --json.
type line struct {
	Job        string            `json:"jobID"`
	Step       string            `json:"step"`
	Steps      []string          `json:"stepID"`
	StepResult string            `json:"stepResult"`
	JobResult  string            `json:"jobResult"`
	Stage      string            `json:"stage"`
	Command    string            `json:"command"`
	Name       string            `json:"name"`
	Arg        string            `json:"arg"`
	Content    string            `json:"content"`
	Pairs      map[string]string `json:"kvPairs"`
	Raw        bool              `json:"raw_output"`
	Text       string            `json:"msg"`
}

// Read reads a whole run, and hands what the steps print to say, line by line.
func Read(from io.Reader, say func(job, text string)) (Run, error) {
	r := Run{Jobs: map[string]string{}, Outputs: map[string]string{}, Summaries: map[string]string{}}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var l line
		if !bytes.HasPrefix(lines.Bytes(), []byte("{")) {
			continue // act's own warnings before it begins
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return r, fmt.Errorf("read what act prints: %w: %.200s", err, lines.Text())
		}
		r.take(l)
		switch {
		case l.Raw || l.Command == "error" || l.Command == "warning":
			if text := lasting(l.Text); text != "" {
				say(l.Job, text)
			}
		case l.StepResult == "failure":
			say(l.Job, "step failed: "+l.Step)
		}
	}
	if err := lines.Err(); err != nil {
		return r, fmt.Errorf("read what act prints: %w", err)
	}
	return r, nil
}

// lasting is what stays to be read of a line: act gives steps a terminal, where one that moves is painted over.
func lasting(text string) string {
	text = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`).ReplaceAllString(strings.TrimSpace(text), "")
	return strings.TrimSpace(text[strings.LastIndex(text, "\r")+1:])
}

func (r *Run) take(l line) {
	id := strings.Join(l.Steps, "/")
	switch {
	case l.JobResult != "":
		r.Jobs[l.Job] = l.JobResult
	case l.StepResult != "" && l.Stage == "Main":
		r.Steps = append(r.Steps, Step{l.Job, id, l.Step, l.StepResult})
	case l.Command == "set-output":
		r.Outputs[l.Job+"/"+id+"/"+l.Name] = l.Arg
	case l.Command == "summary":
		r.Summaries[l.Job] += l.Content
	case l.Command == "error" || l.Command == "warning" || l.Command == "notice":
		r.Annotations = append(r.Annotations, Annotation{l.Job, l.Command, l.Pairs["title"], l.Arg})
	}
}

// Output is one of a step of the job itself, "" when it was not set.
func (r Run) Output(job, step, name string) string { return r.Outputs[job+"/"+step+"/"+name] }

// Failed are the names of the job's own steps that failed.
func (r Run) Failed(job string) (names []string) {
	for _, s := range r.Steps {
		if s.Job == job && s.Result == "failure" && !strings.Contains(s.ID, "/") {
			names = append(names, s.Name)
		}
	}
	return names
}

// Foreign are the actions of other repositories that workflows or actions use, as owner/repository@commit, each once.
func Foreign(files ...[]byte) (actions []string) {
	foreign := regexp.MustCompile(`(?m)^\s*(?:- )?uses:\s*([\w.-]+/[\w./-]+@[0-9a-f]{40})`)
	for _, text := range files {
		for _, found := range foreign.FindAllSubmatch(text, -1) {
			actions = append(actions, string(found[1]))
		}
	}
	slices.Sort(actions)
	return slices.Compact(actions)
}
