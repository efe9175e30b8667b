package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/web"
)

// accessFlags say who may do what at the people's door. Tokens are read from files where a name is given: a mounted Secret
// shows in no process list.
type accessFlags struct {
	OperatorToken     string         `env:"GATEKEEPER_OPERATOR_TOKEN" help:"Bearer token that lets people decide about rollouts; who uses it is only known by what he says."`
	OperatorTokenFile string         `env:"GATEKEEPER_OPERATOR_TOKEN_FILE" type:"existingfile" help:"File with that token."`
	AlertsToken       string         `env:"GATEKEEPER_ALERTS_TOKEN" help:"Bearer token that lets Alertmanager send alerts; nobody may without one."`
	AlertsTokenFile   string         `env:"GATEKEEPER_ALERTS_TOKEN_FILE" type:"existingfile" help:"File with that token."`
	AlertTime         time.Duration  `default:"5h" env:"GATEKEEPER_ALERT_TIME" help:"How long an alert counts as firing without being told again: longer than Alertmanager's repeat_interval."`
	TokensFile        string         `env:"GATEKEEPER_TOKENS_FILE" type:"existingfile" help:"File of bearer tokens, a line for each: role (viewer, operator, ci, alerts, flagger), name, token. Read again when it changes."`
	HookAuth          bool           `env:"GATEKEEPER_HOOK_AUTH" help:"Hooks need a token of the role flagger, as the password in the URLs of the Canary's webhooks."`
	OIDCIssuer        string         `name:"oidc-issuer" default:"https://token.actions.githubusercontent.com" env:"GATEKEEPER_OIDC_ISSUER" help:"Who signs the tokens of pipelines; GitHub Actions."`
	OIDCAudience      string         `name:"oidc-audience" env:"GATEKEEPER_OIDC_AUDIENCE" help:"Audience of the tokens that pipelines may come with, for the role ci; none may without one."`
	OIDCRepositories  []string       `name:"oidc-repositories" env:"GATEKEEPER_OIDC_REPOSITORIES" help:"Repositories whose pipelines may come: owner/name, * for any characters."`
	OIDCSubjects      []string       `name:"oidc-subjects" env:"GATEKEEPER_OIDC_SUBJECTS" help:"Subjects (sub) of tokens that may come, such as repo:acme/shop:ref:refs/heads/main; beside the repositories, if there are any."`
	OIDCEnvironments  []string       `name:"oidc-environments" env:"GATEKEEPER_OIDC_ENVIRONMENTS" help:"Deployment environments whose jobs may come, of those repositories and subjects."`
	Rate              float64        `default:"50" env:"GATEKEEPER_RATE" help:"Requests a second that one address may send to the people's door, for long; for short twice as many."`
	TrustedProxies    []netip.Prefix `env:"GATEKEEPER_TRUSTED_PROXIES" help:"Networks of proxies that are believed when they say who the client is (X-Forwarded-For), such as 10.42.0.0/16: the ingress controller's and the other replicas'."`
	Anonymous         string         `default:"viewer" enum:"viewer,none" env:"GATEKEEPER_ANONYMOUS" help:"What may be done without a token: viewer, everything is read; none, nothing."`
}

// access makes of the flags who may do what.
func (f accessFlags) access(now func() time.Time, log *slog.Logger) (web.Access, error) {
	if f.Rate <= 0 {
		return web.Access{}, errors.New("--rate: a number over 0 of requests a second")
	}
	if f.HookAuth && f.TokensFile == "" {
		return web.Access{}, errors.New("--hook-auth: no hook could be answered without --tokens-file with a token of the role flagger")
	}
	operator, err := bearer("operator", f.OperatorToken, f.OperatorTokenFile)
	if err != nil {
		return web.Access{}, err
	}
	alerts, err := bearer("alerts", f.AlertsToken, f.AlertsTokenFile)
	if err != nil {
		return web.Access{}, err
	}
	tokens, err := web.NewTokens([]web.Token{
		{Role: web.Operator, Name: "operator", Secret: operator},
		{Role: web.Alerts, Name: "alertmanager", Secret: alerts},
	}, f.TokensFile, now, log)
	if err != nil {
		return web.Access{}, err
	}
	if f.HookAuth && !tokens.Any(web.Flagger) {
		return web.Access{}, fmt.Errorf("--hook-auth: %s has no token of the role flagger, so no hook could be answered: add a line \"flagger NAME TOKEN\", and give each Canary that token before", f.TokensFile)
	}
	a := web.Access{Anonymous: web.Role(f.Anonymous), Tokens: tokens}
	if f.OIDCAudience == "" && len(f.OIDCRepositories)+len(f.OIDCSubjects)+len(f.OIDCEnvironments) == 0 {
		return a, nil
	}
	a.Pipelines, err = web.NewPipelines(web.PipelineRules{
		Issuer: f.OIDCIssuer, Audience: f.OIDCAudience, Repositories: f.OIDCRepositories, Subjects: f.OIDCSubjects, Environments: f.OIDCEnvironments,
	}, now)
	return a, err
}

// hooks says which passwords Flagger may come with; nil: it needs none.
func (f accessFlags) hooks(tokens *web.Tokens) func(password string) bool {
	if !f.HookAuth {
		return nil
	}
	return func(password string) bool { return tokens.Has(web.Flagger, password) }
}

// bearer is a token that is given by itself, for a role; "" is none.
func bearer(role, given, file string) (string, error) {
	found, err := secret(given, file)
	if err == nil && found != "" && len(found) < web.MinSecret {
		return "", fmt.Errorf("--%s-token is shorter than %d characters and could be guessed: use for example openssl rand -hex 32", role, web.MinSecret)
	}
	return found, err
}
