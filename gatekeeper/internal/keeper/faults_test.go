package keeper_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store/storetest"
)

// volume is a folder on a file system of its own, of that many bytes.
func volume(t *testing.T, size string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may mount a file system")
	}
	folder := t.TempDir()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("this system does not let us mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return folder
}

// fails lets seconds go by in which nothing can be recorded.
func (h *house) fails(seconds int, says string) {
	h.t.Helper()
	for range seconds {
		h.now = h.now.Add(time.Second)
		h.good.Add(20)
		if err := h.keeper.Tick(h.t.Context()); err == nil || !strings.Contains(err.Error(), says) {
			h.t.Fatalf("error %v, want %q", err, says)
		}
	}
	h.want(rollout.ConfirmTrafficIncrease, false)
	h.want(rollout.ConfirmPromotion, false)
}

// healed checks, after faults, that the rollout ends as it would have, with nothing lost: one entry, all ticks, a ledger
// that fits, which each house's cleanup verifies.
func (h *house) healed() {
	h.t.Helper()
	h.pass(25, 20, 0)
	h.want(rollout.ConfirmTrafficIncrease, true)
	r := h.ends(rollout.Succeeded)
	if r.Result != rollout.Promoted || r.Latest.Canary.Good != uint64(h.good.Load()) {
		h.t.Errorf("%s with %d responses of %d", r.Result, r.Latest.Canary.Good, h.good.Load())
	}
	h.replays(r)
	h.wantOneEntry()
}

func TestAFullDiskOpensNoGateAndLosesNothing(t *testing.T) {
	folder := volume(t, "4m")
	h := newHouse(t, func(h *house) { h.dir = folder })
	h.release("v2")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(30, 20, 0)
	h.want(rollout.ConfirmTrafficIncrease, true)
	before := h.newest().Tape

	filler := filepath.Join(folder, "filler")
	file, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1 << 16, 1 << 12, 1} {
		for err == nil {
			_, err = file.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	// What the log of SQLite has room for is still recorded; then the disk is full.
	for full := false; !full; {
		h.now = h.now.Add(time.Second)
		h.good.Add(20)
		full = h.keeper.Tick(t.Context()) != nil
	}
	h.fails(5, "the disk is full: make room")
	if after := h.newest().Tape; after.Ticks < before.Ticks {
		t.Errorf("%d ticks were acknowledged, %d are left", before.Ticks, after.Ticks)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	h.healed()
}

func TestAFullDiskAtTheEndOfARolloutGivesOneEntry(t *testing.T) {
	folder := volume(t, "4m")
	h := newHouse(t, func(h *house) { h.dir = folder })
	h.release("v2")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(5, 20, 0)
	filler := filepath.Join(folder, "filler")
	if err := os.WriteFile(filler, make([]byte, 4<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	h.set(func(c *rollout.Canary) { c.Phase, c.Weight, c.Pods = rollout.Failed, 0, nil })
	for failures := 0; failures < 3; {
		h.now = h.now.Add(time.Second)
		if err := h.keeper.Tick(t.Context()); err != nil {
			failures++
			continue
		}
		if r := h.newest(); r.Reported {
			t.Skip("SQLite had room for the end in its log")
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	h.pass(3, 0, 0)
	h.wantOneEntry()
}

func TestAReadOnlyVolumeStopsTheStartAndLosesNothing(t *testing.T) {
	folder := volume(t, "4m")
	h := newHouse(t, func(h *house) { h.dir = folder })
	h.release("v2")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(10, 20, 0)
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", folder, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	memory, err := store.Open(t.Context(), filepath.Join(folder, "gatekeeper.db"))
	if err == nil {
		_ = memory.Close()
		t.Fatal("a gatekeeper that can not record has started")
	}
	if text := err.Error(); !strings.Contains(text, "can not be written") {
		t.Errorf("the error does not say what to do: %v", err)
	}
	if err := syscall.Mount("tmpfs", folder, "tmpfs", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	h.open()
	h.healed()
}

func TestPostgreSQLThatGoesAwayOpensNoGateAndLosesNothing(t *testing.T) {
	server := storetest.Own(t)
	h := newHouse(t, func(h *house) { h.dsn = server.DSN() })
	h.release("v2")
	h.pass(2, 0, 0)
	h.weight(10)
	for range 3 {
		h.pass(25, 20, 0)
		h.want(rollout.ConfirmTrafficIncrease, true)
		server.Stop()
		h.fails(5, "save rollouts")
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
	}
	h.healed()
}
