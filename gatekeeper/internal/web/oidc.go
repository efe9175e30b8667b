package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/time/rate"
)

// PipelineRules say which pipelines may come with tokens of their own (OpenID Connect) for the role ci. A token must match
// one pattern of each list that is not empty. In a pattern * stands for any characters.
type PipelineRules struct {
	Issuer       string   // URL, as in the token's iss; GitHub's: docs.github.com/en/actions/concepts/security/openid-connect
	Audience     string   // that the token must be for; "": pipelines have no tokens of their own
	Repositories []string // owner/name, the claim repository
	Subjects     []string // the claim sub, such as repo:acme/shop:ref:refs/heads/main
	Environments []string // the claim environment: deployment environments with rules of their own
}

// check finds rules under which strangers could come: everybody on GitHub gets tokens for any audience from the same issuer.
func (r PipelineRules) check() error {
	if r.Audience == "" || r.Issuer == "" {
		return errors.New("tokens of pipelines: give the issuer and an audience, one that no other service takes")
	}
	if len(r.Repositories)+len(r.Subjects) == 0 {
		return errors.New("tokens of pipelines: name repositories or subjects, or everybody's pipelines could come")
	}
	for _, pattern := range slices.Concat(r.Repositories, r.Subjects) {
		literal, _, _ := strings.Cut(pattern, "*")
		if owner, _, whole := strings.Cut(literal, "/"); !whole || owner == "" {
			return fmt.Errorf("tokens of pipelines: the pattern %q must name the owner in full before its first *, as in acme/* or repo:acme/*", pattern)
		}
	}
	return nil
}

const (
	// skew is how far our clock may be ahead of the issuer's: a token that ended so long ago still holds.
	skew = 30 * time.Second
	// fetchTime bounds one question to the issuer.
	fetchTime = 5 * time.Second
	// fetchEvery and fetchBurst bound how often the issuer is asked: tokens with made-up keys ask for it each time.
	fetchEvery = 10 * time.Second
	fetchBurst = 5
	// maxPipelineToken is the longest token that is looked at, in bytes; GitHub's have about 2,000.
	maxPipelineToken = 16 << 10
)

// Pipelines knows the tokens of pipelines. The issuer is asked for its keys when the first token comes, so that it need not
// be there when the gatekeeper starts, and for new ones when a token is signed with another key. Safe for concurrent use.
type Pipelines struct {
	rules    PipelineRules
	patterns [3][]*regexp.Regexp // of Repositories, Subjects, Environments
	now      func() time.Time
	client   *http.Client

	mu       sync.Mutex // guards verifier
	verifier *oidc.IDTokenVerifier
}

// NewPipelines knows the tokens that the rules let in. Rules under which strangers could come are an error.
func NewPipelines(rules PipelineRules, now func() time.Time) (*Pipelines, error) {
	if err := rules.check(); err != nil {
		return nil, err
	}
	p := &Pipelines{rules: rules, now: now, client: &http.Client{
		Timeout: fetchTime, Transport: scarce{rate.NewLimiter(rate.Every(fetchEvery), fetchBurst), http.DefaultTransport},
	}}
	for i, list := range [][]string{rules.Repositories, rules.Subjects, rules.Environments} {
		for _, pattern := range list {
			text := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*")
			p.patterns[i] = append(p.patterns[i], regexp.MustCompile("^(?s:"+text+")$")) // quoted: it can not be malformed
		}
	}
	return p, nil
}

// scarce is a way to the issuer that is not open all the time.
type scarce struct {
	limit *rate.Limiter
	way   http.RoundTripper
}

// errScarce is returned when the issuer was asked too often lately.
var errScarce = errors.New("the issuer of pipelines' tokens was asked too often, try again in some seconds")

func (s scarce) RoundTrip(r *http.Request) (*http.Response, error) {
	if !s.limit.Allow() {
		return nil, errScarce
	}
	return s.way.RoundTrip(r)
}

// verify asks for the issuer's keys once, and again as long as it does not answer.
func (p *Pipelines) verify(ctx context.Context, token string) (*oidc.IDToken, error) {
	ctx = oidc.ClientContext(ctx, p.client)
	p.mu.Lock()
	if p.verifier == nil {
		provider, err := oidc.NewProvider(ctx, p.rules.Issuer)
		if err != nil {
			p.mu.Unlock()
			return nil, fmt.Errorf("ask the issuer for its keys: %w", err)
		}
		p.verifier = provider.VerifierContext(ctx, &oidc.Config{ClientID: p.rules.Audience, Now: func() time.Time { return p.now().Add(-skew) }})
	}
	verifier := p.verifier
	p.mu.Unlock()
	return verifier.Verify(ctx, token)
}

// looksSigned reports whether a bearer token has the shape of a pipeline's.
func looksSigned(token string) bool {
	return strings.Count(token, ".") == 2 && strings.HasPrefix(token, "ey") && len(token) <= maxPipelineToken
}

// who has a pipeline's token. The name has all that GitHub vouches for: the workflow with its repository and branch, and who
// set it off.
func (p *Pipelines) who(ctx context.Context, token string) (identity, error) {
	verified, err := p.verify(ctx, token)
	if err != nil {
		return identity{}, err
	}
	var claims struct {
		Repository  string `json:"repository"`
		Environment string `json:"environment"`
		WorkflowRef string `json:"workflow_ref"`
		Actor       string `json:"actor"`
	}
	if err := verified.Claims(&claims); err != nil {
		return identity{}, fmt.Errorf("read claims: %w", err)
	}
	for i, value := range []string{claims.Repository, verified.Subject, claims.Environment} {
		matches := func(pattern *regexp.Regexp) bool { return pattern.MatchString(value) }
		if len(p.patterns[i]) > 0 && !slices.ContainsFunc(p.patterns[i], matches) {
			return identity{}, fmt.Errorf("the %s %q is not one of those that may come", [3]string{"repository", "subject", "environment"}[i], value)
		}
	}
	name := verified.Subject
	if claims.WorkflowRef != "" {
		name = claims.WorkflowRef
	}
	if claims.Actor != "" {
		name += " by " + claims.Actor
	}
	return identity{Name: name, Role: CI, Via: "ci"}, nil
}
