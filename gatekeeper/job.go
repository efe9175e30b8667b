package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// job is what GitHub Actions tells a step about itself (docs.github.com/actions, "variables" and "OpenID Connect").
type job struct {
	Audience    string `name:"oidc-audience" default:"gatekeeper" env:"GATEKEEPER_OIDC_AUDIENCE" help:"In GitHub Actions: the audience of the job's OIDC token, as the gatekeeper expects it."`
	TokenURL    string `hidden:"" env:"ACTIONS_ID_TOKEN_REQUEST_URL"`
	TokenKey    string `hidden:"" env:"ACTIONS_ID_TOKEN_REQUEST_TOKEN"`
	InActions   bool   `hidden:"" env:"GITHUB_ACTIONS"`
	SummaryFile string `hidden:"" env:"GITHUB_STEP_SUMMARY"`
	OutputFile  string `hidden:"" env:"GITHUB_OUTPUT"`
}

const (
	// tokenTime bounds the question for a token, early is how long before its end a new one is fetched.
	tokenTime = 10 * time.Second
	early     = time.Minute
	// maxToken bounds what is read of it.
	maxToken = 1 << 20
)

// proof is a token that ends.
type proof struct {
	token string
	until time.Time
}

// token is the given one or, in a job that may have one, the job's own, fetched anew before it ends.
func (c *client) token(ctx context.Context) (string, error) {
	if c.Token != "" || c.TokenURL == "" || c.TokenKey == "" {
		return c.Token, nil
	}
	if c.proof.token == "" || time.Until(c.proof.until) < early {
		got, err := c.fetch(ctx)
		if err != nil {
			return "", fmt.Errorf("fetch the job's OIDC token: %w", err)
		}
		c.proof = got
	}
	return c.proof.token, nil
}

func (c *client) fetch(ctx context.Context) (proof, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenTime)
	defer cancel()
	where, err := url.Parse(c.TokenURL)
	if err != nil {
		return proof{}, errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is not a URL")
	}
	query := where.Query()
	query.Set("audience", c.Audience)
	where.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
	if err != nil {
		return proof{}, bare(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.TokenKey)
	resp, err := c.http.Do(req)
	if err != nil {
		return proof{}, bare(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Value string `json:"value"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxToken)).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK || answer.Value == "" {
		return proof{}, fmt.Errorf("GitHub answered with status %d and no token; has the job the permission id-token: write?", resp.StatusCode)
	}
	return proof{answer.Value, ends(answer.Value)}, nil
}

// ends is when a token ends by its own words, which the gatekeeper checks, not we; zero when it does not say.
func ends(token string) time.Time {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Exp int64 `json:"exp"`
	}
	if json.Unmarshal(text, &claims) != nil || claims.Exp == 0 {
		return time.Time{}
	}
	return time.Unix(claims.Exp, 0)
}

// annotate shows a message at the head of the run. Level is error, warning or notice.
func (j job) annotate(w io.Writer, level, title, text string) {
	if !j.InActions {
		return
	}
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	fmt.Fprintf(w, "::%s title=%s::%s\n", level, property.Replace(title), data.Replace(text))
}

// summarize adds Markdown to the job's summary.
func (j job) summarize(markdown string) error {
	return grow(j.SummaryFile, strings.TrimRight(markdown, "\n")+"\n\n")
}

// output is one of the step's outputs.
type output struct{ name, value string }

// give writes the step's outputs. What ends a value is random, so that no value can end itself and add another output.
func (j job) give(outputs []output) error {
	text, end := &strings.Builder{}, "end-"+rand.Text()
	for _, o := range outputs {
		fmt.Fprintf(text, "%s<<%s\n%s\n%s\n", o.name, end, o.value, end)
	}
	return grow(j.OutputFile, text.String())
}

// grow appends to a file that GitHub made; "" is none.
func grow(file, text string) error {
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("tell GitHub Actions: %w", err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("tell GitHub Actions: %w", err)
	}
	return nil
}
