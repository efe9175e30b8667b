package stack

import (
	"context"
	"crypto/rand"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
)

// The Secret, in the system's namespace, with the tokens of who may approve and reject and of who may send alerts; named in
// the values for the gatekeeper.
const (
	TokensSecret  = "lab-tokens"
	OperatorToken = "operator"
	alertsToken   = "alerts"
)

// The Secret in the monitoring namespace from which Alertmanager has the same token and the address of Slack, for which the
// receiver stands.
const (
	alertmanagerSecret = "alertmanager"
	gatekeeperToken    = "gatekeeper-token"
	slackURL           = "slack-url"
	receiverSlack      = "http://receiver.rollout-system:8080/slack"
)

// tokensStep makes the tokens, once, and before those that read them at their start only.
func (s *Stack) tokensStep() Step {
	return Step{
		Name: "tokens",
		Done: func(ctx context.Context) (bool, error) {
			client, err := s.client()
			if err != nil {
				return false, err
			}
			operator, err := client.Secret(ctx, SystemNamespace, TokensSecret, OperatorToken)
			if err != nil || operator == "" {
				return false, err
			}
			alerts, err := client.Secret(ctx, SystemNamespace, TokensSecret, alertsToken)
			if err != nil || alerts == "" {
				return false, err
			}
			known, err := client.Secret(ctx, MonitoringNamespace, alertmanagerSecret, gatekeeperToken)
			return known == alerts, err
		},
		Run: s.with(func(ctx context.Context, client *kube.Client) error {
			for _, name := range []string{SystemNamespace, MonitoringNamespace} {
				if err := namespace(ctx, client, name); err != nil {
					return err
				}
			}
			if _, err := token(ctx, client, OperatorToken); err != nil {
				return err
			}
			alerts, err := token(ctx, client, alertsToken)
			if err != nil {
				return err
			}
			if err := client.SetSecret(ctx, MonitoringNamespace, alertmanagerSecret, slackURL, receiverSlack); err != nil {
				return err
			}
			return client.SetSecret(ctx, MonitoringNamespace, alertmanagerSecret, gatekeeperToken, alerts)
		}),
	}
}

// token is the one that is there, or a new one.
func token(ctx context.Context, client *kube.Client, role string) (string, error) {
	known, err := client.Secret(ctx, SystemNamespace, TokensSecret, role)
	if err != nil || known != "" {
		return known, err
	}
	made := rand.Text()
	return made, client.SetSecret(ctx, SystemNamespace, TokensSecret, role, made)
}
