package rollout

// Hook is one of the questions and messages that Flagger sends (pkg/apis/flagger/v1beta1/canary.go: HookType).
type Hook string

// The eight hooks. Only Rollback has the inverted sense: yes means "roll back".
const (
	ConfirmRollout         Hook = "confirm-rollout"
	PreRollout             Hook = "pre-rollout"
	RolloutCheck           Hook = "rollout"
	ConfirmTrafficIncrease Hook = "confirm-traffic-increase"
	ConfirmPromotion       Hook = "confirm-promotion"
	PostRollout            Hook = "post-rollout"
	Rollback               Hook = "rollback"
	EventHook              Hook = "event"
)

// Hooks are all of them, in the order in which a release meets them.
func Hooks() []Hook {
	return []Hook{ConfirmRollout, PreRollout, RolloutCheck, ConfirmTrafficIncrease, ConfirmPromotion, PostRollout, Rollback, EventHook}
}
