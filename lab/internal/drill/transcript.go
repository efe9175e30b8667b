package drill

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/timeline"
)

// Call is one of Flagger's hook calls, as it came, and the gatekeeper's answer.
type Call struct {
	Number  int         `json:"number"`
	At      time.Time   `json:"at"`
	Hook    string      `json:"hook"`
	Method  string      `json:"method"`
	Path    string      `json:"path"`
	Headers http.Header `json:"headers"`
	Body    string      `json:"body"`
	Status  int         `json:"status"`
	Answer  string      `json:"answer"`
}

// payload is as much of a hook's body as a transcript needs.
type payload struct {
	Phase    string `json:"phase"`
	Metadata struct {
		EventType    string `json:"eventType"`
		EventMessage string `json:"eventMessage"`
	} `json:"metadata"`
}

// calls are Flagger's hook calls after the one with that number.
func (d *Drill) calls(ctx context.Context, after int) ([]Call, error) {
	var list []Call
	err := d.call(ctx, http.MethodGet, "receiver", "http", fmt.Sprintf("/calls?after=%d", after), nil, &list, http.StatusOK)
	return list, err
}

// transcript is the course of a release in words that do not depend on how fast anything was: the phases, the weights,
// and for each weight every different hook call with its answer and every different event, in the order in which they
// first came. Left out is what says no more than "not yet", for how often it is said is a matter of time; and so is whether
// Flagger asked in vain at a weight before it was told to go back.
func transcript(events []timeline.Event, calls []Call) ([]string, error) {
	var lines []string
	for _, subject := range []string{phase, weight} {
		values := []string{}
		for _, e := range events {
			if e.Subject == subject {
				values = append(values, e.Value)
			}
		}
		lines = append(lines, subject+": "+strings.Join(values, " "))
	}
	at, from := "weight 0", len(lines)
	var said []string
	for _, c := range calls {
		var p payload
		if err := json.Unmarshal([]byte(c.Body), &p); err != nil {
			return nil, fmt.Errorf("read body of hook call %d: %w", c.Number, err)
		}
		line := fmt.Sprintf("%s in %s: %d", c.Hook, p.Phase, c.Status)
		if c.Hook == "event" {
			line = fmt.Sprintf("event %s %q: %d", p.Metadata.EventType, p.Metadata.EventMessage, c.Status)
		}
		if c.Hook == "rollback" && c.Status == http.StatusOK {
			lines = lines[:from]
		}
		if notYet(c, p) || slices.Contains(said, line) {
			continue
		}
		said = append(said, line)
		lines = append(lines, at+": "+line)
		if _, percent, ok := strings.Cut(p.Metadata.EventMessage, " canary weight "); ok && c.Hook == "event" {
			at, from, said = "weight "+percent, len(lines), nil
		}
	}
	return lines, nil
}

// notYet reports whether a call only tells that Flagger or the gatekeeper waits.
func notYet(c Call, p payload) bool {
	if c.Hook != "event" {
		return c.Status == http.StatusForbidden && c.Hook != "rollback" || c.Status == http.StatusConflict && c.Hook == "pre-rollout"
	}
	message := p.Metadata.EventMessage
	return strings.Contains(message, " not ready: ") || strings.HasPrefix(message, "Halt ") || strings.HasSuffix(message, " not signaling a rollback")
}

// What every engine must give, by the number of the scenario.
//
//go:embed transcripts.json
var transcripts []byte

// compare returns where lines differ from the transcript that all engines give.
func compare(scenario int, lines []string) ([]string, error) {
	var all map[int][]string
	if err := json.Unmarshal(transcripts, &all); err != nil {
		return nil, fmt.Errorf("read transcripts: %w", err)
	}
	want := all[scenario]
	if slices.Equal(lines, want) {
		return nil, nil
	}
	same := 0
	for same < min(len(lines), len(want)) && lines[same] == want[same] {
		same++
	}
	return []string{fmt.Sprintf("the course differs from that of other engines from line %d on: got\n%s\nwant\n%s",
		same+1, strings.Join(lines[same:], "\n"), strings.Join(want[same:], "\n"))}, nil
}
