// Package sinks says who is told of what, and in which words: the sinks file as values, the routing of news, the templates.
package sinks

import (
	"path"
	"slices"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Config is the sinks file.
type Config struct {
	// Repeat is how often people are told again of what lasts and waits for them; 0: never.
	Repeat time.Duration
	Slack  Slack
	Sinks  []Sink
}

// Slack is what all sinks of type slack share, and the buttons in their messages.
type Slack struct {
	API       string   // base of the Web API, with a slash at its end
	Approvers []string // user ids that may decide by button; empty: whoever can see the message
}

// Sink is one place where people are told.
type Sink struct {
	Name     string
	Type     Type
	On       []rollout.Happening // empty: all
	Severity rollout.Severity    // the least that is told; "" is info
	Canaries []string            // patterns of namespace/name, as path.Match has them; empty: all
	Template string              // of the sentence, for text/template; "": the gatekeeper's own
	URL      Secret
	Token    Secret // of a Slack bot
	Channel  string // id of the Slack channel that the bot posts to
	Secret   Secret // by which a webhook's messages are signed
}

// Type is how a sink is spoken to.
type Type string

// The four types. Shoutrrr speaks for e-mail and some thirty other services.
const (
	Webhook  Type = "webhook"
	SlackApp Type = "slack"
	Teams    Type = "teams"
	Shoutrrr Type = "shoutrrr"
)

// Secret says where something secret is: in a file, in an environment variable, or, when it is none, here. Files and
// variables are read each time, so that a secret can be changed without a restart.
type Secret struct{ Value, File, Env string }

// Set reports whether it is anywhere.
func (s Secret) Set() bool { return s != Secret{} }

// Default is the configuration of a file that says nothing.
func Default() Config {
	return Config{Repeat: 4 * time.Hour, Slack: Slack{API: "https://slack.com/api/"}}
}

// Get is the sink of that name.
func (c Config) Get(name string) (Sink, bool) {
	i := slices.IndexFunc(c.Sinks, func(s Sink) bool { return s.Name == name })
	if i < 0 {
		return Sink{}, false
	}
	return c.Sinks[i], true
}

// Route names the sinks that are told of n, in the order of the file. A policy that has a list of sinks tells those and no
// others; what a sink itself asks for by severity and Canary narrows both.
func (c Config) Route(rules policy.Rules, n rollout.News) []string {
	var told []string
	for _, s := range c.Sinks {
		on, named := s.On, len(rules.Notify) == 0
		for _, asked := range rules.Notify {
			if asked.Sink == s.Name {
				named = true
				if len(asked.On) > 0 {
					on = asked.On
				}
			}
		}
		if named && (len(on) == 0 || slices.Contains(on, n.Event)) && weight(n.Severity) >= weight(s.Severity) && s.covers(n.Canary) {
			told = append(told, s.Name)
		}
	}
	return told
}

// Unknown are the sinks that rules name and the file does not have.
func (c Config) Unknown(rules policy.Rules) []string {
	var unknown []string
	for _, n := range rules.Notify {
		if _, ok := c.Get(n.Sink); !ok {
			unknown = append(unknown, n.Sink)
		}
	}
	return unknown
}

func (s Sink) covers(key rollout.Key) bool {
	return len(s.Canaries) == 0 || slices.ContainsFunc(s.Canaries, func(pattern string) bool {
		ok, _ := path.Match(pattern, key.String()) // Validate has seen the pattern
		return ok
	})
}

func weight(s rollout.Severity) int {
	return slices.Index([]rollout.Severity{rollout.Info, rollout.Warning, rollout.Critical}, s)
}

// ResponseHost is the address, scheme and host, to which answers to pressed buttons may go. Slack names an address with each
// press; an answer anywhere else would let whoever forges a press make the gatekeeper call hosts of its network.
func (s Slack) ResponseHost() string {
	switch api := base(s.API); api {
	case "https://slack.com":
		return "https://hooks.slack.com"
	case "https://slack-gov.com":
		return "https://hooks.slack-gov.com"
	default:
		return api
	}
}
