package web

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// question is the page between a button and what it does: it works without a script, and shows what is decided upon.
type question struct {
	Rollout  rollout.Rollout
	Sight    sight
	Act      act
	Possible bool
	Seal     string
	Why      string
	MaxWords int
	Trouble  string // why the decision just sent was not taken, "" where none was sent
}

// confirm asks whether a person means it.
func (p *pages) confirm(a act) gin.HandlerFunc {
	return func(c *gin.Context) {
		s, err := p.standing(c.Request.Context(), c.Param("id"))
		if err != nil {
			p.sorry(c, err)
			return
		}
		p.ask(c, http.StatusOK, s, a, "")
	}
}

func (p *pages) ask(c *gin.Context, status int, s policy.Standing, a act, trouble string) {
	now := p.cfg.Now()
	p.show(c, status, "confirm", frame{Title: a.Verb + " " + s.Rollout.Revision.Label(), Body: question{
		Rollout: *s.Rollout, Sight: lookAt(s, now), Act: a, Seal: p.visitor(c).Seal, Why: c.PostForm("why"), MaxWords: maxWords / 4, Trouble: trouble,
		Possible: slices.ContainsFunc(actsFor(s, now), func(other act) bool { return other.Kind == a.Kind }),
	}})
}

// carryOut decides in sight of the version that the question showed: what was said meanwhile makes it ask again.
func (p *pages) carryOut(a act) gin.HandlerFunc {
	return func(c *gin.Context) {
		ctx, id, why := c.Request.Context(), c.Param("id"), c.PostForm("why")
		version, err := strconv.Atoi(c.PostForm("version"))
		if err != nil || version < 0 || len(why) > maxWords {
			p.show(c, http.StatusBadRequest, "message", frame{Title: "Not done", Body: "The form was not complete, or its reason too long. Open the page again and repeat it."})
			return
		}
		who := whoIs(ctx)
		r, err := p.cfg.Conductor.Decide(ctx, id, version, rollout.Decision{Kind: a.Kind, By: who.Name, Via: who.Via, Why: why})
		if err != nil {
			p.notDone(c, a, err)
			return
		}
		p.cfg.Log.Info("a person decided", "rollout", r.ID, "what", a.Kind, "by", who.Name, "via", who.Via, "from", c.ClientIP())
		p.sessions.say(c.Request, a.Done)
		c.Redirect(http.StatusSeeOther, "/rollouts/"+r.ID)
	}
}

// notDone asks again in sight of how it stands now, where the reason is that it has changed.
func (p *pages) notDone(c *gin.Context, a act, err error) {
	var trouble string
	switch {
	case errors.Is(err, rollout.ErrChanged):
		trouble = "Somebody else has decided since you opened the page. This is how it stands now: look, and decide again."
	case errors.Is(err, rollout.ErrOver), errors.Is(err, rollout.ErrNotFound):
		trouble = "The rollout has ended, or is on its way back already."
	default:
		p.sorry(c, err)
		return
	}
	s, lookErr := p.standing(c.Request.Context(), c.Param("id"))
	if lookErr != nil {
		p.sorry(c, lookErr)
		return
	}
	p.ask(c, http.StatusConflict, s, a, trouble)
}
