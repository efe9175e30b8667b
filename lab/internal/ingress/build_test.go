package ingress

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// world has the services podinfo, podinfo-canary and other with one endpoint each, and empty without any.
func world(ingresses ...*networkingv1.Ingress) objects {
	return objects{
		ingresses: ingresses,
		services:  []*corev1.Service{serviceOf("podinfo"), serviceOf("podinfo-canary"), serviceOf("other"), serviceOf("empty")},
		slices: []*discoveryv1.EndpointSlice{
			sliceOf("podinfo-1", "podinfo", true, "127.0.0.1:20001"),
			sliceOf("podinfo-canary-1", "podinfo-canary", true, "127.0.0.1:20002"),
			sliceOf("other-1", "other", true, "127.0.0.1:20003"),
			sliceOf("empty-1", "empty", false, "127.0.0.1:20004"),
		},
	}
}

// lines says what a model does, a location a line.
func lines(m model) []string {
	var out []string
	for _, h := range m.Hosts {
		for _, l := range h.Locations {
			sign, does := "", l.Backend.Service
			if l.Exact {
				sign = "= "
			}
			if l.Answer != 0 {
				does = fmt.Sprint(l.Answer)
			}
			if l.Split != nil {
				does += fmt.Sprintf(" or %s %s", l.Split.Alternative.Service, l.Split.Rule.Percent())
			}
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s%s -> %s", h.Name, sign, l.Path, does)))
		}
	}
	return out
}

func TestBuild(t *testing.T) {
	ofClass := func(ing *networkingv1.Ingress, class *string, annotation string) *networkingv1.Ingress {
		ing.Spec.IngressClassName = class
		ing.Annotations = map[string]string{"kubernetes.io/ingress.class": annotation}
		return ing
	}
	withDefault := func(ing *networkingv1.Ingress, service string) *networkingv1.Ingress {
		ing.Spec.DefaultBackend = to(service)
		return ing
	}
	since := func(ing *networkingv1.Ingress, minutes int) *networkingv1.Ingress {
		ing.CreationTimestamp = metav1.NewTime(time.Unix(0, 0).Add(time.Duration(minutes) * time.Minute))
		return ing
	}
	haproxy := "haproxy"
	noHTTP := ingressOf("bare", nil)
	noHTTP.Spec.Rules = []networkingv1.IngressRule{{Host: "bare.local"}}

	for name, c := range map[string]struct {
		ingresses []*networkingv1.Ingress
		want      []string
		problems  int
	}{
		"without an Ingress everything is 404": {want: []string{"/ -> 404"}},
		"an Ingress serves its host, and other hosts are 404": {
			ingresses: []*networkingv1.Ingress{podinfo()},
			want:      []string{"/ -> 404", "podinfo.local / -> podinfo"},
		},
		"an Ingress of another class is not ours": {
			ingresses: []*networkingv1.Ingress{ofClass(podinfo(), &haproxy, "")},
			want:      []string{"/ -> 404"},
		},
		"the class may be an annotation": {
			ingresses: []*networkingv1.Ingress{ofClass(podinfo(), nil, "nginx")},
			want:      []string{"/ -> 404", "podinfo.local / -> podinfo"},
		},
		"the field for the class wins over the annotation": {
			ingresses: []*networkingv1.Ingress{ofClass(podinfo(), &haproxy, "nginx")},
			want:      []string{"/ -> 404"},
		},
		"a prefix is also its path without the slash, and matches whole elements": {
			ingresses: []*networkingv1.Ingress{ingressOf("a", nil, route{"a.local", "/api", prefixed, "podinfo"}, route{"a.local", "/v1/", prefixed, "other"})},
			want: []string{
				"/ -> 404",
				"a.local = /api -> podinfo", "a.local = /v1 -> other", "a.local /api/ -> podinfo", "a.local /v1/ -> other", "a.local / -> 404",
			},
		},
		"an exact path wins over what a prefix adds, also when it is the younger": {
			ingresses: []*networkingv1.Ingress{
				since(ingressOf("a", nil, route{"a.local", "/api", prefixed, "podinfo"}), 1),
				since(ingressOf("b", nil, route{"a.local", "/api", exact, "other"}), 2),
			},
			want: []string{"/ -> 404", "a.local = /api -> other", "a.local /api/ -> podinfo", "a.local / -> 404"},
		},
		"an implementation-specific path is a plain prefix": {
			ingresses: []*networkingv1.Ingress{ingressOf("a", nil, route{"a.local", "/api", anyhow, "podinfo"})},
			want:      []string{"/ -> 404", "a.local /api -> podinfo", "a.local / -> 404"},
		},
		"the longest path comes first": {
			ingresses: []*networkingv1.Ingress{ingressOf("a", nil, route{"a.local", "/", anyhow, "podinfo"}, route{"a.local", "/long/er", anyhow, "other"}, route{"a.local", "/long", anyhow, "podinfo"})},
			want:      []string{"/ -> 404", "a.local /long/er -> other", "a.local /long -> podinfo", "a.local / -> podinfo"},
		},
		"two Ingresses share a host, and the older has the path that both want": {
			ingresses: []*networkingv1.Ingress{
				since(ingressOf("a", nil, route{"a.local", "/", prefixed, "podinfo"}), 2),
				since(ingressOf("b", nil, route{"a.local", "/", prefixed, "other"}, route{"a.local", "/b", exact, "other"}), 1),
			},
			want:     []string{"/ -> 404", "a.local = /b -> other", "a.local / -> other"},
			problems: 1,
		},
		"a service without a ready endpoint is 503": {
			ingresses: []*networkingv1.Ingress{ingressOf("a", nil, route{"a.local", "/", prefixed, "empty"})},
			want:      []string{"/ -> 404", "a.local / -> 503"},
		},
		"a service that does not exist is 503": {
			ingresses: []*networkingv1.Ingress{ingressOf("a", nil, route{"a.local", "/", prefixed, "nobody"})},
			want:      []string{"/ -> 404", "a.local / -> 503"},
		},
		"a default backend without rules serves every host nobody names": {
			ingresses: []*networkingv1.Ingress{withDefault(ingressOf("a", nil), "other")},
			want:      []string{"/ -> other"},
		},
		"a default backend with rules serves the rest of their hosts": {
			ingresses: []*networkingv1.Ingress{withDefault(ingressOf("a", nil, route{"a.local", "/api", exact, "podinfo"}), "other")},
			want:      []string{"/ -> 404", "a.local = /api -> podinfo", "a.local / -> other"},
		},
		"a rule without paths is a host that has nothing": {
			ingresses: []*networkingv1.Ingress{noHTTP},
			want:      []string{"/ -> 404", "bare.local / -> 404"},
		},
		"a canary gets its share": {
			ingresses: []*networkingv1.Ingress{podinfo(), canaryOf("podinfo-canary", "canary-weight", "10")},
			want:      []string{"/ -> 404", "podinfo.local / -> podinfo or podinfo-canary 10.00%"},
		},
		"canary false is an Ingress like any other": {
			ingresses: []*networkingv1.Ingress{ingressOf("podinfo", map[string]string{prefix + "canary": "false"}, route{"podinfo.local", "/", prefixed, "podinfo"})},
			want:      []string{"/ -> 404", "podinfo.local / -> podinfo"},
		},
		"a canary without a ready endpoint leaves everything to the primary": {
			ingresses: []*networkingv1.Ingress{podinfo(), ingressOf("c", map[string]string{prefix + "canary": "true", prefix + "canary-weight": "50"}, route{"podinfo.local", "/", prefixed, "empty"})},
			want:      []string{"/ -> 404", "podinfo.local / -> podinfo"},
		},
		"a primary without a ready endpoint is 503 even with a canary": {
			ingresses: []*networkingv1.Ingress{ingressOf("p", nil, route{"podinfo.local", "/", prefixed, "empty"}), canaryOf("c", "canary-weight", "100")},
			want:      []string{"/ -> 404", "podinfo.local / -> 503"},
		},
		"a canary of nothing is a problem": {
			ingresses: []*networkingv1.Ingress{canaryOf("c", "canary-weight", "50")},
			want:      []string{"/ -> 404"},
			problems:  1,
		},
		"a canary of itself is a problem": {
			ingresses: []*networkingv1.Ingress{ingressOf("p", nil, route{"podinfo.local", "/", prefixed, "podinfo-canary"}), canaryOf("c", "canary-weight", "50")},
			want:      []string{"/ -> 404", "podinfo.local / -> podinfo-canary"},
			problems:  1,
		},
		"a primary has one canary, the older": {
			ingresses: []*networkingv1.Ingress{
				podinfo(), since(canaryOf("c", "canary-weight", "50"), 1),
				since(ingressOf("d", map[string]string{prefix + "canary": "true"}, route{"podinfo.local", "/", prefixed, "other"}), 2),
			},
			want:     []string{"/ -> 404", "podinfo.local / -> podinfo or podinfo-canary 50.00%"},
			problems: 1,
		},
		"a canary with a weight that is no number is left out": {
			ingresses: []*networkingv1.Ingress{podinfo(), canaryOf("c", "canary-weight", "ten")},
			want:      []string{"/ -> 404", "podinfo.local / -> podinfo"},
			problems:  1,
		},
		"an Ingress with a host that is none is left out, and the others stay": {
			ingresses: []*networkingv1.Ingress{podinfo(), ingressOf("evil", nil, route{"a; return 200", "/", prefixed, "podinfo"})},
			want:      []string{"/ -> 404", "podinfo.local / -> podinfo"},
			problems:  1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, problems := build("nginx", world(c.ingresses...))
			if got := lines(m); !slices.Equal(got, c.want) {
				t.Errorf("serves\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			if len(problems) != c.problems {
				t.Errorf("problems %v, want %d", problems, c.problems)
			}
		})
	}
}

func TestCheckLetsOnlyNamesPass(t *testing.T) {
	port := func(name string) *networkingv1.Ingress {
		ing := podinfo()
		ing.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Port = networkingv1.ServiceBackendPort{Name: name}
		return ing
	}
	path := func(p string, kind networkingv1.PathType) *networkingv1.Ingress {
		return ingressOf("a", nil, route{"a.local", p, kind, "podinfo"})
	}
	host := func(h string) *networkingv1.Ingress { return ingressOf("a", nil, route{h, "/", prefixed, "podinfo"}) }
	noService := podinfo()
	noService.Spec.Rules[0].HTTP.Paths[0].Backend.Service = nil
	badDefault := podinfo()
	badDefault.Spec.DefaultBackend = to("x y")
	badNamespace := podinfo()
	badNamespace.Namespace = "a b"

	for name, c := range map[string]struct {
		ing  *networkingv1.Ingress
		fine bool
	}{
		"a host":                             {host("a.example.com"), true},
		"a wildcard":                         {host("*.example.com"), true},
		"no host":                            {host(""), true},
		"a host with a semicolon":            {host("a;b"), false},
		"a host with a line break":           {host("a\nb"), false},
		"a host with a variable":             {host("$host"), false},
		"an expression for a host":           {host("~.*"), false},
		"a path":                             {path("/a/b-c_d.e~f", prefixed), true},
		"no path":                            {path("", anyhow), true},
		"a path with a brace":                {path("/}", prefixed), false},
		"a path with a quote":                {path(`/"`, exact), false},
		"a path with a backslash":            {path(`/\`, exact), false},
		"a path with a variable":             {path("/$request_id", exact), false},
		"a path with a tab":                  {path("/a\tb", exact), false},
		"a path with a space":                {path("/a b", exact), false},
		"a path that begins with a modifier": {path("= /", exact), false},
		"a path of an unknown type":          {path("/", "Regex"), false},
		"a service with a brace":             {ingressOf("a", nil, route{"a.local", "/", prefixed, "a}b"}), false},
		"a service with a dot":               {ingressOf("a", nil, route{"a.local", "/", prefixed, "a.b"}), false},
		"a named port":                       {port("http"), true},
		"a named port with a variable":       {port("$x"), false},
		"a backend that is not a service":    {noService, false},
		"a default backend with a space":     {badDefault, false},
		"a namespace with a space":           {badNamespace, false},
		"a name with a quote":                {ingressOf(`a"`, nil), false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := check(c.ing); (err == nil) != c.fine {
				t.Errorf("check says %v, want fine=%v", err, c.fine)
			}
		})
	}
}
