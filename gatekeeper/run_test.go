package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommands(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	people, all := filepath.Join(dir, "people"), filepath.Join(dir, "all")
	rules, short := filepath.Join(dir, "rules"), filepath.Join(dir, "short")
	if err := os.Mkdir(rules, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		filepath.Join(rules, "careful.yaml"): "name: careful\n", short: "hunter2\n", good: "name: careful\nbake: {first: 2m}\n", bad: "name: careful\nslo: {objektive: 99}\n",
		people: "operator ann 0123456789abcdef\n", all: "operator ann 0123456789abcdef\nflagger flagger fedcba9876543210\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer up.Close()
	down := httptest.NewServer(http.NotFoundHandler())
	defer down.Close()

	try(t, map[string]command{
		"version":                              {[]string{"version"}, "gatekeeper dev (none)", ""},
		"help":                                 {[]string{"--help"}, "policy check", ""},
		"a good policy is read back":           {[]string{"policy", "check", good}, "stays 2m at the first weight, 1m at each later one", ""},
		"a good policy as a whole document":    {[]string{"policy", "check", "--output", "json", good}, `"maxHold": "30m"`, ""},
		"the schema of policies":               {[]string{"policy", "schema"}, `"title": "gatekeeper policy"`, ""},
		"a bad policy is shown":                {[]string{"policy", "check", bad}, "", "bad.yaml:2: unknown field \"objektive\""},
		"a policy file that is not there":      {[]string{"policy", "check", dir + "/none.yaml"}, "", "none.yaml"},
		"a URL that answers":                   {[]string{"check", up.URL}, "200 OK", ""},
		"a URL that says no":                   {[]string{"check", down.URL}, "", "404"},
		"a command that is none":               {[]string{"fly"}, "", "gatekeeper --help"},
		"serve without a cluster says so":      {[]string{"serve", "--data", dir, "--policies", rules}, "", "--kubeconfig"},
		"serve by its own policy":              {[]string{"serve", "--data", dir}, "", "--kubeconfig"},
		"serve with policies that are nowhere": {[]string{"serve", "--data", dir, "--policies", dir + "/none"}, "", "there is no *.yaml"},
		"serve with a folder without policies": {[]string{"serve", "--data", dir, "--policies", t.TempDir()}, "", "there is no *.yaml"},
		"serve with a token easily guessed":    {[]string{"serve", "--data", dir, "--operator-token", "hunter2-hunter2"}, "", "--operator-token is shorter than 16"},
		"serve with alerts easily guessed":     {[]string{"serve", "--data", dir, "--alerts-token-file", short}, "", "--alerts-token is shorter than 16"},
		"serve with tokens that are long":      {[]string{"serve", "--data", dir, "--operator-token", "hunter2-hunter2-", "--trusted-proxies", "10.42.0.0/16,fd00::/8", "--oidc-audience", "a", "--oidc-repositories", "acme/shop,acme/cart-*"}, "", "--kubeconfig"},
		"serve with hooks for nobody":          {[]string{"serve", "--data", dir, "--hook-auth"}, "", "--tokens-file"},
		"serve with hooks nobody may ask":      {[]string{"serve", "--data", dir, "--hook-auth", "--tokens-file", people}, "", "no token of the role flagger"},
		"serve with hooks Flagger may ask":     {[]string{"serve", "--data", dir, "--hook-auth", "--tokens-file", all}, "", "--kubeconfig"},
		"serve that keeps nothing":             {[]string{"serve", "--data", dir, "--keep-ticks", "5m"}, "", "at least 1h"},
		"serve with a bad policy does not run": {[]string{"serve", "--data", dir, "--policies", dir}, "", "bad.yaml"},
	})
}

// command is a command line, what it has to print, and what its error has to say, "" for none.
type command struct {
	args      []string
	says, err string
}

func try(t *testing.T, commands map[string]command) {
	t.Helper()
	for name, c := range commands {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			err := run(t.Context(), c.args, &out, &errs)
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if !strings.Contains(out.String(), c.says) {
				t.Errorf("printed %s\nwant %q", out.String(), c.says)
			}
		})
	}
}

// Whoever gives no policies is told what judges instead.
func TestServeWithoutPoliciesSaysLoudlyWhatJudges(t *testing.T) {
	if _, err := os.Stat(usualPolicies); err == nil {
		t.Skip(usualPolicies, "exists on this machine")
	}
	var out, errs bytes.Buffer
	if err := run(t.Context(), []string{"serve", "--data", t.TempDir()}, &out, &errs); err == nil || !strings.Contains(errs.String(), "every Canary is judged by the built-in default") {
		t.Errorf("error %v, said %s", err, errs.String())
	}
}
