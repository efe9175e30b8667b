package sinks

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

const (
	promoted   = rollout.Happening(rollout.Promoted)
	rolledBack = rollout.Happening(rollout.RolledBack)
)

func TestRoute(t *testing.T) {
	all := Config{Sinks: []Sink{
		{Name: "everything"},
		{Name: "ends", On: []rollout.Happening{promoted, rolledBack}},
		{Name: "trouble", Severity: rollout.Warning},
		{Name: "fire", Severity: rollout.Critical},
		{Name: "shop", Canaries: []string{"shop/*"}},
		{Name: "carts", Canaries: []string{"*/cart", "bank/a?"}},
	}}
	asks := func(n ...policy.Notify) policy.Rules { return policy.Rules{Notify: n} }
	for name, c := range map[string]struct {
		rules  policy.Rules
		event  rollout.Happening
		canary string
		want   string
	}{
		"a policy without a list tells whoever asks": {asks(), rollout.HasStarted, "shop/cart", "everything shop carts"},
		"an end":                                         {asks(), promoted, "shop/cart", "everything ends shop carts"},
		"a warning":                                      {asks(), rollout.IsWaiting, "bank/a1", "everything trouble carts"},
		"a rollback is critical":                         {asks(), rolledBack, "bank/b1", "everything ends trouble fire"},
		"a pattern does not cross the slash":             {asks(), rollout.HasStarted, "bank/abc", "everything"},
		"a policy's list is all":                         {asks(policy.Notify{Sink: "everything"}), rolledBack, "shop/cart", "everything"},
		"its happenings stand in for the sink's":         {asks(policy.Notify{Sink: "ends", On: []rollout.Happening{rollout.HasStarted}}), rollout.HasStarted, "shop/cart", "ends"},
		"and only they":                                  {asks(policy.Notify{Sink: "ends", On: []rollout.Happening{rollout.HasStarted}}), promoted, "shop/cart", ""},
		"without them the sink's own hold":               {asks(policy.Notify{Sink: "ends"}), rollout.HasStarted, "shop/cart", ""},
		"severity narrows what a policy asks for":        {asks(policy.Notify{Sink: "fire", On: []rollout.Happening{promoted}}), promoted, "shop/cart", ""},
		"the Canary narrows what a policy asks for":      {asks(policy.Notify{Sink: "shop"}), promoted, "bank/a1", ""},
		"a sink that there is not is nobody":             {asks(policy.Notify{Sink: "nobody"}, policy.Notify{Sink: "shop"}), promoted, "shop/cart", "shop"},
		"the order is the file's, whatever the policy's": {asks(policy.Notify{Sink: "shop"}, policy.Notify{Sink: "everything"}), promoted, "shop/cart", "everything shop"},
	} {
		namespace, canary, _ := strings.Cut(c.canary, "/")
		news := rollout.News{Event: c.event, Severity: c.event.Severity(), Canary: rollout.Key{Namespace: namespace, Name: canary}}
		if got := strings.Join(all.Route(c.rules, news), " "); got != c.want {
			t.Errorf("%s: told %q, want %q", name, got, c.want)
		}
	}
}

func TestUnknownSinksOfAPolicy(t *testing.T) {
	c := Config{Sinks: []Sink{{Name: "a"}}}
	if got := c.Unknown(policy.Rules{Notify: []policy.Notify{{Sink: "a"}, {Sink: "b"}, {Sink: "c"}}}); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("got %v", got)
	}
}

// good has one sink of each way to reach somebody.
func good() Config {
	c := Default()
	c.Slack.Approvers = []string{"U012AB3CD"}
	c.Sinks = []Sink{
		{Name: "hook", Type: Webhook, URL: Secret{Value: "https://example.com/x"}, Secret: Secret{File: "/s"}, Template: "{{.Version}} of {{.Namespace}}/{{.Name}}: {{.Text}}{{range .Reasons}} {{.}}{{end}}"},
		{Name: "bot", Type: SlackApp, Token: Secret{Env: "T"}, Channel: "C1", On: []rollout.Happening{promoted}},
		{Name: "plain", Type: SlackApp, URL: Secret{File: "/u"}, Severity: rollout.Critical},
		{Name: "room", Type: Teams, URL: Secret{Env: "U"}, Canaries: []string{"shop/*"}},
		{Name: "mail", Type: Shoutrrr, URL: Secret{File: "/m"}},
	}
	return c
}

func TestValidate(t *testing.T) {
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil func(*Config)
		field string
	}{
		"too often":                              {func(c *Config) { c.Repeat = time.Second }, "repeat"},
		"no API":                                 {func(c *Config) { c.Slack.API = "slack.com" }, "slack.api"},
		"an API that methods can't be added to":  {func(c *Config) { c.Slack.API = "https://slack.com/api" }, "slack.api"},
		"a name in place of an id":               {func(c *Config) { c.Slack.Approvers = []string{"alice"} }, "slack.approvers[0]"},
		"a name twice":                           {func(c *Config) { c.Sinks[1].Name = "hook" }, "sinks[1].name"},
		"a name that is none":                    {func(c *Config) { c.Sinks[1].Name = "My Sink" }, "sinks[1].name"},
		"no name":                                {func(c *Config) { c.Sinks[1].Name = "" }, "sinks[1].name"},
		"a type that is none":                    {func(c *Config) { c.Sinks[0].Type = "pigeon" }, "sinks[0].type"},
		"a happening that is none":               {func(c *Config) { c.Sinks[1].On = append(c.Sinks[1].On, "ended") }, "sinks[1].on[1]"},
		"a happening twice":                      {func(c *Config) { c.Sinks[1].On = append(c.Sinks[1].On, promoted) }, "sinks[1].on[1]"},
		"a severity that is none":                {func(c *Config) { c.Sinks[2].Severity = "bad" }, "sinks[2].severity"},
		"a pattern that is none":                 {func(c *Config) { c.Sinks[3].Canaries = []string{"shop/["} }, "sinks[3].canaries[0]"},
		"a pattern without a namespace":          {func(c *Config) { c.Sinks[3].Canaries = []string{"shop"} }, "sinks[3].canaries[0]"},
		"a template that is none":                {func(c *Config) { c.Sinks[0].Template = "{{" }, "sinks[0].template"},
		"a template of what there is not":        {func(c *Config) { c.Sinks[0].Template = "{{.Password}}" }, "sinks[0].template"},
		"a template that says nothing of starts": {func(c *Config) { c.Sinks[0].Template = "{{range .Reasons}}{{.}}{{end}}" }, "sinks[0].template"},
		"a template without an end":              {func(c *Config) { c.Sinks[0].Template = `{{range $i := 1000000}}{{$i}}{{end}}` }, "sinks[0].template"},
		"a webhook to nowhere":                   {func(c *Config) { c.Sinks[0].URL = Secret{} }, "sinks[0]"},
		"a webhook to something else":            {func(c *Config) { c.Sinks[0].URL.Value = "ftp://example.com" }, "sinks[0].url"},
		"a webhook with a token":                 {func(c *Config) { c.Sinks[0].Token = Secret{File: "/t"} }, "sinks[0]"},
		"a bot without a channel":                {func(c *Config) { c.Sinks[1].Channel = "" }, "sinks[1]"},
		"a bot without a token":                  {func(c *Config) { c.Sinks[1].Token = Secret{} }, "sinks[1]"},
		"a bot and a hook at once":               {func(c *Config) { c.Sinks[1].URL = Secret{File: "/u"} }, "sinks[1]"},
		"a secret in the open":                   {func(c *Config) { c.Sinks[2].URL = Secret{Value: "https://hooks.slack.com/x"} }, "sinks[2].url"},
		"a card that is signed":                  {func(c *Config) { c.Sinks[3].Secret = Secret{File: "/s"} }, "sinks[3]"},
		"two ways to one secret":                 {func(c *Config) { c.Sinks[4].URL.Env = "M" }, "sinks[4]"},
	} {
		config := good()
		c.spoil(&config)
		var field policy.FieldError
		err := config.Validate()
		if !errors.As(err, &field) || field.Field != c.field || strings.Count(err.Error(), "\n") > 1 {
			t.Errorf("%s: got %v, want an error of %s", name, err, c.field)
		}
	}
}

func TestSentence(t *testing.T) {
	news := Sample(rolledBack, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	s := Sink{Template: "{{.Title}} {{.Version}} -> {{.Stable}}, {{.Weight}} %, {{.DeployID}} {{.Commit}} {{.At.Year}} {{.Link}}"}
	got, err := s.Sentence(news, Link("https://gate.example/", "a b"))
	if want := "Rolled back 2.0.0 (7c9f6d5b8) -> 1.9.3 (5d4f8c7b9), 25 %, build-412 9fceb02 2026 https://gate.example/rollouts/a%20b"; err != nil || got != want {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
	news.Text = strings.Repeat("ü", maxSentence)
	if got, err := (Sink{Template: "{{.Text}}"}).Sentence(news, ""); err != nil || len(got) < maxSentence-3 || len(got) > maxSentence+3 || !strings.HasSuffix(got, "ü…") {
		t.Errorf("a text that is too long: %d bytes, %v", len(got), err)
	}
	if got, err := (Sink{}).Sentence(news, ""); err != nil || got != news.Text {
		t.Errorf("without a template: %q %v", got, err)
	}
}

func TestEveryHappeningHasATitleAndASample(t *testing.T) {
	for _, h := range rollout.Happenings() {
		if Title(h) == string(h) || !strings.Contains(Sample(h, time.Time{}).Text, "test") {
			t.Errorf("%s has no title, or its sample does not say that it is one", h)
		}
	}
}

func TestPressIsReadAsItWasWritten(t *testing.T) {
	p := Press{Rollout: "shop-cart-1-2", Version: 3}
	if got, err := ParsePress(p.String()); err != nil || got != p {
		t.Errorf("got %+v %v", got, err)
	}
	for _, bad := range []string{"", "3", "x shop", "-1 shop", "3 "} {
		if got, err := ParsePress(bad); err == nil {
			t.Errorf("%q is taken for %+v", bad, got)
		}
	}
}

func TestAnswersGoToSlackOnly(t *testing.T) {
	for api, want := range map[string]string{
		"https://slack.com/api/": "https://hooks.slack.com", "https://slack-gov.com/api/": "https://hooks.slack-gov.com", "http://127.0.0.1:8080/api/": "http://127.0.0.1:8080",
	} {
		if got := (Slack{API: api}).ResponseHost(); got != want {
			t.Errorf("%s: %s, want %s", api, got, want)
		}
	}
}
