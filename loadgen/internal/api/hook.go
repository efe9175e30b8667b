package api

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// payload is what Flagger sends to every hook; fields it may add are ignored.
type payload struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Phase     string            `json:"phase"`
	Metadata  map[string]string `json:"metadata"`
}

// hook serves one URL for pre-rollout, which starts the load of a canary, and
// post-rollout, which stops it: the phase tells them apart. It answers 200 or
// 201 for yes, since Flagger takes all over 202 for no, and does not wait for
// the last answers of a stopped attack, since Flagger's control loop waits for it.
//
// Flagger asks pre-rollout with phase Progressing, often more than once for one
// rollout, and post-rollout once with Succeeded or Failed, a rollback included. So
// a repeated start is a no-op, one that differs is the next rollout and replaces
// what still runs, and a stop for what nobody knows is a yes.
func (a *Attacks) hook(c *gin.Context) {
	state, started, err := a.answer(c)
	switch {
	case err != nil:
		a.log.Warn("hook refused", "reason", err.Error())
		c.String(statusOf(err), "%s\n", err) // Flagger puts the body in its event
	case started:
		c.JSON(http.StatusCreated, state)
	default:
		c.JSON(http.StatusOK, state)
	}
}

func (a *Attacks) answer(c *gin.Context) (state any, started bool, err error) {
	var p payload
	if err := decode(c, &p, false); err != nil {
		return nil, false, err
	}
	name, err := p.attackName()
	if err != nil {
		return nil, false, err
	}
	switch p.Phase {
	case "Progressing":
		req, err := p.request(name)
		if err != nil {
			return nil, false, err
		}
		return a.start(req, p.Namespace+"/"+p.Name, parent(c))
	case "Succeeded", "Failed":
		// Nothing but the name matters here: a stop must not fail on a detail.
		if atk := a.stop(name); atk != nil {
			return a.show(atk), false, nil
		}
		return gin.H{"name": name, "state": "unknown"}, false, nil
	}
	return nil, false, refuse(invalid, "phase %q: Progressing starts the load, Succeeded and Failed stop it", p.Phase)
}

// attackName is "<namespace>.<canary>.<load>". Only the middle part may have
// dots, so no two canaries share a name.
func (p payload) attackName() (string, error) {
	load := p.Metadata["name"]
	if load == "" {
		load = "load"
	}
	switch {
	case !validName(p.Namespace, false):
		return "", refuse(invalid, "namespace %q: is not a namespace", p.Namespace)
	case !validName(p.Name, true):
		return "", refuse(invalid, "name %q: is not the name of a canary", p.Name)
	case !validName(load, false):
		return "", refuse(invalid, "metadata.name %q: letters, digits, '-' and '_'", load)
	}
	return p.Namespace + "." + p.Name + "." + load, nil
}
