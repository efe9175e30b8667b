package ingress

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func TestRender(t *testing.T) {
	canary := canaryOf("podinfo-canary",
		"canary-weight", "10", "canary-by-header", "X-Canary", "canary-by-header-pattern", `^"v[0-9]+\.x"$`, "canary-by-cookie", "try-new")
	other := ingressOf("other", nil, route{"*.example.com", "/api", prefixed, "other"}, route{"", "/status", exact, "empty"})
	m, problems := build("nginx", world(podinfo(), canary, other))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	got, err := render(settings{Listen: "127.0.0.1:18080", Workers: 2, Files: 8192}, m)
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/nginx.conf"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what is written now (go test -update shows the difference in git):\n%s", golden, got)
	}
}

func TestQuoteMakesOneWord(t *testing.T) {
	for text, want := range map[string]string{
		"":          `""`,
		"a b;{}":    `"a b;{}"`,
		`"; evil "`: `"\"; evil \""`,
		`\`:         `"\\"`,
		`\"`:        `"\\\""`,
	} {
		if got := quote(text); got != want {
			t.Errorf("quote(%s) = %s, want %s", text, got, want)
		}
	}
}
