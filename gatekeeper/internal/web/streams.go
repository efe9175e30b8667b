package web

import (
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

const (
	// writeTime is how long a client may take to receive what is written at once.
	writeTime = 10 * time.Second
	// maxStays and maxStaysEach bound how many requests may stay open, in all and of one client: each costs a look every
	// second. Behind a proxy that is not trusted all browsers are one client.
	maxStays     = 1000
	maxStaysEach = 250
)

// stays counts requests that stay open: event streams and answers that wait. Safe for concurrent use.
type stays struct {
	mu  sync.Mutex
	all int
	of  map[string]int
}

// begin reports whether client may have one more.
func (s *stays) begin(client string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxStays || s.of[client] >= maxStaysEach {
		return false
	}
	s.all++
	s.of[client]++
	return true
}

func (s *stays) end(client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.of[client]--; s.of[client] == 0 {
		delete(s.of, client)
	}
}

// stay lets a request stay open until leave is called, or answers that there are too many.
func (d door) stay(c *gin.Context) (leave func(), ok bool) {
	client := clientOf(c)
	if !d.stays.begin(client) {
		d.turnAway(c, http.StatusTooManyRequests, "too many requests stay open: close some, or ask without waiting")
		return nil, false
	}
	// The server's deadline for reading a request would end the wait, too.
	_ = http.NewResponseController(c.Writer).SetReadDeadline(time.Time{}) // what has no deadline needs none lifted
	return func() { d.stays.end(client) }, true
}

// clientOf is whose limits a request counts for: a name that was proven, else the address.
func clientOf(c *gin.Context) string {
	if who := whoIs(c.Request.Context()); who.Name != anonymous {
		return "name " + who.Name
	}
	return "address " + addressIn(c.Request.Context())
}
