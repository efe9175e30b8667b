package notify

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

// marker stands in every secret. It may be in no log line, no answer and nothing that the outbox keeps.
const marker = "s3cr3t-m4rk3r"

// indiscreet answers with all that it was sent.
func indiscreet(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "I do not like %s %s", r.URL, r.Header)
	}
}

// silent takes connections and says nothing until the client has gone.
func silent(http.ResponseWriter, *http.Request) {}

func TestNoFailureTellsASecret(t *testing.T) {
	servers := map[string]string{}
	for name, answer := range map[string]http.HandlerFunc{
		"refuses": indiscreet(404), "is broken": indiscreet(500), "takes it": indiscreet(200),
		"redirects": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/"+marker, http.StatusFound) },
		"says no in Slack's way": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"ok":false,"error":"invalid %s %s"}`, r.Header.Get("Authorization"), r.FormValue("token"))
		},
		"hangs up": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.Close() // that is the point
		},
	} {
		server := httptest.NewServer(answer)
		defer server.Close()
		servers[name] = server.URL
	}
	dead := httptest.NewServer(http.HandlerFunc(silent))
	dead.Close()
	servers["is not there"], servers["has no name"] = dead.URL, "http://no-such-host.invalid"
	_, office := mailServer(t)

	secret := func(text string) sinks.Secret { return sinks.Secret{File: file(t, text)} }
	all := map[string]sinks.Sink{}
	for name, address := range servers {
		link := address + "/services/" + marker + "?token=" + marker
		all["webhook "+name] = sinks.Sink{Type: sinks.Webhook, URL: secret(link), Secret: secret("whsec_" + strings.Repeat("s3cr3tm4rk3r", 4))}
		all["slack hook "+name] = sinks.Sink{Type: sinks.SlackApp, URL: secret(link)}
		all["teams "+name] = sinks.Sink{Type: sinks.Teams, URL: secret(link)}
		all["shoutrrr "+name] = sinks.Sink{Type: sinks.Shoutrrr, URL: secret("generic+" + link)}
		all["bot "+name] = sinks.Sink{Type: sinks.SlackApp, Token: secret("xoxb-" + marker), Channel: "C1"}
	}
	for name, address := range map[string]string{
		"nothing": marker, "not parsed": "http://%zz" + marker, "no scheme": "://" + marker, "a scheme of its own": marker + "://x", "a port": "http://example.com:" + marker,
	} {
		all["webhook to "+name] = sinks.Sink{Type: sinks.Webhook, URL: secret(address)}
		all["teams to "+name] = sinks.Sink{Type: sinks.Teams, URL: secret(address)}
		all["shoutrrr to "+name] = sinks.Sink{Type: sinks.Shoutrrr, URL: secret(address)}
	}
	all["mail with a wrong password"] = sinks.Sink{Type: sinks.Shoutrrr, URL: secret("smtp://gate:" + marker + "@" + office + "/?from=a@b.c&to=d@e.f&usestarttls=No")}
	all["mail to a field that is none"] = sinks.Sink{Type: sinks.Shoutrrr, URL: secret("smtp://gate:" + url.QueryEscape(marker+"%&") + "@" + office + "/?" + marker + "=1")}
	all["telegram"] = sinks.Sink{Type: sinks.Shoutrrr, URL: secret("telegram://" + marker + "@telegram?chats=" + marker)}
	all["a signature that can't be"] = sinks.Sink{Type: sinks.Webhook, URL: secret(servers["takes it"]), Secret: secret(marker + "!")}

	for name, s := range all {
		s.Name = strings.ReplaceAll(name, " ", "-")
		o := options()
		o.Client = &http.Client{Timeout: 2 * time.Second}
		for server, address := range servers {
			if name == "bot "+server {
				o.Slack.API = address + "/api/"
			}
		}
		made := teller(t, s, o)
		log := &bytes.Buffer{}
		b := &box{}
		b.put(s.Name, "r1")
		c, _ := courier(b, log, nil)
		var answer Answer
		c.carry(t.Context(), &lane{sink: s.Name, unwritten: map[string]Answer{}, teller: telling(func(ctx context.Context, m rollout.Message) Answer {
			answer = made.Tell(ctx, m)
			return answer
		})}, []rollout.Message{b.rows[0].Message})
		payload, err := made.Payload(b.rows[0].Message)
		if err != nil {
			t.Error(err)
		}
		for where, text := range map[string]string{
			"the log": log.String(), "the outbox": b.rows[0].why + b.rows[0].Thread, "the answer": fmt.Sprint(answer), "the payload": string(payload), "the check": fmt.Sprint(Secrets(s)),
		} {
			if strings.Contains(text, marker) || strings.Contains(text, "s3cr3tm4rk3r") {
				t.Errorf("%s: %s tells the secret: %s", name, where, text)
			}
		}
		if ok := strings.HasSuffix(name, "takes it") || strings.HasSuffix(name, "Slack's way"); answer.Err == nil && !ok {
			t.Errorf("%s: it was taken, so nothing was tried", name)
		}
	}
}
