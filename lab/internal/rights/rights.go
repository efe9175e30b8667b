// Package rights compares what service accounts may do in a cluster with what they were seen to do.
package rights

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Rule is what a role lets an account do.
type Rule struct {
	Account   string // namespace/name of the service account
	Namespace string // in which it may; "" is all
	Groups    []string
	Resources []string
	Names     []string // none: any
	Verbs     []string
}

// Right is one verb on one kind of resource. In a Rule's place * is any; in all of its fields "" is.
type Right struct {
	Account   string
	Namespace string
	Group     string
	Resource  string // with a subresource it is pods/log
	Name      string
	Verb      string
}

func (r Right) String() string {
	text := r.Account + " may " + r.Verb + " " + r.Resource
	if r.Group != "" {
		text += "." + r.Group
	}
	if r.Name != "" {
		text += " " + r.Name
	}
	return text + " in " + cmp.Or(r.Namespace, "all namespaces")
}

// Use is how often a right was asked for.
type Use struct {
	Right
	Refused bool
	Times   int
}

// Exception is a right that is granted and not used in a proof, and why that is right.
type Exception struct {
	Account, Resource, Verb string
	Why                     string
}

// Problem is what does not fit in a Finding.
type Problem string

// A right that is granted and was not used, and one that was asked for and refused.
const (
	Unused  Problem = "granted, never used"
	Refused Problem = "used, refused"
)

// Finding is a right that does not fit.
type Finding struct {
	Right
	Problem Problem
	Why     string // it is right all the same; "" is a fault
}

// Log reads an audit log of the API server (audit.k8s.io/v1, one JSON object a line) and sums up what service accounts asked
// for. What is asked of no resource, such as /apis, is everybody's right and is left out.
func Log(log io.Reader) ([]Use, error) {
	times := map[Use]int{}
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("read audit log, line %d: %w", n, err)
		}
		if use, ok := e.use(); ok {
			times[use]++
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	uses := slices.Collect(maps.Keys(times))
	for i, use := range uses {
		uses[i].Times = times[use]
	}
	slices.SortFunc(uses, func(a, b Use) int { return strings.Compare(a.String(), b.String()) })
	return uses, nil
}

// event is what matters of an audit event.
type event struct {
	Stage string `json:"stage"`
	Verb  string `json:"verb"`
	User  struct {
		Username string `json:"username"`
	} `json:"user"`
	Object struct {
		Group       string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	Response struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

// use is what an event tells of. A watch counts when it begins: it may not have ended when the log is read.
func (e event) use() (Use, bool) {
	account, service := strings.CutPrefix(e.User.Username, "system:serviceaccount:")
	begun := e.Stage == "ResponseStarted"
	ended := e.Stage == "ResponseComplete" && (e.Verb != "watch" || e.Response.Code >= 400)
	if !service || e.Object.Resource == "" || !begun && !ended {
		return Use{}, false
	}
	resource := e.Object.Resource
	if e.Object.Subresource != "" {
		resource += "/" + e.Object.Subresource
	}
	return Use{Refused: e.Response.Code == 403, Right: Right{
		Account: strings.Replace(account, ":", "/", 1), Namespace: e.Object.Namespace,
		Group: e.Object.Group, Resource: resource, Name: e.Object.Name, Verb: e.Verb,
	}}, true
}

// rights are all that a rule grants, one by one.
func (r Rule) rights() (all []Right) {
	names := r.Names
	if len(names) == 0 {
		names = []string{""}
	}
	for _, group := range r.Groups {
		for _, resource := range r.Resources {
			for _, name := range names {
				for _, verb := range r.Verbs {
					all = append(all, Right{r.Account, r.Namespace, group, resource, name, verb})
				}
			}
		}
	}
	return all
}

// covers reports whether a use needs the right.
func (r Right) covers(use Right) bool {
	any := func(granted, used string) bool { return granted == "*" || granted == used }
	return r.Account == use.Account && (r.Namespace == "" || r.Namespace == use.Namespace) && (r.Name == "" || r.Name == use.Name) &&
		any(r.Group, use.Group) && any(r.Resource, use.Resource) && any(r.Verb, use.Verb)
}

// Compare lists what does not fit, in the order of rules and uses.
func Compare(rules []Rule, uses []Use, exceptions []Exception) (findings []Finding) {
	for _, rule := range rules {
		for _, right := range rule.rights() {
			if !slices.ContainsFunc(uses, func(u Use) bool { return !u.Refused && right.covers(u.Right) }) {
				findings = append(findings, Finding{Right: right, Problem: Unused, Why: why(right, exceptions)})
			}
		}
	}
	for _, use := range uses {
		if use.Refused {
			findings = append(findings, Finding{Right: use.Right, Problem: Refused})
		}
	}
	return findings
}

// why is the reason of the exception that is about a right.
func why(r Right, exceptions []Exception) string {
	for _, e := range exceptions {
		if e.Account == r.Account && e.Resource == r.Resource && e.Verb == r.Verb {
			return e.Why
		}
	}
	return ""
}
