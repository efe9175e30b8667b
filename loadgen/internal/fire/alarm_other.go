//go:build !linux

package fire

import "context"

func newAlarm(ctx context.Context) alarm { return newCoarseAlarm(ctx) }
