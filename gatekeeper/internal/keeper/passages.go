package keeper

import (
	"slices"
	"sync"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// passages are what gates said to Flagger, by rollout, until the next evaluation writes it into the record: hooks change
// nothing and wait for nobody.
type passages struct {
	mu sync.Mutex
	of map[string][]policy.Passage
}

func (p *passages) note(id string, passage policy.Passage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = map[string][]policy.Passage{}
	}
	p.of[id] = append(p.of[id], passage)
}

func (p *passages) take(id string) []policy.Passage {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.of[id]
	delete(p.of, id)
	return taken
}

func (p *passages) forget(gone func(id string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.of {
		if gone(id) {
			delete(p.of, id)
		}
	}
}

// pass writes into a rollout's record which gates held it, and what opened them. The caller holds mu, and saves.
func (k *Keeper) pass(r *run) {
	for _, p := range k.passages.take(r.rollout.ID) {
		var holding []rollout.Held
		opened := map[string]string{}
		for _, g := range p.Gates {
			kind := string(g.Kind)
			switch {
			case g.Open:
				opened[kind] = g.Why
			case !slices.ContainsFunc(holding, func(h rollout.Held) bool { return h.Gate == kind }):
				holding = append(holding, rollout.Held{Gate: kind, Why: g.Why})
			}
		}
		r.rollout.Hold(string(p.Stage), holding, opened, p.At)
	}
}
