package rollout

import "time"

// Decision is what a person, or a pipeline in a person's name, said about a rollout.
type Decision struct {
	Kind DecisionKind `json:"kind"`
	// By is who said it, as authenticated; Claims is who the sender said it was, "" when that is the same.
	By     string `json:"by"`
	Claims string `json:"claims,omitempty"`
	// Via is the way it came: api, page, slack, ci; "" for the gatekeeper's own.
	Via       string    `json:"via,omitempty"`
	Why       string    `json:"why,omitempty"`
	At        time.Time `json:"at"`
	ExpiresAt time.Time `json:"expiresAt"` // of an approval; zero: never
}

// DecisionKind is what was said.
type DecisionKind string

// Approve lets a rollout through its approval gate. Reject and Abort send it back, before or while it has traffic: reject
// is the answer to a gate, abort needs none. Pause lets no traffic grow and nothing be promoted until Resume. Brake is the
// gatekeeper's own: nobody steered, so it took the traffic back.
const (
	Approve DecisionKind = "approve"
	Reject  DecisionKind = "reject"
	Abort   DecisionKind = "abort"
	Pause   DecisionKind = "hold"
	Resume  DecisionKind = "resume"
	Brake   DecisionKind = "brake"
)

// Sends reports whether the decision sends the rollout back.
func (k DecisionKind) Sends() bool { return k == Reject || k == Abort || k == Brake }

// Text is the decision in words.
func (d Decision) Text() string {
	what := map[DecisionKind]string{
		Approve: "approved", Reject: "rejected", Abort: "aborted", Pause: "held", Resume: "resumed", Brake: "taken back",
	}[d.Kind] + " by " + d.By
	if d.Claims != "" {
		what += " (" + d.Claims + ")"
	}
	if !d.ExpiresAt.IsZero() {
		what += " until " + d.ExpiresAt.UTC().Format("2006-01-02 15:04 MST")
	}
	if d.Why != "" {
		what += ": " + d.Why
	}
	return what
}

// Refused is the first decision in force at now that sends the rollout back, if there is one.
func (r *Rollout) Refused(now time.Time) (d Decision, ok bool) {
	for _, d := range r.Decisions {
		if d.Kind.Sends() && !d.At.After(now) {
			return d, true
		}
	}
	return Decision{}, false
}

// Paused is the decision in force at now that holds the rollout where it is, if there is one: the last hold that nobody
// has resumed since.
func (r *Rollout) Paused(now time.Time) (held Decision, ok bool) {
	for _, d := range r.Decisions {
		switch {
		case d.At.After(now):
		case d.Kind == Pause:
			held, ok = d, true
		case d.Kind == Resume:
			held, ok = Decision{}, false
		}
	}
	return held, ok
}
