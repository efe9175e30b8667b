package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/slack-go/slack"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

// Slack is what the door needs for the buttons in Slack messages.
type Slack struct {
	// Secret is the app's signing secret as it is now. nil, or an error: nobody may press.
	Secret       func() (string, error)
	Approvers    []string // user ids; empty: whoever sees the message
	ResponseHost string   // scheme and host to which answers may go
	Client       *http.Client
}

const (
	// pressTime is how long a decision may take: Slack waits three seconds for the answer to a press.
	pressTime = 2500 * time.Millisecond
	// signatureTime is how long a signature is remembered: longer than one is valid, five minutes to either side.
	signatureTime = 11 * time.Minute
)

// presses remembers what was signed of presses, so that none counts twice. After a restart it has forgotten them; then the
// version in the button's value refuses what was decided before.
type presses struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

// first reports whether what was signed was not seen before, and remembers it.
func (p *presses) first(signed string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s, at := range p.seen {
		if now.Sub(at) > signatureTime {
			delete(p.seen, s)
		}
	}
	if _, again := p.seen[signed]; again {
		return false
	}
	p.seen[signed] = now
	return true
}

// slack takes in a pressed button (docs.slack.dev/interactivity/handling-user-interaction). Slack gets a 200 for every
// genuine press, whatever comes of it; the person is told in Slack.
func (d door) slack(c *gin.Context) {
	callback, status, err := d.pressed(c.Request)
	if err != nil {
		d.cfg.Log.Warn("press of a Slack button refused", "from", c.ClientIP(), "error", err)
		c.AbortWithStatusJSON(status, gin.H{"error": err.Error()})
		return
	}
	action, kind := deciding(callback)
	if action == nil { // the link to the page is a button too
		c.Status(http.StatusOK)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), pressTime)
	defer cancel()
	said := d.press(ctx, callback, action, kind)
	// The answer is complete with its header: what follows has its own time.
	c.Header("Content-Length", "0")
	c.Status(http.StatusOK)
	c.Writer.WriteHeaderNow()
	c.Writer.Flush()
	if err := d.respond(context.WithoutCancel(c.Request.Context()), callback.ResponseURL, said); err != nil {
		d.cfg.Log.Warn("the person who pressed a Slack button could not be told what came of it", "user", callback.User.ID, "error", err)
	}
}

// pressed is a genuine press that was not seen before, or the status to refuse it with.
func (d door) pressed(r *http.Request) (callback slack.InteractionCallback, status int, err error) {
	notEnabled := errors.New("not enabled: the gatekeeper has no signing secret of a Slack app")
	if d.cfg.Slack.Secret == nil {
		return callback, http.StatusForbidden, notEnabled
	}
	secret, err := d.cfg.Slack.Secret()
	if err != nil {
		return callback, http.StatusForbidden, notEnabled
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return callback, http.StatusRequestEntityTooLarge, errors.New("the request is too large")
	}
	verifier, err := slack.NewSecretsVerifier(r.Header, secret)
	if err == nil {
		_, _ = verifier.Write(body) // a hash takes everything
		err = verifier.Ensure()
	}
	if err != nil {
		return callback, http.StatusUnauthorized, errors.New("the signature is missing, wrong or old")
	}
	// Known by what was signed, not by the signature, which can be written in several ways.
	signed := sha256.Sum256(fmt.Appendf(nil, "%s:%s", r.Header.Get("X-Slack-Request-Timestamp"), body))
	if !d.presses.first(string(signed[:]), d.cfg.Now()) {
		return callback, http.StatusConflict, errors.New("this press was taken in before")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || json.Unmarshal([]byte(form.Get("payload")), &callback) != nil {
		return callback, http.StatusBadRequest, errors.New("the request is not a press of a button")
	}
	return callback, http.StatusOK, nil
}

// deciding is the pressed button that decides something, nil when there is none.
func deciding(callback slack.InteractionCallback) (*slack.BlockAction, rollout.DecisionKind) {
	if callback.Type != slack.InteractionTypeBlockActions {
		return nil, ""
	}
	for _, a := range callback.ActionCallback.BlockActions {
		for _, kind := range []rollout.DecisionKind{rollout.Approve, rollout.Reject, rollout.Abort} {
			if a.ActionID == string(kind) {
				return a, kind
			}
		}
	}
	return nil, ""
}

// press decides and says what came of it, as a message for Slack.
func (d door) press(ctx context.Context, callback slack.InteractionCallback, action *slack.BlockAction, kind rollout.DecisionKind) slack.WebhookMessage {
	user := callback.User
	if len(d.cfg.Slack.Approvers) > 0 && !slices.Contains(d.cfg.Slack.Approvers, user.ID) {
		d.cfg.Log.Warn("press of a Slack button by somebody who may not decide", "user", user.ID, "what", kind)
		return aside("You are not among those who may decide here; the list is slack.approvers in the gatekeeper's sinks file.")
	}
	press, err := sinks.ParsePress(action.Value)
	if err != nil || user.ID == "" {
		return aside("The gatekeeper does not know this button any more.")
	}
	by := user.ID
	if user.Name != "" {
		by = user.Name + " (" + user.ID + ")"
	}
	r, err := d.cfg.Conductor.Decide(ctx, press.Rollout, press.Version, rollout.Decision{Kind: kind, By: by, Via: "slack"})
	switch {
	case errors.Is(err, rollout.ErrChanged):
		return aside("Somebody has decided since this message was written. Look at the newest message or at the rollout's page.")
	case errors.Is(err, rollout.ErrOver), errors.Is(err, rollout.ErrNotFound):
		return aside("There is nothing to decide any more: " + err.Error())
	case err != nil:
		d.cfg.Log.Error("a decision from Slack could not be recorded", "rollout", press.Rollout, "what", kind, "by", by, "error", err)
		return aside("The decision could not be recorded and does not count. Try again; the gatekeeper's log says why.")
	}
	d.cfg.Log.Info("a person decided", "rollout", r.ID, "what", kind, "by", by, "via", "slack")
	return decided(callback.Message, r.Decisions[len(r.Decisions)-1])
}

// aside is said to nobody but who pressed.
func aside(text string) slack.WebhookMessage {
	return slack.WebhookMessage{Text: escapeSlack(text), ResponseType: slack.ResponseTypeEphemeral}
}

// decided is the message without its buttons, and with what was decided.
func decided(m slack.Message, d rollout.Decision) slack.WebhookMessage {
	blocks := slices.DeleteFunc(m.Blocks.BlockSet, func(b slack.Block) bool { return b.BlockType() == slack.MBTAction })
	blocks = append(blocks, slack.NewContextBlock("", slack.NewTextBlockObject(slack.PlainTextType, d.Text(), false, false)))
	return slack.WebhookMessage{Text: m.Text, Blocks: &slack.Blocks{BlockSet: blocks}, ReplaceOriginal: true}
}

func escapeSlack(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}

// respond tells Slack what came of a press, at the address that came with it, if it is one of Slack's.
func (d door) respond(ctx context.Context, address string, m slack.WebhookMessage) error {
	target, err := url.Parse(address)
	if err != nil || target.Scheme+"://"+target.Host != d.cfg.Slack.ResponseHost || target.User != nil {
		return errors.New("the response_url is none of Slack's")
	}
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return errors.New("the response_url can not be asked")
	}
	req.Header.Set("Content-Type", "application/json")
	client := *d.cfg.Slack.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		var withURL *url.Error // who knows the address can write into the channel
		if errors.As(err, &withURL) {
			err = withURL.Err
		}
		return fmt.Errorf("post to %s: %w", target.Host, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("post to %s: status %s", target.Host, resp.Status)
	}
	return nil
}
