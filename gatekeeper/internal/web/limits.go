package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/unrolled/secure"
	"golang.org/x/time/rate"
)

const (
	// maxClients bounds how many clients' limits are remembered; the one that was not seen for longest is forgotten first.
	maxClients = 10_000
	// After failedBurst attempts with credentials that do not hold a client has one more every failedEvery.
	failedEvery = 5 * time.Second
	failedBurst = 20
)

// limits bound how often each client may do something. Safe for concurrent use.
type limits struct {
	clients *lru.Cache[string, *rate.Limiter]
	every   rate.Limit
	burst   int
}

func newLimits(every rate.Limit, burst int) *limits {
	clients, _ := lru.New[string, *rate.Limiter](maxClients) // only a size under 1 is refused
	return &limits{clients, every, burst}
}

func (l *limits) of(client string) *rate.Limiter {
	if known, ok := l.clients.Get(client); ok {
		return known
	}
	fresh := rate.NewLimiter(l.every, l.burst)
	if known, ok, _ := l.clients.PeekOrAdd(client, fresh); ok {
		return known
	}
	return fresh
}

// addressOf is whose limits an address counts for: an IPv6 client has a whole network of /64.
func addressOf(ip string) string {
	address, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	address = address.Unmap().WithZone("")
	if address.Is4() {
		return address.String()
	}
	network, _ := address.Prefix(64) // IPv6 has more
	return network.String()
}

// addressKey is where a request's context has the address that its limits count for.
type addressKey struct{}

func addressIn(ctx context.Context) string {
	address, _ := ctx.Value(addressKey{}).(string)
	return address
}

// errTooMany is returned to a client that has tried too many credentials that do not hold.
var errTooMany = errors.New("too many attempts with credentials that do not hold: wait, then use the right ones")

// limited lets each client ask so often and no more. The kubelet's probes are not counted.
func (d door) limited(c *gin.Context) {
	address := addressOf(c.ClientIP())
	c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), addressKey{}, address))
	if path := c.Request.URL.Path; path == "/healthz" || path == "/readyz" {
		return
	}
	if limit := d.asked.of(address); !limit.Allow() {
		d.turnAway(c, http.StatusTooManyRequests, fmt.Sprintf("more than %v requests a second from %s", float64(limit.Limit()), address))
	}
}

// secured sets the headers that tell browsers what the door's answers may do: nothing but what comes from itself.
func secured() gin.HandlerFunc {
	headers := secure.New(secure.Options{
		ContentSecurityPolicy: "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'",
		FrameDeny:             true, ContentTypeNosniff: true,
		// Without any referrer browsers would send forms with the origin "null".
		ReferrerPolicy:          "same-origin",
		CrossOriginOpenerPolicy: "same-origin", CrossOriginResourcePolicy: "same-origin",
		// Only where the browser came by TLS. The header is the client's own word, for its own answer.
		STSSeconds: int64((365 * 24 * time.Hour).Seconds()), SSLProxyHeaders: map[string]string{"X-Forwarded-Proto": "https"},
	})
	return func(c *gin.Context) {
		if err := headers.Process(c.Writer, c.Request); err != nil {
			c.Abort() // it has answered
		}
	}
}

// recovered answers for a handler that panics, and logs where. Not Gin's own: it writes cookies to the log, and ends an
// answer that was to be cut off as if it were whole.
func (d door) recovered(c *gin.Context) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if err, ok := r.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(r)
		}
		d.cfg.Log.Error("request failed", "path", c.FullPath(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		if !c.Writer.Written() {
			c.AbortWithStatusJSON(http.StatusInternalServerError, gin.H{"error": "internal error, see the gatekeeper's log"})
		}
	}()
	c.Next()
}
