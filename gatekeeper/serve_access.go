package main

import (
	"log/slog"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/web"
)

// accessFlags say who may do what at the people's door. Tokens are read from files where a name is given: a mounted Secret
// shows in no process list.
type accessFlags struct {
	OperatorToken     string        `env:"GATEKEEPER_OPERATOR_TOKEN" help:"Bearer token that lets people decide about rollouts; who uses it is only known by what he says."`
	OperatorTokenFile string        `env:"GATEKEEPER_OPERATOR_TOKEN_FILE" type:"existingfile" help:"File with that token."`
	AlertsToken       string        `env:"GATEKEEPER_ALERTS_TOKEN" help:"Bearer token that lets Alertmanager send alerts; nobody may without one."`
	AlertsTokenFile   string        `env:"GATEKEEPER_ALERTS_TOKEN_FILE" type:"existingfile" help:"File with that token."`
	AlertTime         time.Duration `default:"5h" env:"GATEKEEPER_ALERT_TIME" help:"How long an alert counts as firing without being told again: longer than Alertmanager's repeat_interval."`
	TokensFile        string        `env:"GATEKEEPER_TOKENS_FILE" type:"existingfile" help:"File of bearer tokens, a line for each: role (viewer, operator, ci, alerts), name, token. Read again when it changes."`
	Anonymous         string        `default:"viewer" enum:"viewer,none" env:"GATEKEEPER_ANONYMOUS" help:"What may be done without a token: viewer, everything is read; none, nothing."`
}

// access makes of the flags who may do what.
func (f accessFlags) access(now func() time.Time, log *slog.Logger) (web.Access, error) {
	operator, err := secret(f.OperatorToken, f.OperatorTokenFile)
	if err != nil {
		return web.Access{}, err
	}
	alerts, err := secret(f.AlertsToken, f.AlertsTokenFile)
	if err != nil {
		return web.Access{}, err
	}
	tokens, err := web.NewTokens([]web.Token{
		{Role: web.Operator, Name: "operator", Secret: operator},
		{Role: web.Alerts, Name: "alertmanager", Secret: alerts},
	}, f.TokensFile, now, log)
	return web.Access{Anonymous: web.Role(f.Anonymous), Tokens: tokens}, err
}
