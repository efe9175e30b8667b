package api

import (
	"errors"
	"fmt"
	"net/http"
)

// Why a request was refused: the closed list. All are 4xx and none is 429, since
// Flagger tries those others again and throws their body, the reason, away.
const (
	invalid   = http.StatusBadRequest            // cannot be understood
	forbidden = http.StatusForbidden             // against the operator's limits
	unknown   = http.StatusNotFound              // no such attack
	tooLarge  = http.StatusRequestEntityTooLarge // the body is over maxBody
	conflict  = http.StatusConflict              // against what runs, or the service is about to end
)

// refusal is an error that the client may read: one line, what to do next.
type refusal struct {
	status int
	reason string
}

func (r refusal) Error() string { return r.reason }

func refuse(status int, format string, args ...any) error {
	return refusal{status, fmt.Sprintf(format, args...)}
}

func statusOf(err error) int {
	if r := (refusal{}); errors.As(err, &r) {
		return r.status
	}
	return http.StatusInternalServerError
}
