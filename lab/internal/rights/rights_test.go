package rights

import (
	"slices"
	"strings"
	"testing"
)

const keeper = "system/gatekeeper"

func line(stage, user, verb, object string, code string) string {
	return `{"kind":"Event","stage":"` + stage + `","verb":"` + verb + `","user":{"username":"` + user + `"},"objectRef":{` + object + `},"responseStatus":{"code":` + code + "}}\n"
}

func TestLogSumsUpWhatAccountsAskedFor(t *testing.T) {
	const account, pods = "system:serviceaccount:system:gatekeeper", `"resource":"pods","apiVersion":"v1"`
	log := line("ResponseComplete", account, "list", pods, "200") +
		line("ResponseComplete", account, "list", pods, "200") +
		line("ResponseStarted", account, "watch", pods, "200") + // it has not ended yet
		line("ResponseStarted", account, "watch", `"resource":"ingresses","apiGroup":"networking.k8s.io"`, "200") +
		line("ResponseComplete", account, "watch", `"resource":"ingresses","apiGroup":"networking.k8s.io"`, "200") +
		line("ResponseComplete", account, "watch", `"resource":"secrets"`, "403") + // it never began
		line("ResponseComplete", account, "patch", `"resource":"ingresses","apiGroup":"networking.k8s.io","namespace":"demo","name":"podinfo-canary"`, "403") +
		line("ResponseComplete", account, "get", `"resource":"pods","subresource":"log","namespace":"demo","name":"p"`, "404") +
		line("ResponseComplete", account, "get", "", "200") + // of no resource
		line("ResponseComplete", "lab", "delete", pods, "200")
	got, err := Log(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	want := []Use{
		{Right{keeper, "demo", "", "pods/log", "p", "get"}, false, 1},
		{Right{keeper, "", "", "pods", "", "list"}, false, 2},
		{Right{keeper, "demo", "networking.k8s.io", "ingresses", "podinfo-canary", "patch"}, true, 1},
		{Right{keeper, "", "networking.k8s.io", "ingresses", "", "watch"}, false, 1},
		{Right{keeper, "", "", "pods", "", "watch"}, false, 1},
		{Right{keeper, "", "", "secrets", "", "watch"}, true, 1},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
	if _, err := Log(strings.NewReader(log + "{\n")); err == nil || !strings.Contains(err.Error(), "line 11") {
		t.Errorf("a line that is cut off gave %v", err)
	}
}

func TestCompare(t *testing.T) {
	rule := func(namespace, group, resource, verb string, names ...string) Rule {
		return Rule{keeper, namespace, []string{group}, []string{resource}, names, []string{verb}}
	}
	use := func(namespace, group, resource, name, verb string) Use {
		return Use{Right: Right{keeper, namespace, group, resource, name, verb}, Times: 1}
	}
	for name, c := range map[string]struct {
		rule Rule
		use  Use
		want bool // the right is used
	}{
		"the same":                        {rule("", "", "pods", "list"), use("", "", "pods", "", "list"), true},
		"in one of all namespaces":        {rule("", "", "pods", "get"), use("demo", "", "pods", "p", "get"), true},
		"in its namespace":                {rule("demo", "", "pods", "get"), use("demo", "", "pods", "p", "get"), true},
		"in another namespace":            {rule("demo", "", "pods", "get"), use("shop", "", "pods", "p", "get"), false},
		"everywhere, granted in one":      {rule("demo", "", "pods", "list"), use("", "", "pods", "", "list"), false},
		"another verb":                    {rule("", "", "pods", "watch"), use("", "", "pods", "", "list"), false},
		"another group":                   {rule("", "apps", "deployments", "get"), use("", "", "deployments", "d", "get"), false},
		"a subresource is one of its own": {rule("", "", "pods", "get"), use("demo", "", "pods/log", "p", "get"), false},
		"its name":                        {rule("demo", "coordination.k8s.io", "leases", "update", "mine"), use("demo", "coordination.k8s.io", "leases", "mine", "update"), true},
		"another name":                    {rule("demo", "coordination.k8s.io", "leases", "update", "mine"), use("demo", "coordination.k8s.io", "leases", "other", "update"), false},
		"anything":                        {rule("", "*", "*", "*"), use("demo", "apps", "deployments", "d", "get"), true},
		"another account's": {
			rule("", "", "pods", "list"),
			Use{Right: Right{"demo/podinfo", "", "", "pods", "", "list"}, Times: 1},
			false,
		},
	} {
		findings := Compare([]Rule{c.rule}, []Use{c.use}, nil)
		if used := len(findings) == 0; used != c.want {
			t.Errorf("%s: used %t, want %t (%v)", name, used, c.want, findings)
		}
	}
}

func TestCompareNamesWhatIsUnusedRefusedAndExcused(t *testing.T) {
	rules := []Rule{{keeper, "", []string{""}, []string{"pods", "secrets"}, nil, []string{"list", "get"}}}
	uses := []Use{
		{Right{keeper, "", "", "pods", "", "list"}, false, 3},
		{Right{keeper, "demo", "", "secrets", "s", "get"}, true, 1}, // refused is not used
	}
	got := Compare(rules, uses, []Exception{{keeper, "pods", "get", "by people"}})
	want := []Finding{
		{Right{keeper, "", "", "pods", "", "get"}, Unused, "by people"},
		{Right{keeper, "", "", "secrets", "", "list"}, Unused, ""},
		{Right{keeper, "", "", "secrets", "", "get"}, Unused, ""},
		{Right{keeper, "demo", "", "secrets", "s", "get"}, Refused, ""},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}
