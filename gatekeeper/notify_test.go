package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// written is a file of the test's own.
func written(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestNotifyCommands(t *testing.T) {
	var got []byte
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, _ = io.ReadAll(r.Body) // what is missing shows below
		w.WriteHeader(status)
	}))
	defer server.Close()
	secret := written(t, "url", server.URL+"/s3cret")
	file := written(t, "sinks.yaml", "sinks:\n"+
		"  - {name: room, type: teams, urlFile: "+secret+", on: [promoted], severity: info}\n"+
		"  - {name: hook, type: webhook, url: "+server.URL+"}\n"+
		"  - {name: lost, type: slack, urlFile: /no/such/file, canaries: [\"shop/*\"]}\n")
	policy := written(t, "policy.yaml", "name: p\nnotify: [{sink: hook}, {sink: nobody}]\n")
	for name, c := range map[string]struct {
		args   string
		status int
		told   string // in what the receiver got; "": nothing
		want   string // in the output, or in the error when it begins with "!"
	}{
		"a test":                     {"notify test hook --sinks " + file, 200, `"type":"monitoring.rollout.rolled-back"`, "sink hook (webhook) was told: 200 OK"},
		"of another kind":            {"notify test room --event stuck --sinks " + file, 200, "This is a test", "sink room (teams) was told"},
		"that is refused":            {"notify test room --sinks " + file, 410, "card", "!it would not be tried again: post to"},
		"that may work later":        {"notify test room --sinks " + file, 503, "card", "!it would be tried again: post to"},
		"without sending":            {"notify test room --dry-run --sinks " + file, 200, "", "AdaptiveCard"},
		"of the flag's own sink":     {"notify test webhook --webhook-url " + server.URL, 200, `"specversion":"1.0"`, "sink webhook"},
		"without its secret":         {"notify test lost --sinks " + file, 200, "", "!/no/such/file"},
		"of a sink that there isn't": {"notify test nobody --sinks " + file, 200, "", "!there are room, hook, lost"},
		"without any sink":           {"notify test nobody", 200, "", "!there are none"},
		"of nothing that happens":    {"notify test hook --event ended --sinks " + file, 200, "", "!--event ended"},
		"a list":                     {"notify list --sinks " + file, 200, "", "room  teams    promoted  info      all"},
		"a check":                    {"notify check " + file, 200, "", "!sink lost: read its url"},
		"a check of nonsense":        {"notify check " + policy, 200, "", "!unknown field"},
		"a schema":                   {"notify schema", 200, "", `"title": "gatekeeper sinks"`},
		"a policy and its sinks":     {"policy check " + policy + " --sinks " + file, 200, "", "warning: policy p tells the sink nobody"},
	} {
		got, status = nil, c.status
		out := &bytes.Buffer{}
		err := run(t.Context(), strings.Fields(c.args), out, out)
		said := out.String()
		want, failing := strings.CutPrefix(c.want, "!")
		if err != nil {
			said += err.Error()
		}
		if (err != nil) != failing || !strings.Contains(said, want) || strings.Contains(said, "s3cret") {
			t.Errorf("%s: said %q, failed %v", name, said, err != nil)
		}
		if c.told == "" && got != nil || !strings.Contains(string(got), c.told) {
			t.Errorf("%s: the receiver got %s", name, got)
		}
	}
}

func TestTheFlagsSinkIsOneOfTheFile(t *testing.T) {
	file := written(t, "sinks.yaml", "sinks: [{name: webhook, type: webhook, url: \"http://a.example\"}]\n")
	for name, f := range map[string]sinkFlags{
		"two of one name":   {Sinks: file, WebhookURL: "https://hooks.example/s3cret"},
		"no address at all": {WebhookURL: "s3cret"},
	} {
		if _, err := f.config(); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, err := sinkFlags{Sinks: file}.config()
	if err != nil || len(c.Sinks) != 1 || c.Repeat.Hours() != 4 {
		t.Errorf("%+v %v", c, err)
	}
}
