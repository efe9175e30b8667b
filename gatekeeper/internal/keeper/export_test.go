package keeper

// Remembered is of how many Canaries there is something in memory.
func (k *Keeper) Remembered() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls.mu.Lock()
	defer k.calls.mu.Unlock()
	return max(len(k.canaries), len(k.known), len(k.doubts), len(k.candidates), len(k.budgets), len(k.calls.at))
}

// UnderWay is how many rollouts have no result yet.
func (k *Keeper) UnderWay() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.underWay()
}
