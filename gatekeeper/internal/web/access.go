package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

// Role is what somebody may do.
type Role string

// The roles. A viewer reads. An operator reads and decides. A pipeline (ci) reads and aborts, but approves nothing.
// Alertmanager (alerts) tells of alerts and reads nothing. Flagger asks at its own door and reads nothing here. None is whoever has not said who he is, and what a route needs
// that is open to everybody.
const (
	None     Role = "none"
	Viewer   Role = "viewer"
	Operator Role = "operator"
	CI       Role = "ci"
	Alerts   Role = "alerts"
	Flagger  Role = "flagger"
)

// may reports whether somebody with role r may use a route that needs the other role.
func (r Role) may(needed Role) bool {
	switch needed {
	case None:
		return true
	case Viewer:
		return r == Viewer || r == Operator || r == CI
	case CI:
		return r == CI || r == Operator
	default:
		return r == needed
	}
}

// identity is who sent a request. Via is the way it was proven: api by a bearer token, ci by a pipeline's token, page by a
// browser's session; "" for nobody.
type identity struct {
	Name string
	Role Role
	Via  string
}

// anonymous is the name of whoever sent no credentials.
const anonymous = "anonymous"

// Token is one bearer token: who has it and what it lets him do.
type Token struct {
	Role   Role
	Name   string
	Secret string
}

// MinSecret is the least length of a token, in bytes: what is shorter can be guessed.
const MinSecret = 16

// ParseTokens reads a file of tokens: a line for each, "role name token", with spaces between; empty lines and lines that
// begin with # say nothing. Roles are viewer, operator, ci, alerts and flagger. One name may have several tokens, so that they can be
// replaced one after the other; a token has one role. Errors name the line and never the token.
func ParseTokens(text []byte) ([]Token, error) {
	var tokens []Token
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("line %d: want three words, role, name and token, there are %d", number, len(fields))
		}
		t := Token{Role(fields[0]), fields[1], fields[2]}
		switch t.Role {
		case Viewer, Operator, CI, Alerts, Flagger:
		default:
			return nil, fmt.Errorf("line %d: there is no role %.20q: use viewer, operator, ci, alerts or flagger", number, t.Role)
		}
		if len(t.Secret) < MinSecret {
			return nil, fmt.Errorf("line %d: the token of %s is shorter than %d characters and could be guessed: use for example openssl rand -hex 32", number, t.Name, MinSecret)
		}
		if i := slices.IndexFunc(tokens, func(other Token) bool { return other.Secret == t.Secret && other.Role != t.Role }); i >= 0 {
			return nil, fmt.Errorf("line %d: the token of %s is also that of %s, with another role: give each its own", number, t.Name, tokens[i].Name)
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

// key is the hash by which a token is known: it can be kept and compared without giving the token away.
type key [sha256.Size]byte

func keyOf(secret string) key { return sha256.Sum256([]byte(secret)) }

// reloadEvery is how often the file of tokens is looked at, when somebody asks.
const reloadEvery = time.Second

// Tokens knows bearer tokens: given ones, and those of a file that may change. Safe for concurrent use.
type Tokens struct {
	given map[key]identity
	file  string
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex // guards what follows
	text    []byte     // of the file, as read last
	read    map[key]identity
	lookAt  time.Time // not before this time
	trouble string    // with the file as it is now; told once
}

// NewTokens knows the given tokens, of which those without a secret are left out, and those of the file unless it is "".
// A file that can not be read is an error now; later the tokens of the last one that could be read hold.
func NewTokens(given []Token, file string, now func() time.Time, log *slog.Logger) (*Tokens, error) {
	t := &Tokens{file: file, now: now, log: log, given: map[key]identity{}, read: map[key]identity{}}
	for _, g := range given {
		if g.Secret != "" {
			t.given[keyOf(g.Secret)] = g.identity()
		}
	}
	if file == "" {
		return t, nil
	}
	return t, t.load()
}

func (t Token) identity() identity {
	who := identity{Name: t.Name, Role: t.Role, Via: "api"}
	if t.Role == CI {
		who.Via = "ci"
	}
	return who
}

// load reads the file when it has changed. The caller holds mu or is alone.
func (t *Tokens) load() error {
	text, err := os.ReadFile(t.file)
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	if t.text != nil && bytes.Equal(text, t.text) {
		return nil
	}
	tokens, err := ParseTokens(text)
	if err != nil {
		return fmt.Errorf("read tokens of %s: %w", t.file, err)
	}
	read := make(map[key]identity, len(tokens))
	for _, token := range tokens {
		read[keyOf(token.Secret)] = token.identity()
	}
	t.text, t.read = text, read
	t.log.Info("tokens read", "file", t.file, "tokens", len(tokens))
	return nil
}

// refresh takes in a changed file.
func (t *Tokens) refresh() {
	now := t.now()
	if t.file == "" || now.Before(t.lookAt) {
		return
	}
	t.lookAt = now.Add(reloadEvery)
	trouble := ""
	if err := t.load(); err != nil {
		trouble = err.Error()
	}
	if trouble != "" && trouble != t.trouble {
		t.log.Error("the tokens read before hold on, also those that were to be taken away: correct the file", "error", trouble)
	}
	t.trouble = trouble
}

// who has the token of this key now. Every known key is compared in full, so that the time it takes tells nothing.
func (t *Tokens) who(k key) (who identity, ok bool) {
	t.mu.Lock()
	t.refresh()
	read := t.read
	t.mu.Unlock()
	for _, known := range []map[key]identity{t.given, read} {
		for other, i := range known {
			if subtle.ConstantTimeCompare(k[:], other[:]) == 1 {
				who, ok = i, true
			}
		}
	}
	return who, ok
}

// Has reports whether a secret is now one of that role's.
func (t *Tokens) Has(role Role, secret string) bool {
	who, ok := t.who(keyOf(secret))
	return ok && who.Role == role
}

// Any reports whether some token is of that role as the file was read last.
func (t *Tokens) Any(role Role) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, known := range []map[key]identity{t.given, t.read} {
		for _, who := range known {
			if who.Role == role {
				return true
			}
		}
	}
	return false
}

// Access is who may do what.
type Access struct {
	// Anonymous is the role of whoever sends no credentials: Viewer or None.
	Anonymous Role
	Tokens    *Tokens
	Pipelines *Pipelines // nil: pipelines have no tokens of their own
}

// identify finds out who sent a request by credentials of one kind; ok is false when it has none, or none that hold.
type identify func(r *http.Request) (who identity, ok bool)

// errCredentials is returned for credentials that do not hold.
var errCredentials = errors.New("this bearer token is not known here")

// bearer is who has a bearer token, or errCredentials, with the reason for a pipeline's, or errTooMany.
func (d door) bearer(ctx context.Context, secret string) (identity, error) {
	if who, ok := d.cfg.Access.Tokens.who(keyOf(secret)); ok {
		return who, nil
	}
	// A token of ours always holds: whoever guesses, from the same address, must not keep operators out.
	attempts := d.failed.of(addressIn(ctx))
	if attempts.Tokens() < 1 {
		return identity{}, errTooMany
	}
	err := errCredentials
	if d.cfg.Access.Pipelines != nil && looksSigned(secret) {
		who, trouble := d.cfg.Access.Pipelines.who(ctx, secret)
		if trouble == nil {
			return who, nil
		}
		err = fmt.Errorf("%w: %w", errCredentials, trouble)
	}
	attempts.Allow()
	return identity{}, err
}

// identified is who sent r. Credentials that do not hold are an error: falling back to anonymous would hide a mistake.
func (d door) identified(r *http.Request) (identity, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, secret, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return identity{}, errCredentials
		}
		return d.bearer(r.Context(), secret)
	}
	for _, by := range d.identifiers {
		if who, ok := by(r); ok {
			return who, nil
		}
	}
	return identity{Name: anonymous, Role: d.cfg.Access.Anonymous}, nil
}

// identityKey is where a request's context has the identity.
type identityKey struct{}

// whoIs is who sent the request of this context.
func whoIs(ctx context.Context) identity {
	who, ok := ctx.Value(identityKey{}).(identity)
	if !ok {
		return identity{Name: anonymous, Role: None}
	}
	return who
}

// enter lets through who may use a route that needs a role, with the identity in the request's context.
func (d door) enter(needed Role) gin.HandlerFunc {
	own := http.NewCrossOriginProtection()
	return func(c *gin.Context) {
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBody)
		c.Header("Cache-Control", "no-store")
		if own.Check(c.Request) != nil {
			d.turnAway(c, http.StatusForbidden, "the request came from another site")
			return
		}
		who, err := d.identified(c.Request)
		switch {
		case errors.Is(err, errTooMany):
			d.turnAway(c, http.StatusTooManyRequests, err.Error())
		case err != nil:
			d.cfg.Log.Warn("request with credentials that do not hold refused", "path", c.FullPath(), "from", c.ClientIP(), "why", err)
			d.turnAway(c, http.StatusUnauthorized, err.Error())
		case who.Role.may(needed):
			c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), identityKey{}, who))
		case who.Name == anonymous:
			d.turnAway(c, http.StatusUnauthorized, fmt.Sprintf("this needs a bearer token with the role %s", needed))
		default:
			d.cfg.Log.Warn("request without the right role refused", "path", c.FullPath(), "from", c.ClientIP(), "who", who.Name, "role", who.Role, "needed", needed)
			d.turnAway(c, http.StatusForbidden, fmt.Sprintf("%s has the role %s, this needs %s", who.Name, who.Role, needed))
		}
	}
}

// turnAway ends a request that may not go on.
func (d door) turnAway(c *gin.Context, status int, why string) {
	switch status {
	case http.StatusUnauthorized:
		c.Header("WWW-Authenticate", `Bearer realm="gatekeeper"`)
	case http.StatusTooManyRequests:
		c.Header("Retry-After", "5")
	}
	c.AbortWithStatusJSON(status, gin.H{"error": why})
}
