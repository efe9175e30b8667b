package notify

import (
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

const (
	promoted   = rollout.Happening(rollout.Promoted)
	rolledBack = rollout.Happening(rollout.RolledBack)
)

// news of a kind, with all that people can be asked for.
func news(h rollout.Happening) rollout.Message {
	n := sinks.Sample(h, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	n.Version = 2
	if h == rollout.HasStarted || h == rollout.IsWaiting {
		n.Asks = []rollout.DecisionKind{rollout.Approve, rollout.Reject}
	}
	return rollout.Message{News: n}
}

// hostile news has in every text what would be markup, a mention or too long elsewhere.
func hostile(h rollout.Happening) rollout.Message {
	m := news(h)
	bad := "<!channel> <https://evil.example|click> & *bold* [x](https://evil.example) `code`\r\nSubject: other\n.\n" + strings.Repeat("ü😀", 5000)
	n := &m.News
	n.Text, n.Policy, n.Revision.DeployID, n.Revision.Commit, n.Revision.Note, n.Revision.Image = bad, bad, bad, bad, bad, "x/y:"+bad
	n.Canary.Name, n.Stable.Hash, n.Repeat = bad, bad, 3
	n.Reasons = nil
	for range 40 {
		n.Reasons = append(n.Reasons, rollout.Reason{Kind: "slo", Text: bad})
	}
	return m
}
