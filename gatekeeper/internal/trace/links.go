package trace

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// place is where in a template the id stands.
const place = "{trace_id}"

// Links are how people come to traces. The zero value has none.
type Links struct {
	Template string // address of a trace, with {trace_id} in it; "": nobody knows
	Rollouts bool   // the traces of rollouts are sent, so there is something to be seen
}

// CheckURL says what is wrong with a template.
func CheckURL(template string) error {
	where, err := url.Parse(strings.ReplaceAll(template, place, "0"))
	switch {
	case err != nil || where.Scheme != "http" && where.Scheme != "https" || where.Host == "":
		return fmt.Errorf("%q is no http or https URL", template)
	case !strings.Contains(template, place):
		return fmt.Errorf("%q does not say where the trace's id goes: put %s there", template, place)
	case strings.ContainsAny(template, " <>()|\"\\`") || strings.ContainsFunc(template, func(r rune) bool { return r < ' ' }):
		return errors.New("it has characters that must be percent-encoded in a URL")
	default:
		return nil
	}
}

// To is where the trace with this id is; "": nobody knows.
func (l Links) To(id string) string { return strings.ReplaceAll(l.Template, place, id) }

// Rollout is where the trace of the rollout with this id is; "" where it is not known or is not sent.
func (l Links) Rollout(rollout, traceparent string) string {
	id := l.ID(rollout, traceparent)
	if id == "" {
		return ""
	}
	return l.To(id)
}

// ID is that of its trace, "" where it is not sent.
func (l Links) ID(rollout, traceparent string) string {
	id, _, sampled := Context(rollout, traceparent)
	if !l.Rollouts || !sampled {
		return ""
	}
	return id.String()
}
