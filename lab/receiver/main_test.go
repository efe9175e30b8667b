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

func serve(t *testing.T) string {
	t.Helper()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	server := httptest.NewServer(newBox(func() time.Time { return now }, slog.New(slog.DiscardHandler)))
	t.Cleanup(server.Close)
	return server.URL
}

func call(t *testing.T, method, url, body string) (int, string) {
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
	status, text := call(t, http.MethodGet, url, "")
	if err := json.Unmarshal([]byte(text), &list); err != nil || status != http.StatusOK {
		t.Fatalf("GET gave %d %s: %v", status, text, err)
	}
	return list
}

func TestReceiver(t *testing.T) {
	url := serve(t) + "/"
	if _, text := call(t, http.MethodGet, url, ""); text != "[]" {
		t.Errorf("at first there is an empty list, not %s", text)
	}
	if status, _ := call(t, http.MethodPost, url, `{"event":"started"}`); status != http.StatusAccepted {
		t.Errorf("POST gave %d, want 202", status)
	}
	list := messages(t, url)
	if len(list) != 1 || list[0].Body != `{"event":"started"}` || list[0].Headers.Get("Idempotency-Key") != "k1" || list[0].At.IsZero() {
		t.Errorf("got %+v", list)
	}
}

func TestReceiverIsBounded(t *testing.T) {
	url := serve(t) + "/"
	if status, _ := call(t, http.MethodPost, url, strings.Repeat("x", maxBody+1)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("a body that is too large gave %d, want 413", status)
	}
	for i := range maxMessages + 5 {
		call(t, http.MethodPost, url, strconv.Itoa(i))
	}
	list := messages(t, url)
	if len(list) != maxMessages || list[0].Body != "5" || list[maxMessages-1].Body != strconv.Itoa(maxMessages+4) {
		t.Errorf("kept %d messages from %q to %q", len(list), list[0].Body, list[len(list)-1].Body)
	}
}

func TestOtherPathsAreRefused(t *testing.T) {
	if status, _ := call(t, http.MethodPost, serve(t)+"/other", "x"); status != http.StatusNotFound {
		t.Errorf("got %d, want 404", status)
	}
}
