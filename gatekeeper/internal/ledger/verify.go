package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Misfit is the first thing that does not fit. It is an error.
type Misfit struct {
	Seq      int64  `json:"seq,omitempty"`     // of the entry; 0 when it is about none
	Rollout  string `json:"rollout,omitempty"` // id
	Where    string `json:"where"`             // field, as a path: "hash", "rollout.steps[1].canary.bad"
	Written  string `json:"written"`
	Expected string `json:"expected"`
}

func (m *Misfit) Error() string {
	who := fmt.Sprintf("entry %d", m.Seq)
	if m.Seq == 0 {
		who = "the ledger"
	}
	if m.Rollout != "" {
		who += " (rollout " + m.Rollout + ")"
	}
	return fmt.Sprintf("%s does not fit at %s: written is %s, it should be %s", who, m.Where, m.Written, m.Expected)
}

// Summary is what was checked.
type Summary struct {
	Entries   int64  `json:"entries"`
	Hash      string `json:"hash"`      // of the last entry: whoever notes it knows later whether the end is still there
	Rollouts  int    `json:"rollouts"`  // closing entries
	Verdicts  int    `json:"verdicts"`  // judged again
	Decisions int    `json:"decisions"` // of people, found in their rollouts
	Pruned    int    `json:"pruned"`    // rollouts whose ticks were deleted: their verdicts can not be judged again
	Open      int    `json:"open"`      // rollouts without an entry, in whole files
	Sidecars  int    `json:"sidecars"`
	// Notes are what is no misfit and should be known.
	Notes []string `json:"notes,omitempty"`
}

// Verifier checks a ledger line by line.
type Verifier struct {
	self     string // who judges again, as in rollout.Rollout.JudgedBy
	sidecars map[string]sidecar
	sum      Summary
	last     rollout.Entry
	ended    bool
	ticks    []json.RawMessage             // of the rollout whose line comes
	decided  map[string][]rollout.Decision // by rollout that is not closed yet
	missing  map[string]*Misfit            // by rollout: ticks that are not there, until an entry says that they were pruned
}

// NewVerifier begins at the first line. self is the version that judges again, as keepers write it into rollouts: where
// others judged, another verdict is a note and no misfit.
func NewVerifier(self string) *Verifier {
	return &Verifier{self: self, sidecars: map[string]sidecar{}, decided: map[string][]rollout.Decision{}, missing: map[string]*Misfit{}}
}

// Take checks the next line. The error is a *Misfit; after one there is no use in going on.
func (v *Verifier) Take(l Line) error {
	switch {
	case l.Tick != nil:
		v.ticks = append(v.ticks, l.Tick)
		return nil
	case l.Entry != nil:
		return v.entry(*l.Entry)
	case l.Rollout != nil:
		return v.open(*l.Rollout)
	case l.End != nil:
		return v.end(*l.End)
	}
	return nil
}

// Summary is what was checked so far.
func (v *Verifier) Summary() Summary { return v.sum }

// Close says what was checked, after the last line.
func (v *Verifier) Close() (Summary, error) {
	if !v.ended {
		return v.sum, &Misfit{Where: "end", Written: "nothing", Expected: "a last line that says how many entries there are"}
	}
	return v.sum, nil
}

// entry checks an entry's place in the chain, then what it says.
func (v *Verifier) entry(e Entry) error {
	line, ticks := e.Entry(), v.ticks
	v.ticks = nil
	bound := line.After(v.last)
	for _, c := range []struct{ where, written, expected string }{
		{"seq", fmt.Sprint(line.Seq), fmt.Sprint(bound.Seq)},
		{"previous", line.Previous, bound.Previous},
		{"hash", line.Hash, bound.Hash},
	} {
		if c.written != c.expected {
			return &Misfit{Seq: bound.Seq, Rollout: line.Rollout, Where: c.where, Written: quote(c.written), Expected: quote(c.expected)}
		}
	}
	v.last = line
	v.sum.Entries, v.sum.Hash = line.Seq, line.Hash
	switch line.Kind {
	case rollout.EntryRollout:
		return v.closing(e, ticks)
	case rollout.EntryDecision:
		var d rollout.Decision
		if err := json.Unmarshal(line.Body, &d); err != nil {
			return unreadable(line, "body", err)
		}
		v.decided[line.Rollout] = append(v.decided[line.Rollout], d)
	case rollout.EntryPruned:
		var p rollout.Pruned
		if err := json.Unmarshal(line.Body, &p); err != nil {
			return unreadable(line, "body", err)
		}
		for _, r := range p.Rollouts {
			if v.missing[r.ID] != nil {
				v.sum.Pruned++
				delete(v.missing, r.ID)
			}
		}
	}
	return nil
}

// closing checks the entry that closes a rollout: its ticks, its verdicts, its figures and its decisions.
func (v *Verifier) closing(e Entry, ticks []json.RawMessage) error {
	v.sum.Rollouts++
	body := parts{}
	var account rollout.Account
	if err := decodeBoth([]byte(e.Body), &body, &account); err != nil {
		return unreadable(e.Entry(), "body", err)
	}
	r := account.Rollout
	at := func(where, written, expected string) *Misfit {
		return &Misfit{Seq: e.Seq, Rollout: r.ID, Where: where, Written: written, Expected: expected}
	}
	if sum := sha256.Sum256(body.Rollout); e.Record != hex.EncodeToString(sum[:]) {
		return at("record", "a document beside the ledger with the digest "+quote(e.Record), hex.EncodeToString(sum[:])+", as the entry says")
	}
	if sum := sha256.Sum256(account.Rules); r.PolicyDigest != "" && r.PolicyDigest != hex.EncodeToString(sum[:8]) {
		return at("rollout.policyDigest", quote(r.PolicyDigest), hex.EncodeToString(sum[:8])+", by the rules")
	}
	v.decisions(r)
	if e.Damage != "" {
		return at("ticks", "damaged ("+e.Damage+")", fmt.Sprintf("%d ticks", r.Tape.Ticks))
	}
	if len(ticks) == 0 && r.Tape.Ticks > 0 {
		v.missing[r.ID] = at("ticks", "none, and no entry says that they were pruned", fmt.Sprintf("%d ticks", r.Tape.Ticks))
	} else if err := v.judge(r, account.Rules, ticks, at); err != nil {
		return err
	}
	if s, ok := v.sidecars[r.ID]; ok {
		delete(v.sidecars, r.ID)
		v.sum.Sidecars++
		return s.compare(e.Entry(), ticks)
	}
	return nil
}

// decisions notes those that the ledger has and the rollout has not: their senders were told that they failed.
func (v *Verifier) decisions(r rollout.Rollout) {
	for _, d := range v.decided[r.ID] {
		found := slices.ContainsFunc(r.Decisions, func(have rollout.Decision) bool {
			return have.Kind == d.Kind && have.By == d.By && have.At.Equal(d.At) && have.Why == d.Why
		})
		if !found {
			v.note("rollout %s went on without the decision %q: its acknowledgement was lost, and whoever made it was told that it failed", r.ID, d.Text())
			continue
		}
		v.sum.Decisions++
	}
	delete(v.decided, r.ID)
}

// open checks a rollout that no entry closes.
func (v *Verifier) open(o Rollout) error {
	ticks := v.ticks
	v.ticks = nil
	v.sum.Open++
	var r rollout.Rollout
	if err := json.Unmarshal([]byte(o.Record), &r); err != nil {
		return &Misfit{Where: "rollout", Written: "a document that can not be read: " + err.Error(), Expected: "a rollout"}
	}
	if o.Adopted && len(ticks) == 0 {
		return nil // from before there was a ledger, and pruned since
	}
	return tapeFits(r, ticks, func(where, written, expected string) *Misfit {
		return &Misfit{Rollout: r.ID, Where: where, Written: written, Expected: expected}
	})
}

func (v *Verifier) end(e End) error {
	v.ended = true
	for _, c := range []struct {
		where             string
		written, expected any
	}{
		{"end.entries", e.Entries, v.sum.Entries},
		{"end.hash", e.Hash, v.sum.Hash},
		{"end, where a closing entry is missing or too many", fmt.Sprintf("%d closing entries", v.sum.Rollouts), fmt.Sprintf("%d closing entries", e.Closed)},
	} {
		if c.written != c.expected {
			return &Misfit{Where: c.where, Written: fmt.Sprint(c.written), Expected: fmt.Sprint(c.expected)}
		}
	}
	var first *Misfit
	for _, m := range v.missing {
		if first == nil || m.Seq < first.Seq {
			first = m
		}
	}
	if first != nil {
		return first
	}
	for id := range v.sidecars {
		return &Misfit{Rollout: id, Where: "sidecar", Written: "a rollout that the ledger has no closing entry of", Expected: "one of this ledger"}
	}
	return nil
}

func (v *Verifier) note(format string, args ...any) {
	v.sum.Notes = append(v.sum.Notes, fmt.Sprintf(format, args...))
}

// parts are the body of a closing entry, as it stands there to the byte.
type parts struct {
	Rollout json.RawMessage `json:"rollout"`
}

func decodeBoth(text []byte, a, b any) error {
	if err := json.Unmarshal(text, a); err != nil {
		return err
	}
	return json.Unmarshal(text, b)
}

func unreadable(e rollout.Entry, where string, err error) *Misfit {
	return &Misfit{Seq: e.Seq, Rollout: e.Rollout, Where: where, Written: "what can not be read: " + err.Error(), Expected: "the body of an entry of kind " + string(e.Kind)}
}

func quote(text string) string {
	if text == "" {
		return "nothing"
	}
	return fmt.Sprintf("%.80q", text)
}
