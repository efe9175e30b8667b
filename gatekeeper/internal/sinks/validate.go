package sinks

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Validate names every field that is wrong, by its path in the file: policy.FieldErrors, joined.
func (c Config) Validate() error {
	var w wrong
	const least, most = time.Minute, 7 * 24 * time.Hour
	w.unless(c.Repeat == 0 || c.Repeat >= least && c.Repeat <= most, "repeat", "%s is not a duration from 1m to 7d; write 0s for never", c.Repeat)
	w.unless(base(c.Slack.API) != "" && strings.HasSuffix(c.Slack.API, "/"), "slack.api", "%q is not the base of Slack's Web API; write https://slack.com/api/ or https://slack-gov.com/api/", c.Slack.API)
	for i, id := range c.Slack.Approvers {
		w.unless(strings.HasPrefix(id, "U") || strings.HasPrefix(id, "W"), fmt.Sprintf("slack.approvers[%d]", i), "%q is not a user's id; Slack shows it in the profile as the member ID, such as U012AB3CD", id)
	}
	for i, s := range c.Sinks {
		field := fmt.Sprintf("sinks[%d]", i)
		w.unless(!slices.ContainsFunc(c.Sinks[:i], func(o Sink) bool { return o.Name == s.Name }), field+".name", "%q is there twice; each sink has a name of its own", s.Name)
		s.validate(&w, field)
	}
	return errors.Join(w...)
}

func (s Sink) validate(w *wrong, field string) {
	w.unless(name(s.Name), field+".name", "%q is not a name; write lower-case letters, digits and -, at most 63", s.Name)
	for i, h := range s.On {
		where := fmt.Sprintf("%s.on[%d]", field, i)
		w.unless(slices.Contains(rollout.Happenings(), h), where, "%q is none of %s", h, list(rollout.Happenings()))
		w.unless(!slices.Contains(s.On[:i], h), where, "%q is there twice; name each happening once", h)
	}
	w.unless(weight(s.Severity) >= 0 || s.Severity == "", field+".severity", "%q is none of info, warning, critical", s.Severity)
	for i, pattern := range s.Canaries {
		_, err := path.Match(pattern, "")
		w.unless(err == nil && strings.Count(pattern, "/") == 1, fmt.Sprintf("%s.canaries[%d]", field, i), "%q is not a pattern of namespace/name; write for example shop/*", pattern)
	}
	for _, h := range rollout.Happenings() {
		text, err := s.Sentence(Sample(h, time.Time{}), "")
		if err == nil && len(text) >= maxSentence {
			err = fmt.Errorf("it says more than %d bytes of a sample", maxSentence)
		}
		if err != nil {
			w.add(field+".template", "%v", err)
			break
		}
	}
	s.validateWay(w, field)
}

// validateWay checks what each type needs to reach somebody, and that it has nothing that it does not need.
func (s Sink) validateWay(w *wrong, field string) {
	has := map[string]bool{"url": s.URL.Set(), "token": s.Token.Set(), "channel": s.Channel != "", "secret": s.Secret.Set()}
	var needs, may []string
	switch s.Type {
	case Webhook:
		needs, may = []string{"url"}, []string{"secret"}
		w.unless(s.URL.Value == "" || base(s.URL.Value) != "", field+".url", "it is not an http or https URL") // it may be secret all the same
	case SlackApp:
		needs = []string{"url"}
		if has["token"] || has["channel"] {
			needs = []string{"token", "channel"}
		}
	case Teams, Shoutrrr:
		needs = []string{"url"}
	default:
		w.add(field+".type", "%q is none of webhook, slack, teams, shoutrrr", s.Type)
		return
	}
	for _, what := range []string{"url", "token", "channel", "secret"} {
		needed := slices.Contains(needs, what)
		w.unless(has[what] || !needed, field, "a sink of type %s needs %s", s.Type, way(s.Type, what))
		w.unless(!has[what] || needed || slices.Contains(may, what), field, "a sink of type %s has no %s", s.Type, what)
	}
	w.unless(s.Type == Webhook || s.URL.Value == "", field+".url", "the address of a sink of type %s is a secret; write urlFile or urlEnv", s.Type)
	for what, secret := range map[string]Secret{"url": s.URL, "token": s.Token, "secret": s.Secret} {
		ways := 0
		for _, one := range []string{secret.Value, secret.File, secret.Env} {
			if one != "" {
				ways++
			}
		}
		w.unless(ways < 2, field, "%s is given in two ways; write one of %s", what, way(s.Type, what))
	}
}

// way is how what is written in the file.
func way(of Type, what string) string {
	switch {
	case what == "channel":
		return what
	case what == "url" && of == Webhook:
		return "url, urlFile or urlEnv"
	case what == "url" && of == SlackApp:
		return "token and channel of a bot, or urlFile or urlEnv of an incoming webhook"
	default:
		return what + "File or " + what + "Env"
	}
}

// base is scheme and host of an address, "" when it is none that can be posted to.
func base(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func name(s string) bool {
	inside := strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
	return s != "" && len(s) <= 63 && inside && s[0] != '-' && s[len(s)-1] != '-'
}

func list[T ~string](all []T) string {
	words := make([]string, len(all))
	for i, word := range all {
		words[i] = string(word)
	}
	return strings.Join(words, ", ")
}

// wrong collects what Validate finds.
type wrong []error

func (w *wrong) add(field, format string, args ...any) {
	*w = append(*w, policy.FieldError{Field: field, Text: fmt.Sprintf(format, args...)})
}

func (w *wrong) unless(ok bool, field, format string, args ...any) {
	if !ok {
		w.add(field, format, args...)
	}
}
