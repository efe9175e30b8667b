package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

func serve(t *testing.T) string { return serveFor(t, "") }

func serveFor(t *testing.T, gatekeeper string) string {
	t.Helper()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	server := httptest.NewServer(newBox(func() time.Time { return now }, gatekeeper, slog.New(slog.DiscardHandler)))
	t.Cleanup(server.Close)
	return server.URL
}

func send(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Idempotency-Key", "k1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func messages(t *testing.T, url string) []message {
	t.Helper()
	var list []message
	status, text := send(t, http.MethodGet, url, "")
	if err := json.Unmarshal([]byte(text), &list); err != nil || status != http.StatusOK {
		t.Fatalf("GET gave %d %s: %v", status, text, err)
	}
	return list
}

func TestReceiver(t *testing.T) {
	url := serve(t) + "/"
	if _, text := send(t, http.MethodGet, url, ""); text != "[]" {
		t.Errorf("at first there is an empty list, not %s", text)
	}
	if status, _ := send(t, http.MethodPost, url, `{"event":"started"}`); status != http.StatusOK {
		t.Errorf("POST gave %d, want 200", status)
	}
	list := messages(t, url)
	if len(list) != 1 || list[0].Body != `{"event":"started"}` || list[0].Headers.Get("Idempotency-Key") != "k1" || list[0].At.IsZero() {
		t.Errorf("got %+v", list)
	}
}

func TestReceiverIsBounded(t *testing.T) {
	url := serve(t) + "/"
	if status, _ := send(t, http.MethodPost, url, strings.Repeat("x", maxBody+1)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("a body that is too large gave %d, want 413", status)
	}
	for i := range maxMessages + 5 {
		send(t, http.MethodPost, url, strconv.Itoa(i))
	}
	list := messages(t, url)
	if len(list) != maxMessages || list[0].Body != "5" || list[maxMessages-1].Body != strconv.Itoa(maxMessages+4) {
		t.Errorf("kept %d messages from %q to %q", len(list), list[0].Body, list[len(list)-1].Body)
	}
}

func TestHooksAreHandedOn(t *testing.T) {
	gatekeeper := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Idempotency-Key") != "k1" || string(body) != `{"name":"podinfo"}` {
			t.Errorf("the gatekeeper got %s with %v", body, r.Header)
		}
		http.Error(w, "not yet", http.StatusForbidden)
	}))
	url := serveFor(t, gatekeeper.URL)
	if status, text := send(t, http.MethodPost, url+"/hooks/v1/rollback", `{"name":"podinfo"}`); status != http.StatusForbidden || text != "not yet\n" {
		t.Errorf("Flagger got %d %q, want the gatekeeper's own answer", status, text)
	}
	gatekeeper.Close()
	if status, _ := send(t, http.MethodPost, url+"/hooks/v1/event", `{}`); status != http.StatusBadGateway {
		t.Errorf("without a gatekeeper Flagger got %d, want 502", status)
	}

	list := func(query string) (calls []call) {
		status, text := send(t, http.MethodGet, url+"/calls"+query, "")
		if err := json.Unmarshal([]byte(text), &calls); err != nil || status != http.StatusOK {
			t.Fatalf("GET /calls%s gave %d %s: %v", query, status, text, err)
		}
		return calls
	}
	all := list("")
	if len(all) != 2 || all[0].Number != 1 || all[0].Hook != "rollback" || all[0].Status != http.StatusForbidden || all[0].Body != `{"name":"podinfo"}` {
		t.Errorf("got %+v", all)
	}
	if later := list("?after=1"); len(later) != 1 || later[0].Hook != "event" || later[0].Status != http.StatusBadGateway {
		t.Errorf("after the first call there is %+v", later)
	}
	if status, _ := send(t, http.MethodGet, url+"/calls?after=x", ""); status != http.StatusBadRequest {
		t.Errorf("a number that is none gave %d, want 400", status)
	}
}

func TestOtherPathsAreRefused(t *testing.T) {
	if status, _ := send(t, http.MethodPost, serve(t)+"/other", "x"); status != http.StatusNotFound {
		t.Errorf("got %d, want 404", status)
	}
}

func TestSlackHasAListOfItsOwn(t *testing.T) {
	url := serve(t)
	send(t, http.MethodPost, url+"/slack", `{"text":"firing"}`)
	if list := messages(t, url+"/slack"); len(list) != 1 || list[0].Body != `{"text":"firing"}` {
		t.Errorf("got %+v", list)
	}
	if list := messages(t, url+"/"); len(list) != 0 {
		t.Errorf("a message to Slack is among the gatekeeper's notifications: %+v", list)
	}
}
