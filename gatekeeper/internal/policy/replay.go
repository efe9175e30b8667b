package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Replay judges recorded ticks again, by any rules, and gives each tick's verdict. By the rules a rollout was judged by they
// are the recorded ones, bit for bit, on the same processor architecture. What is good was decided when the ticks were
// counted, so another slo.good changes nothing here.
func Replay(rules Rules, recorded rollout.Rollout, ticks []rollout.JudgedTick) []rollout.Verdict {
	r := recorded.Begun()
	verdicts := make([]rollout.Verdict, 0, len(ticks))
	for _, t := range ticks {
		Advance(rules, &r, t.Tick)
		verdicts = append(verdicts, r.Verdict)
	}
	return verdicts
}

// Document is the rules as they are kept, and a digest of them.
func (r Rules) Document() (text []byte, digest string, err error) {
	if text, err = json.Marshal(r); err != nil {
		return nil, "", fmt.Errorf("encode policy %s: %w", r.Name, err)
	}
	sum := sha256.Sum256(text)
	return text, hex.EncodeToString(sum[:8]), nil
}

// FromDocument reads rules that Document wrote.
func FromDocument(text []byte) (Rules, error) {
	var r Rules
	if err := json.Unmarshal(text, &r); err != nil {
		return Rules{}, fmt.Errorf("decode kept policy: %w", err)
	}
	return r, nil
}
