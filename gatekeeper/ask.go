package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// server is where commands find the gatekeeper's people's door, and who they are to it.
type server struct {
	Server string `default:"http://localhost:8081" env:"GATEKEEPER_SERVER" help:"The gatekeeper's people's door, for example by kubectl port-forward."`
	Token  string `env:"GATEKEEPER_TOKEN" help:"Bearer token, for what changes something. In GitHub Actions the job's own OIDC token is taken without one, if the job has the permission id-token: write."`
	job    `embed:""`
}

// clientTime bounds one question.
const clientTime = 15 * time.Second

// maxAnswer bounds what is read of one answer: a tape of a day has some ten megabytes.
const maxAnswer = 256 << 20

// client asks, in the name of one token.
type client struct {
	server
	http     *http.Client
	proof    proof
	unproven bool         // the job's own token was refused
	say      func(string) // tells that; nil: nobody is told
}

func (s server) client() *client { return &client{server: s, http: &http.Client{}} }

// call asks path once and decodes the answer into out. An answer that is not 2xx is an error with the gatekeeper's own words.
func (s server) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, clientTime)
	defer cancel()
	return s.client().ask(ctx, method, path, in, out)
}

// refusal is an answer that is not 2xx.
type refusal struct {
	status int
	said   string // by the gatekeeper, "" when somebody else answered
	path   string
	after  int // seconds until another question is welcome
	hint   string
}

func (r refusal) Error() string {
	if r.said == "" {
		return fmt.Sprintf("ask the gatekeeper %s: status %d %s%s", r.path, r.status, http.StatusText(r.status), r.hint)
	}
	return fmt.Sprintf("the gatekeeper refused (%d): %s%s", r.status, r.said, r.hint)
}

// ask is call for as long as ctx lasts. When out is a *[]byte it is the answer as it came.
func (c *client) ask(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the gatekeeper's answer to %s: %w", path, err)
	}
	if resp.StatusCode/100 != 2 {
		return c.refused(resp, path, answer)
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = answer
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("read the gatekeeper's answer to %s: %w", path, err)
	}
	return nil
}

// stream asks for what is read while it comes. The caller closes it.
func (c *client) stream(ctx context.Context, path string) (io.ReadCloser, error) {
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16)) // it only explains
	return nil, c.refused(resp, path, answer)
}

// send asks, and gives the answer whatever its status. The caller closes its body. A job's own token, which nobody asked us
// to take, may be refused: then what needs none is asked without.
func (c *client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
	}
	if c.unproven && method == http.MethodGet {
		return c.once(ctx, method, path, body, "")
	}
	token, err := c.token(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := c.once(ctx, method, path, body, token)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || token == "" || c.Token != "" {
		return resp, err
	}
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16)) // it only explains
	_ = resp.Body.Close()
	if !c.unproven && c.say != nil {
		c.say("the job's own OIDC token does not hold, asking without it: " + c.refused(resp, path, answer).Error())
	}
	c.unproven = true
	return c.once(ctx, method, path, body, "")
}

// once asks one time, with this token unless it is "".
func (c *client) once(ctx context.Context, method, path string, body []byte, token string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.Server, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, backoff.Permanent(errors.New("ask the gatekeeper: --server is not a URL such as http://localhost:8081"))
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the gatekeeper: %w; is --server right, and does a port-forward run?", bare(err))
	}
	return resp, nil
}

// bare is err without the URL, which may hold a password.
func bare(err error) error {
	if e := new(url.Error); errors.As(err, &e) {
		return e.Err
	}
	return err
}

func (c *client) refused(resp *http.Response, path string, answer []byte) refusal {
	var words struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal(answer, &words) // what is no JSON is not the gatekeeper's
	after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	r := refusal{status: resp.StatusCode, said: words.Error, path: path, after: after}
	switch {
	case r.status == http.StatusUnauthorized && c.unproven:
		r.hint = "; the job's own OIDC token does not hold there: the gatekeeper needs --oidc-audience " + c.Audience + " and --oidc-repositories or --oidc-subjects that name this repository"
	case r.status == http.StatusNotFound && r.said == "":
		r.hint = "; is --server the gatekeeper's people's door (port 8081), and not older than this command?"
	}
	return r
}
