package policyfile

import (
	"errors"
	"fmt"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

// sinksDocument is the YAML form of sinks.Config. Its tags are the JSON schema; sinks.Config.Validate knows what the fields
// must be together.
type sinksDocument struct {
	Repeat duration `json:"repeat" jsonschema_description:"How often people are told again of what lasts and waits for them, 1m to 7d; 0s: never."`
	Slack  slack    `json:"slack" jsonschema_description:"What all sinks of type slack share."`
	Sinks  []sink   `json:"sinks" jsonschema:"maxItems=50" jsonschema_description:"Who is told."`
}

type slack struct {
	API       string   `json:"api" jsonschema:"pattern=^https?://.+/$" jsonschema_description:"Base of Slack's Web API."`
	Approvers []string `json:"approvers" jsonschema:"pattern=^[UW]" jsonschema_description:"Member ids of those who may decide by a button; empty: whoever sees the message."`
}

type sink struct {
	Name       string           `json:"name" jsonschema:"required,maxLength=63,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" jsonschema_description:"By which policies choose it."`
	Type       sinks.Type       `json:"type" jsonschema:"required,enum=webhook,enum=slack,enum=teams,enum=shoutrrr" jsonschema_description:"How it is spoken to; shoutrrr is e-mail and many other services."`
	On         []happening      `json:"on,omitempty" jsonschema:"uniqueItems=true" jsonschema_description:"What it is told of; empty: everything."`
	Severity   rollout.Severity `json:"severity,omitempty" jsonschema:"enum=info,enum=warning,enum=critical" jsonschema_description:"The least that it is told of."`
	Canaries   []string         `json:"canaries,omitempty" jsonschema:"pattern=^[^/]+/[^/]+$" jsonschema_description:"Patterns of namespace/name; empty: all."`
	Template   string           `json:"template,omitempty" jsonschema_description:"The sentence, in Go's text/template; empty: the gatekeeper's own."`
	URL        string           `json:"url,omitempty" jsonschema:"pattern=^https?://[^/]" jsonschema_description:"Address of a webhook, where it is no secret."`
	URLFile    string           `json:"urlFile,omitempty" jsonschema_description:"File with the address."`
	URLEnv     string           `json:"urlEnv,omitempty" jsonschema_description:"Environment variable with the address."`
	TokenFile  string           `json:"tokenFile,omitempty" jsonschema_description:"File with the token of a Slack bot."`
	TokenEnv   string           `json:"tokenEnv,omitempty" jsonschema_description:"Environment variable with it."`
	Channel    string           `json:"channel,omitempty" jsonschema_description:"Id of the channel that the bot posts to."`
	SecretFile string           `json:"secretFile,omitempty" jsonschema_description:"File with the secret by which a webhook's messages are signed."`
	SecretEnv  string           `json:"secretEnv,omitempty" jsonschema_description:"Environment variable with it."`
}

// maxSinks bounds how many deliveries are under way at once.
const maxSinks = 50

// ParseSinks reads the sinks file. What it leaves out keeps the default's value. Errors are as those of ParseFile.
func ParseSinks(file string, text []byte) (sinks.Config, error) {
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return sinks.Config{}, located(file, err)
	}
	base := sinks.Default()
	d := sinksDocument{Repeat: duration(base.Repeat), Slack: slack{API: base.Slack.API}}
	if empty := len(tree.Docs) == 0 || tree.Docs[0].Body == nil; !empty { // of which the library would make a document of zeros
		if err := yaml.UnmarshalWithOptions(text, &d, yaml.Strict()); err != nil {
			return sinks.Config{}, fmt.Errorf("%w%s", located(file, err), inTheOpen(err))
		}
	}
	if len(d.Sinks) > maxSinks {
		return sinks.Config{}, fmt.Errorf("%s: %d sinks; at most %d are told at once", file, len(d.Sinks), maxSinks)
	}
	c := sinks.Config{Repeat: time.Duration(d.Repeat), Slack: sinks.Slack(d.Slack), Sinks: convert(nil, d.Sinks, sink.sink)}
	return c, outOfRange(file, tree, c.Validate())
}

// inTheOpen says where a secret belongs that stands in the file itself.
func inTheOpen(err error) string {
	var unknown *yaml.UnknownFieldError
	if !errors.As(err, &unknown) {
		return ""
	}
	name := unknown.GetToken().Value
	if name != "token" && name != "secret" {
		return ""
	}
	return fmt.Sprintf("; a %s does not stand in this file: %sFile or %sEnv says where it is", name, name, name)
}

func (s sink) sink() sinks.Sink {
	return sinks.Sink{
		Name: s.Name, Type: s.Type, On: happenings(s.On), Severity: s.Severity, Canaries: s.Canaries, Template: s.Template, Channel: s.Channel,
		URL:    sinks.Secret{Value: s.URL, File: s.URLFile, Env: s.URLEnv},
		Token:  sinks.Secret{File: s.TokenFile, Env: s.TokenEnv},
		Secret: sinks.Secret{File: s.SecretFile, Env: s.SecretEnv},
	}
}

// SinksSchema is the JSON schema of the sinks file, as Schema is that of a policy.
func SinksSchema() ([]byte, error) { return schemaOf(sinksDocument{}, "gatekeeper sinks") }
