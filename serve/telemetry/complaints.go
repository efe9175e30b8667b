package telemetry

import (
	"log/slog"
	"sync"
	"time"
)

// complaints logs the SDK's errors, at most one a minute: a collector that is away
// fails every batch.
type complaints struct {
	log *slog.Logger
	now func() time.Time

	mu         sync.Mutex // guards what follows
	quietUntil time.Time
	suppressed int
}

// Handle implements otel.ErrorHandler.
func (c *complaints) Handle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Before(c.quietUntil) {
		c.suppressed++
		return
	}
	c.log.Warn("telemetry is not sent", "error", err, "suppressed", c.suppressed)
	c.quietUntil, c.suppressed = now.Add(time.Minute), 0
}
