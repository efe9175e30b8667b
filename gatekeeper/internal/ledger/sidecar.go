package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// sidecar is a file that was made of a closing entry and its ticks: a policy.Tape.
type sidecar struct {
	name string
	text []byte
	tape policy.Tape
	raw  struct {
		Rules json.RawMessage   `json:"rules"`
		Ticks []json.RawMessage `json:"ticks"`
	}
}

func readSidecar(name string, text []byte) (sidecar, error) {
	// Each tick is compared to the byte with the recorded one; somebody may have indented the file.
	compact := &bytes.Buffer{}
	if err := json.Compact(compact, text); err != nil {
		return sidecar{}, fmt.Errorf("read sidecar %s: %w", name, err)
	}
	s := sidecar{name: name, text: compact.Bytes()}
	if err := decodeBoth(s.text, &s.raw, &s.tape); err != nil {
		return sidecar{}, fmt.Errorf("read sidecar %s: %w", name, err)
	}
	if s.tape.Rollout.ID == "" {
		return sidecar{}, fmt.Errorf("read sidecar %s: %w", name, errors.New("it names no rollout; give a file that the gatekeeper wrote beside deployment_report.md"))
	}
	return s, nil
}

// Sidecar lets the verifier compare a sidecar with the ledger when the entry of its rollout comes.
func (v *Verifier) Sidecar(name string, text []byte) error {
	s, err := readSidecar(name, text)
	if err != nil {
		return err
	}
	v.sidecars[s.tape.Rollout.ID] = s
	return nil
}

// SidecarAlone checks a sidecar by itself: its ticks by their digest, its verdicts and figures by its ticks. Whether it is
// the ledger's is not known then. self is as in NewVerifier.
func SidecarAlone(self, name string, text []byte) (Summary, error) {
	s, err := readSidecar(name, text)
	if err != nil {
		return Summary{}, err
	}
	v := NewVerifier(self)
	v.sum.Sidecars = 1
	if len(s.raw.Ticks) == 0 && s.tape.Rollout.Tape.Ticks > 0 {
		v.note("%s has no ticks any more: its verdicts can not be judged again", name)
		return v.sum, nil
	}
	return v.sum, v.judge(s.tape.Rollout, s.raw.Rules, s.raw.Ticks, s.at)
}

func (s sidecar) at(where, written, expected string) *Misfit {
	return &Misfit{Seq: s.tape.Seq, Rollout: s.tape.Rollout.ID, Where: s.name + ": " + where, Written: written, Expected: expected}
}

// compare finds the first thing in the sidecar that is not as the ledger has it.
func (s sidecar) compare(e rollout.Entry, ticks []json.RawMessage) error {
	tape, err := policy.TapeOf(e)
	if err != nil {
		return s.at("rollout", "a rollout", "what can not be read: "+err.Error())
	}
	written, expected := tree(s.text), tree(tape)
	if w, ok := written.(map[string]any); ok {
		w["ticks"] = nil // they are compared with the recorded ones, without the ledger's only with their digest
		if len(ticks) > 0 {
			w["ticks"] = tree(s.raw.Ticks)
			if e, ok := expected.(map[string]any); ok {
				e["ticks"] = tree(ticks)
			}
		}
	}
	if d := differ("", written, expected); d != nil {
		return s.at(d.where, d.written, d.expected+", as the ledger has it")
	}
	if len(ticks) == 0 && len(s.raw.Ticks) > 0 { // the ledger's are pruned, these are still known by their digest
		return tapeFits(tape.Rollout, s.raw.Ticks, s.at)
	}
	return nil
}
