package api

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/chaos"
)

// Kinds of failure. Each has one status, in describe; anything else is a 500.
var (
	errNoRoute      = errors.New("there is nothing at this path")
	errNoMethod     = errors.New("this path does not take this method")
	errNotFound     = errors.New("there is no item with this id")
	errNotJSON      = errors.New("send the item as Content-Type: application/json")
	errMalformed    = errors.New("read JSON body")
	errUnauthorized = errors.New("send the token of /chaos as Authorization: Bearer")
	errDraining     = errors.New("not ready: starting or draining")
)

// fieldError names the field or parameter that makes a request invalid.
type fieldError struct{ field, reason string }

func (e *fieldError) Error() string { return e.field + " " + e.reason }

// problem is the body of every answer that is not 2xx (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Field  string `json:"field,omitempty"`
}

// fail ends the request with the problem that err is.
func (a *API) fail(c *gin.Context, err error) {
	status, field := describe(err)
	detail := err.Error()
	if status == http.StatusInternalServerError {
		a.cfg.Log.Error("request failed", "method", c.Request.Method, "path", c.FullPath(), "err", err)
		detail = "" // an unknown error may say more than a client should know
	}
	refuse(c, status, detail, field)
}

// describe maps a kind of error to its status, and to the field it is about.
func describe(err error) (status int, field string) {
	if e, ok := errors.AsType[*fieldError](err); ok {
		return http.StatusBadRequest, e.field
	}
	if e, ok := errors.AsType[*chaos.FieldError](err); ok {
		return http.StatusBadRequest, e.Field
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge, ""
	}
	switch {
	case errors.Is(err, errMalformed):
		return http.StatusBadRequest, ""
	case errors.Is(err, errUnauthorized):
		return http.StatusUnauthorized, ""
	case errors.Is(err, errNotFound), errors.Is(err, errNoRoute):
		return http.StatusNotFound, ""
	case errors.Is(err, errNoMethod):
		return http.StatusMethodNotAllowed, ""
	case errors.Is(err, errNotJSON):
		return http.StatusUnsupportedMediaType, ""
	case errors.Is(err, errDraining):
		return http.StatusServiceUnavailable, ""
	default:
		return http.StatusInternalServerError, ""
	}
}

// refuse writes a problem with exactly this status; nothing after it may write.
func refuse(c *gin.Context, status int, detail, field string) {
	title := http.StatusText(status)
	if title == "" {
		title = fmt.Sprintf("Status %d", status)
	}
	c.Header("Content-Type", "application/problem+json")
	c.AbortWithStatusJSON(status, problem{Type: "about:blank", Title: title, Status: status, Detail: detail, Field: field})
}
