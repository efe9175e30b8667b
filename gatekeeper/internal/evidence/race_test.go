//go:build race || mutate

package evidence

// unsimulated says why the simulations do not run; empty where they do.
const unsimulated = "the simulations are ten times slower under the race detector, and each is one goroutine: make test runs " +
	"them without it. Mutations (make mutate) must be found without them too"
