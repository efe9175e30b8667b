package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"runtime/debug"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// maxBody is how many bytes of a request body are read.
const maxBody = 1 << 20

// Handler serves every route.
func (a *Attacks) Handler() http.Handler { return a.handler }

func (a *Attacks) routes(registry *prometheus.Registry) http.Handler {
	r := gin.New()
	// nil turns off the trust in every proxy; it cannot fail.
	_ = r.SetTrustedProxies(nil)
	r.HandleMethodNotAllowed = true
	r.Use(gin.CustomRecoveryWithWriter(io.Discard, func(c *gin.Context, cause any) {
		a.log.Error("handler panicked", "cause", cause, "stack", string(debug.Stack()))
		problem(c, http.StatusInternalServerError, "internal error")
	}))
	r.NoRoute(func(c *gin.Context) { problem(c, http.StatusNotFound, "no such path") })
	r.NoMethod(func(c *gin.Context) { problem(c, http.StatusMethodNotAllowed, "no such method for this path") })

	r.POST("/api/v1/attacks", a.post)
	r.GET("/api/v1/attacks", a.getAll)
	r.GET("/api/v1/attacks/:name", a.get)
	r.DELETE("/api/v1/attacks/:name", a.remove)
	r.POST("/hooks/v1/load", a.hook)

	// OpenMetrics, if the scraper asks for it, is the form that carries exemplars.
	r.GET("/metrics", gin.WrapH(promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})))
	r.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	r.GET("/readyz", a.ready)
	return r
}

func (a *Attacks) post(c *gin.Context) {
	var req Request
	if err := decode(c, &req, true); err != nil {
		problem(c, statusOf(err), err.Error())
		return
	}
	state, started, err := a.start(req, "", parent(c))
	switch {
	case err != nil:
		problem(c, statusOf(err), err.Error())
	case started:
		c.Header("Location", "/api/v1/attacks/"+state.Name)
		c.JSON(http.StatusCreated, state)
	default:
		c.JSON(http.StatusOK, state)
	}
}

func (a *Attacks) getAll(c *gin.Context) {
	c.JSON(http.StatusOK, gin.H{"attacks": a.all()})
}

func (a *Attacks) get(c *gin.Context) {
	a.mu.Lock()
	atk := a.find(c.Param("name"))
	a.mu.Unlock()
	if atk == nil {
		problem(c, unknown, "no attack has that name")
		return
	}
	c.JSON(http.StatusOK, a.show(atk))
}

// remove stops the attack at once and answers when its last requests are
// counted, or when the client has gone away.
func (a *Attacks) remove(c *gin.Context) {
	atk := a.stop(c.Param("name"))
	if atk == nil {
		problem(c, unknown, "no attack has that name")
		return
	}
	select {
	case <-atk.done:
	case <-c.Request.Context().Done():
	}
	c.JSON(http.StatusOK, a.show(atk))
}

func (a *Attacks) ready(c *gin.Context) {
	a.mu.Lock()
	closing := a.closing
	a.mu.Unlock()
	if closing {
		c.String(http.StatusServiceUnavailable, "shutting down\n")
		return
	}
	c.String(http.StatusOK, "ok\n")
}

// parent is the span that asked for an attack, by W3C traceparent, if one did.
func parent(c *gin.Context) trace.SpanContext {
	carrier := propagation.HeaderCarrier(c.Request.Header)
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(c.Request.Context(), carrier))
}

// decode reads one JSON value. Strict refuses fields that nobody reads: with
// "headers" for "header" the load would silently ask for the wrong host. That,
// and what follows the value, gin's own binding lets pass.
func decode(c *gin.Context, into any, strict bool) error {
	d := json.NewDecoder(http.MaxBytesReader(c.Writer, c.Request.Body, maxBody))
	if strict {
		d.DisallowUnknownFields()
	}
	err := d.Decode(into)
	if err == nil {
		if err = d.Decode(&struct{}{}); errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = errors.New("more than one JSON value")
		}
	}
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return refuse(tooLarge, "body: over %d bytes", over.Limit)
	}
	return refuse(invalid, "body: %v", err)
}

// problem answers as RFC 9457 says.
func problem(c *gin.Context, status int, detail string) {
	c.Header("Content-Type", "application/problem+json")
	c.AbortWithStatusJSON(status, gin.H{"title": http.StatusText(status), "status": status, "detail": detail})
}
