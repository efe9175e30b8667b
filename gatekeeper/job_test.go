package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain hides a CI job that runs these tests from the commands that they run.
func TestMain(m *testing.M) {
	for _, name := range []string{"GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "GATEKEEPER_TOKEN", "GATEKEEPER_SERVER"} {
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func TestWhatAReleaseIsCalledIsNoCommandToGitHub(t *testing.T) {
	var text strings.Builder
	job{InActions: true}.annotate(&text, "error", "a: b, c", "100 %\r\n::set-output name=x::y")
	if want := "::error title=a%3A b%2C c::100 %25%0D%0A::set-output name=x::y\n"; text.String() != want {
		t.Errorf("got  %swant %s", text.String(), want)
	}
	text.Reset()
	job{}.annotate(&text, "error", "a", "b")
	if text.Len() > 0 {
		t.Errorf("outside of a job it says %s", text.String())
	}
}

func TestOutputsCanNotEndThemselves(t *testing.T) {
	file := filepath.Join(t.TempDir(), "output")
	j := job{OutputFile: file}
	for range 2 {
		if err := j.give([]output{{"reason", "two\nlines\nreason<<end-x\n"}}); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ends := map[string]bool{}
	for block := range strings.SplitSeq(strings.TrimPrefix(string(text), "reason<<"), "\nreason<<end-") {
		end, rest, _ := strings.Cut(strings.TrimPrefix(block, "end-"), "\n")
		if end == "x" {
			continue // a value's own words
		}
		ends[end] = true
		if !strings.Contains(string(text), "\nend-"+end) || !strings.HasPrefix(rest, "two\nlines") {
			t.Errorf("block %q", block)
		}
	}
	if len(ends) != 2 {
		t.Errorf("%d ends in %s, want 2 that differ", len(ends), text)
	}
	if err := (job{SummaryFile: filepath.Join(file, "none")}).summarize("x"); err == nil {
		t.Error("a summary that can not be written is taken for written")
	}
}

func jwt(until time.Time) string {
	payload := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, until.Unix()))
	return "e30." + payload + ".c2ln"
}

func TestAJobProvesItselfAndRenewsItsProof(t *testing.T) {
	fetched, until := 0, time.Now().Add(5*time.Minute)
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer key" || r.FormValue("audience") != "ours" || r.FormValue("version") != "2" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fetched++
		fmt.Fprintf(w, `{"value":%q}`, jwt(until))
	}))
	defer github.Close()
	s := server{job: job{Audience: "ours", TokenURL: github.URL + "?version=2", TokenKey: "key"}}
	c := s.client()
	for range 3 {
		if token, err := c.token(t.Context()); err != nil || token != jwt(until) {
			t.Fatalf("%s %v", token, err)
		}
	}
	if fetched != 1 {
		t.Errorf("fetched %d times, want once: it lasts", fetched)
	}
	c.proof.until = time.Now().Add(30 * time.Second)
	if _, err := c.token(t.Context()); err != nil || fetched != 2 {
		t.Errorf("fetched %d times, want anew before it ends: %v", fetched, err)
	}
	s.Token = "given"
	if token, err := s.client().token(t.Context()); err != nil || token != "given" {
		t.Errorf("%s %v, want the given one", token, err)
	}
	s.Token, s.TokenKey = "", "secret-key"
	_, err := s.client().token(t.Context())
	if err == nil || !strings.Contains(err.Error(), "id-token: write") || strings.Contains(err.Error(), "secret-key") {
		t.Errorf("refused by GitHub: %v", err)
	}
	for _, odd := range []string{"", "a", "a.b", "a.e30.c", "a.!!.c"} {
		if at := ends(odd); !at.IsZero() {
			t.Errorf("token %q ends at %s", odd, at)
		}
	}
}
