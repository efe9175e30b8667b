package web

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

const (
	// sessionTime is how long a browser stays signed in.
	sessionTime = 8 * time.Hour
	// maxSessions bounds how many are remembered; beyond, the one that would end first ends.
	maxSessions = 1000
	// sessionCookie names it. The prefix that would bind it to TLS can not be had without TLS.
	sessionCookie = "gatekeeper_session"
)

// session is one browser that has shown a token. It knows the token by its key only, and is asked for again with each
// request: a session does not outlive its token.
type session struct {
	token key
	seal  string // in the session's forms, so that only its own pages can send them
	until time.Time
	said  string // what came of what was done last, until it is shown
}

// sessions are in memory: after a restart people sign in anew. Safe for concurrent use.
type sessions struct {
	tokens *Tokens
	now    func() time.Time

	mu   sync.Mutex // guards byID and what is in it
	byID map[string]*session
}

func newSessions(tokens *Tokens, now func() time.Time) *sessions {
	return &sessions{tokens: tokens, now: now, byID: map[string]*session{}}
}

// begin opens a session for who has a token that people use, and returns its id, of 256 bits by chance.
func (s *sessions) begin(secret string) (id string, ok bool) {
	token := keyOf(secret)
	who, known := s.tokens.who(token)
	if !known || !who.Role.may(Viewer) {
		return "", false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	id = rand.Text() + rand.Text()
	s.byID[id] = &session{token: token, seal: rand.Text(), until: s.now().Add(sessionTime)}
	return id, true
}

// forget drops sessions whose time is over, and makes room for one more. The caller holds mu.
func (s *sessions) forget() {
	now, first := s.now(), ""
	for id, one := range s.byID {
		if !now.Before(one.until) {
			delete(s.byID, id)
		} else if first == "" || one.until.Before(s.byID[first].until) {
			first = id
		}
	}
	if len(s.byID) >= maxSessions {
		delete(s.byID, first)
	}
}

// of is the session of a request and who has it; ok is false where there is none in force.
func (s *sessions) of(r *http.Request) (one *session, who identity, ok bool) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil, identity{}, false
	}
	s.mu.Lock()
	one, ok = s.byID[cookie.Value]
	if ok && !s.now().Before(one.until) {
		delete(s.byID, cookie.Value)
		ok = false
	}
	s.mu.Unlock()
	if !ok {
		return nil, identity{}, false
	}
	if who, ok = s.tokens.who(one.token); !ok {
		s.end(r)
		return nil, identity{}, false
	}
	who.Via = "page"
	return one, who, true
}

// identify is how the door finds out who sent a request with a session's cookie.
func (s *sessions) identify(r *http.Request) (identity, bool) {
	_, who, ok := s.of(r)
	return who, ok
}

// end forgets the session of a request.
func (s *sessions) end(r *http.Request) {
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.byID, cookie.Value)
	}
}

// say leaves a message for the session's next page; said takes it.
func (s *sessions) say(r *http.Request, text string) {
	if one, _, ok := s.of(r); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		one.said = text
	}
}

func (s *sessions) said(one *session) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := one.said
	one.said = ""
	return text
}

// visitor is who looks at a page.
type visitor struct {
	Name      string
	Role      Role
	SignedIn  bool
	MayDecide bool
	Seal      string
}

func (p *pages) visitor(c *gin.Context) visitor {
	one, who, ok := p.sessions.of(c.Request)
	if !ok {
		return visitor{}
	}
	return visitor{Name: who.Name, Role: who.Role, SignedIn: true, MayDecide: who.Role.may(Operator), Seal: one.seal}
}

// sealed lets only forms through that a page of this very session has made. It comes after the browser's own word that
// the request is from this site (http.CrossOriginProtection), which old browsers do not give.
func (p *pages) sealed(c *gin.Context) {
	one, _, ok := p.sessions.of(c.Request)
	if !ok || subtle.ConstantTimeCompare([]byte(c.PostForm("seal")), []byte(one.seal)) != 1 {
		p.show(c, http.StatusForbidden, "message", frame{Title: "Not done", Body: "This form is not from your session: it may have ended. Sign in, open the page again and repeat it."})
		c.Abort()
	}
}

// signIn is what the login form shows.
type signIn struct {
	Next    string
	Trouble string
	Hours   int
}

func (p *pages) loginForm(c *gin.Context) {
	p.showLogin(c, http.StatusOK, local(c.Query("next")), "")
}

func (p *pages) showLogin(c *gin.Context, status int, next, trouble string) {
	p.show(c, status, "login", frame{Title: "Sign in", Body: signIn{Next: next, Trouble: trouble, Hours: int(sessionTime.Hours())}})
}

func (p *pages) login(c *gin.Context) {
	next := local(c.PostForm("next"))
	id, ok := p.sessions.begin(strings.TrimSpace(c.PostForm("token")))
	if !ok && !p.failed.of(addressIn(c.Request.Context())).Allow() {
		p.showLogin(c, http.StatusTooManyRequests, next, capital(errTooMany.Error())+".")
		return
	}
	if !ok {
		p.cfg.Log.Warn("sign-in with a token that does not hold refused", "from", c.ClientIP())
		p.showLogin(c, http.StatusUnauthorized, next, "This token is not known here, or is not one for people. Look whether it was copied whole, or was replaced.")
		return
	}
	p.sessions.end(c.Request) // the one before, if there was one
	p.setCookie(c, id, int(sessionTime.Seconds()))
	c.Redirect(http.StatusSeeOther, next)
}

func (p *pages) logout(c *gin.Context) {
	p.sessions.end(c.Request)
	p.setCookie(c, "", -1)
	c.Redirect(http.StatusSeeOther, "/")
}

// setCookie gives the browser a session's id, which no script can read and no other site can send.
func (p *pages) setCookie(c *gin.Context, id string, seconds int) {
	http.SetCookie(c.Writer, &http.Cookie{
		Name: sessionCookie, Value: id, Path: "/", MaxAge: seconds, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: p.cfg.SecureCookies || c.Request.TLS != nil,
	})
}

// local is an address of this door, "/" where s is something else: nobody is sent elsewhere after signing in.
func local(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") || strings.ContainsAny(s, "\\\r\n\t") {
		return "/"
	}
	return (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).String()
}
