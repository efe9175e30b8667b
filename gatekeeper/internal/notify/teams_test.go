package notify

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dop251/goja"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

// microsoft is Microsoft's own renderer of Adaptive Cards, the npm package adaptivecards 3.0.6 (MIT), run by an interpreter.
// It returns what the renderer has against a card: what it does not know, values out of its lists, versions too low.
func microsoft(t *testing.T) (complaints func(payload []byte) string) {
	t.Helper()
	file, err := os.Open("testdata/adaptivecards-3.0.6.min.js.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	packed, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	source, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	vm := goja.New()
	for _, name := range []string{"window", "self"} {
		if err := vm.Set(name, vm.GlobalObject()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := vm.RunScript("adaptivecards.js", string(source)); err != nil {
		t.Fatal(err)
	}
	check, err := vm.RunString(`(function (payload) {
		var message = JSON.parse(payload), complaints = []
		var content = message.attachments[0].content
		var context = new AdaptiveCards.SerializationContext(AdaptiveCards.Version.parse(content.version, new AdaptiveCards.SerializationContext()))
		var card = new AdaptiveCards.AdaptiveCard()
		card.parse(content, context)
		for (var i = 0; i < context.eventCount; i++) complaints.push(context.getEventAt(i).message)
		card.validateProperties().validationEvents.forEach(function (e) { complaints.push(e.message) })
		if (card.getItemCount() !== content.body.length) complaints.push("it dropped elements")
		return complaints.join("\n")
	})`)
	if err != nil {
		t.Fatal(err)
	}
	call, ok := goja.AssertFunction(check)
	if !ok {
		t.Fatal("the check is no function")
	}
	return func(payload []byte) string {
		result, err := call(goja.Undefined(), vm.ToValue(string(payload)))
		if err != nil {
			t.Fatal(err)
		}
		return result.String()
	}
}

func TestMicrosoftTakesOurCards(t *testing.T) {
	complaints := microsoft(t)
	room := teams{sinks.Sink{Name: "room"}, Options{Public: "https://gate.example"}}
	for _, h := range rollout.Happenings() {
		for what, m := range map[string]rollout.Message{"news": news(h), "hostile news": hostile(h)} {
			body, err := room.Payload(m)
			if err != nil {
				t.Fatalf("%s: %s: %v", h, what, err)
			}
			if got := complaints(body); got != "" {
				t.Errorf("%s: %s: %s\n%s", h, what, got, body)
			}
			if len(body) > 28<<10 {
				t.Errorf("%s: %s has %d bytes, Teams refuses more than 28 KB", h, what, len(body))
			}
			var envelope struct {
				Type        string
				Attachments []struct{ ContentType string }
			}
			if err := json.Unmarshal(body, &envelope); err != nil || envelope.Type != "message" || len(envelope.Attachments) != 1 || envelope.Attachments[0].ContentType != "application/vnd.microsoft.card.adaptive" {
				t.Errorf("%s: the workflow does not know this envelope (%v): %+v", h, err, envelope)
			}
		}
	}
	body, err := room.Payload(news(rolledBack))
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string][2]string{
		"a color that is none":      {`"color":"attention"`, `"color":"purple"`},
		"an element that is none":   {`"type":"FactSet"`, `"type":"Facts"`},
		"an action without address": {`"url":"https://gate.example/rollouts/shop-cart-7c9f6d5b8-test"`, `"url":""`},
		"what a later version has":  {`"size":"large"`, `"size":"large","style":"heading"`},
	} {
		if broken := strings.Replace(string(body), change[0], change[1], 1); broken == string(body) || complaints([]byte(broken)) == "" {
			t.Errorf("nothing is said against %s", what)
		}
	}
}

func TestCardsTellHowBadItIs(t *testing.T) {
	for h, color := range map[rollout.Happening]string{rolledBack: "attention", rollout.IsWaiting: "warning", promoted: "good", rollout.HasStarted: ""} {
		body, err := teams{}.Payload(news(h))
		if err != nil {
			t.Fatal(err)
		}
		if want := `"color":"` + color + `"`; color != "" && !strings.Contains(string(body), want) || color == "" && strings.Contains(string(body), `"color"`) {
			t.Errorf("%s has another color than %q: %s", h, color, body)
		}
	}
}

func TestMarkdownOfOthersIsPlain(t *testing.T) {
	if got := plain("[x](y) *z* a_b"); got != `\[x\](y) \*z\* a\_b` {
		t.Errorf("got %s", got)
	}
}

func TestFactsSayWhatWasToldBefore(t *testing.T) {
	m := news(rollout.IsWaiting)
	m.News.Repeat, m.News.At = 2, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	body, err := teams{}.Payload(m)
	if err != nil || !strings.Contains(string(body), "2 times") || !strings.Contains(string(body), "Fri, 02 Jan 2026 03:04:05 UTC") {
		t.Errorf("%v: %s", err, body)
	}
}
