package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxAfter bounds what a receiver may ask us to wait. It is less than store's longestWait, beyond which a message is taken
	// for one that waits by a wrong clock.
	maxAfter = 10 * time.Minute
	// maxStatus is how much of an answer's body is kept, in bytes.
	maxStatus = 200
)

// post sends body once. Any 2xx is a delivery; 408, 429 and 5xx may be tried again, other answers not. Errors name the host
// only: the path of such addresses is often the secret. secrets are blackened in what the other side said: it may repeat them.
func (o Options) post(ctx context.Context, address string, header http.Header, body []byte, secrets ...string) Answer {
	target, err := target(address)
	if err != nil {
		return useless(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return useless(fmt.Errorf("post to %s: bad request", target.Host))
	}
	req.Header = header
	resp, err := direct(o.Client).Do(req)
	if err != nil {
		return Answer{Err: fmt.Errorf("post to %s: %w", target.Host, bare(err)), Retry: true}
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // the status decides; the body explains, and is read to its end so that the connection can be used again
	said := resp.Status + explain(text, append(parts(address), secrets...))
	if resp.StatusCode/100 == 2 {
		return Answer{Status: said}
	}
	return Answer{
		Err:    fmt.Errorf("post to %s: status %s", target.Host, said),
		Retry:  mayRetry(resp.StatusCode),
		After:  retryAfter(resp.Header.Get("Retry-After"), o.Now()),
		Status: said,
	}
}

// target is an address that can be posted to.
func target(address string) (*url.URL, error) {
	at, err := url.Parse(address)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return nil, errors.New("its address is not an http or https URL")
	}
	return at, nil
}

// direct follows no redirect: a POST that is redirected becomes a GET, and whoever answers that has not got the news.
func direct(client *http.Client) *http.Client {
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// bare is a client's error without the address, which it has in it.
func bare(err error) error {
	var withURL *url.Error
	if errors.As(err, &withURL) {
		return withURL.Err
	}
	return err
}

func mayRetry(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// retryAfter reads the header of that name: seconds or a date.
func retryAfter(text string, now time.Time) time.Duration {
	var after time.Duration
	if seconds, err := strconv.Atoi(text); err == nil {
		after = time.Duration(min(max(seconds, 0), int(maxAfter/time.Second))) * time.Second
	} else if date, err := http.ParseTime(text); err == nil {
		after = date.Sub(now)
	}
	return min(max(after, 0), maxAfter)
}

// explain is the begin of an answer's body, printable and without secrets.
func explain(body []byte, secrets []string) string {
	text := conceal(string(body), secrets)
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return ' '
	}, text))
	if text == "" {
		return ""
	}
	return ": " + cut(text, maxStatus)
}

// conceal blackens secrets. What is shorter than four bytes, such as the path "/", is no secret.
func conceal(text string, secrets []string) string {
	for _, s := range secrets {
		if len(s) >= 4 {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	return text
}

// parts are all parts of an address that may be secret.
func parts(address string) []string {
	all := []string{address}
	u, err := url.Parse(address)
	if err != nil {
		return all
	}
	password, _ := u.User.Password()
	all = append(all, u.RequestURI(), strings.Trim(u.Path, "/"), u.User.Username(), password)
	for _, values := range u.Query() {
		all = append(all, values...)
	}
	return all
}

// cut is text up to limit characters, with a sign that more was there.
func cut(text string, limit int) string {
	all := []rune(text)
	if len(all) <= limit {
		return text
	}
	return string(all[:limit-1]) + "…"
}
