package keeper

// UnderWay is how many rollouts have no result yet.
func (k *Keeper) UnderWay() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.underWay()
}
