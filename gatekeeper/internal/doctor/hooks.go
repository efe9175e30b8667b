package doctor

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// hook is one webhook of the analysis.
type hook struct {
	Object
	where string // its field path
	kind  string // its type, "rollout" when it says none
	path  string // of its URL
}

func (p Patient) hooks() (all []hook) {
	for i, o := range p.Canary.list("spec", "analysis", "webhooks") {
		h := hook{Object: o, where: fmt.Sprintf("Canary spec.analysis.webhooks[%d] (%s)", i, o.Text("name")), kind: o.Text("type")}
		if h.kind == "" {
			h.kind = "rollout"
		}
		if u, err := url.Parse(o.Text("url")); err == nil {
			h.path = u.Path
		}
		all = append(all, h)
	}
	return all
}

// asks is the hook type that a URL of the gatekeeper stands for, "" for any other URL.
func (h hook) asks() string {
	if _, last, ours := strings.Cut(h.path, "/hooks/v1/"); ours && slices.Contains(append(deciding(), recording()...), last) {
		return last
	}
	return ""
}

// The eight hooks of the gatekeeper: those that carry a decision, and those that prepare or tell.
func deciding() []string {
	return []string{"confirm-rollout", "confirm-traffic-increase", "confirm-promotion", "rollback"}
}

func recording() []string { return []string{"pre-rollout", "rollout", "post-rollout", "event"} }

const webhooks = "Canary spec.analysis.webhooks"

func hookChecks() []Check {
	return []Check{
		{"hook-missing", Error, "no gatekeeper hook of a type that decides", "flagger-facts §1.4", func(p Patient) []hit {
			return p.lacks(deciding(), "so the gatekeeper's decision there is never asked for")
		}},
		{"hook-missing-record", Warn, "no gatekeeper hook of a type that prepares or tells", "flagger-facts §1.4", func(p Patient) []hit {
			return p.lacks(recording(), "so checks before the first traffic are left out, or the record has gaps")
		}},
		{"hook-url", Error, "a gatekeeper URL in a hook of another type", "flagger-facts §0.1, §0.4", func(p Patient) (hits []hit) {
			for _, h := range p.hooks() {
				if asks := h.asks(); asks != "" && asks != h.kind {
					hits = append(hits, hit{h.where + ".url", fmt.Sprintf("a %s hook asks the gatekeeper for %s: the payload does not say which hook it is, the path alone does", h.kind, asks), "let the URL end in /hooks/v1/" + h.kind})
				}
			}
			return hits
		}},
		{"rollback-url", Error, "a rollback hook whose URL is made for something else", "flagger-facts §0.4", func(p Patient) (hits []hit) {
			for _, h := range p.hooks() {
				if h.kind == "rollback" && !slices.Contains(strings.Split(h.path, "/"), "rollback") {
					hits = append(hits, hit{h.where + ".url", fmt.Sprintf("every 200, 201 or 202 of %s rolls the release back: at this hook yes means go back", h.path), "let the URL end in /hooks/v1/rollback"})
				}
			}
			return hits
		}},
		{"hook-twice", Warn, "two hooks that ask the gatekeeper the same", "flagger-facts §1.1", func(p Patient) (hits []hit) {
			seen := map[string]bool{}
			for _, h := range p.hooks() {
				if asks := h.asks(); asks != "" && seen[asks] {
					hits = append(hits, hit{h.where, "the gatekeeper is asked for " + asks + " twice a tick", "remove one of the two"})
				}
				seen[h.asks()] = true
			}
			return hits
		}},
		{"hook-loud", Warn, "confirm-traffic-increase without muteAlert", "flagger-facts §1.4, PR #886", func(p Patient) (hits []hit) {
			for _, h := range p.hooks() {
				if h.kind == "confirm-traffic-increase" && !h.yes("muteAlert") {
					hits = append(hits, hit{h.where + ".muteAlert", "Flagger alerts at every tick at which the next step is not allowed yet", "set muteAlert: true"})
				}
			}
			return hits
		}},
		{"hook-secret", Error, "a secret in the query of a hook's URL", "flagger-facts §0.19", func(p Patient) (hits []hit) {
			for _, h := range p.hooks() {
				if key := secretKey(h.Text("url")); key != "" {
					hits = append(hits, hit{h.where + ".url", fmt.Sprintf("Flagger writes %s from the URL's query into logs and events when the hook fails", key), "use http://user:password@host/…: Flagger hides that"})
				}
			}
			return hits
		}},
		{"hook-timeouts", Warn, "hooks that can block Flagger for longer than an interval", "flagger-facts §1.2", func(p Patient) []hit {
			longest := p.blocking()
			return when(longest > p.interval(), webhooks,
				fmt.Sprintf("rollback, rollout and confirm-traffic-increase hooks that hang block one look for %s, the interval is %s: rollbacks wait as long", longest, p.interval()),
				"shorten timeout or retries; the gatekeeper answers in milliseconds")
		}},
		{"policy-two", Warn, "hooks that name different policies", "gatekeeper", func(p Patient) []hit {
			names := p.policyNames()
			return when(len(names) > 1, webhooks+"[].metadata.policy", fmt.Sprintf("the hooks name the policies %s; only the first counts", strings.Join(names, ", ")), "name one policy in all hooks")
		}},
		{"policy-unknown", Error, "a policy that is not among the documents", "gatekeeper", func(p Patient) []hit {
			names := p.policyNames()
			unknown := len(names) > 0 && len(p.Policies) > 0 && !slices.Contains(p.Policies, names[0])
			return when(unknown, webhooks+"[].metadata.policy", fmt.Sprintf("there is no policy %q, so the default one judges", p.Policy()), "write the document, or name one of "+strings.Join(p.Policies, ", "))
		}},
		{"gatekeeper-silent", Error, "a gatekeeper that does not answer", "flagger-facts §1.5", func(p Patient) []hit {
			return when(p.GatekeeperTrouble != "", p.GatekeeperURL, "no answer: "+p.GatekeeperTrouble+". While it is so releases wait, and failing rollout hooks roll good ones back", "look at the gatekeeper's pod and at network policies")
		}},
	}
}

func (p Patient) lacks(kinds []string, so string) (hits []hit) {
	for _, kind := range kinds {
		if !slices.ContainsFunc(p.hooks(), func(h hook) bool { return h.kind == kind && h.asks() == kind }) {
			hits = append(hits, hit{webhooks, "no " + kind + " hook goes to the gatekeeper, " + so, fmt.Sprintf("add {type: %s, url: http://<gatekeeper>:8080/hooks/v1/%s}", kind, kind)})
		}
	}
	return hits
}

// blocking is how long the hooks of an ordinary look can take when none answers; Flagger asks them one after the other.
func (p Patient) blocking() (all time.Duration) {
	for _, h := range p.hooks() {
		if slices.Contains([]string{"rollback", "rollout", "confirm-traffic-increase"}, h.kind) {
			tries := 1 + h.number("retries")
			all += time.Duration(tries * float64(h.duration(10*time.Second, "timeout")))
		}
	}
	return all
}

// secretKey is the first parameter of a URL's query that sounds like a secret.
func secretKey(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	for _, key := range slices.Sorted(maps.Keys(u.Query())) {
		for _, word := range []string{"token", "secret", "key", "pass", "auth", "sig", "cred"} {
			if strings.Contains(strings.ToLower(key), word) {
				return key
			}
		}
	}
	return ""
}

func (p Patient) policyNames() (names []string) {
	for _, h := range p.hooks() {
		if name := h.Text("metadata", "policy"); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
