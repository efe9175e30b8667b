package api

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/chaos"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/peers"
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
	errUnready      = errors.New("not ready: the plan in /chaos says so")

	errOtherRevision = errors.New("this pod is of another revision; it stays as it is")
)

// fieldError names the field or parameter that makes a request invalid.
type fieldError struct{ field, reason string }

func (e *fieldError) Error() string { return e.field + " " + e.reason }

// problem is the body of every answer that is not 2xx (RFC 9457). The last four are
// of /chaos with scope version: who has the plan, and who has not.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Field  string `json:"field,omitempty"`

	Applied       []string        `json:"applied,omitempty"`
	OtherRevision int             `json:"otherRevision,omitempty"`
	Failed        []peers.Failure `json:"failed,omitempty"`
	Revisions     []string        `json:"revisions,omitempty"`
}

// fail ends the request with the problem that err is.
func (a *API) fail(c *gin.Context, err error) {
	status, field := describe(err)
	detail := err.Error()
	if status == http.StatusInternalServerError {
		a.cfg.Log.ErrorContext(c.Request.Context(), "request failed", "method", c.Request.Method, "path", c.FullPath(), "err", err)
		detail = "" // an unknown error may say more than a client should know
	}
	refuse(c, problem{Status: status, Detail: detail, Field: field})
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
	case errors.Is(err, errOtherRevision):
		return http.StatusConflict, ""
	case errors.Is(err, errDraining), errors.Is(err, errUnready):
		return http.StatusServiceUnavailable, ""
	default:
		return http.StatusInternalServerError, ""
	}
}

// refuse writes p, giving it the title of its status; nothing after it may write.
func refuse(c *gin.Context, p problem) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	if p.Title == "" {
		p.Title = fmt.Sprintf("Status %d", p.Status)
	}
	c.Header("Content-Type", "application/problem+json")
	c.AbortWithStatusJSON(p.Status, p)
}
