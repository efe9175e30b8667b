package api

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// resident is the memory of this process, in bytes, as the system counts it.
func resident(t *testing.T) int64 {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(raw))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

func TestMemoryIsReallyTakenAndGivenBack(t *testing.T) {
	s := start(t, secret)
	before := resident(t)
	s.admin("PUT", `{"memory":"128Mi","ttl":"1m"}`)
	eventually(t, "128Mi more are resident", func() bool { return resident(t)-before > 120<<20 })
	// From here on by the runtime's own count: the race detector's memory stays resident.
	kept := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapSys - m.HeapReleased)
	}
	if got := kept(); got < 128<<20 {
		t.Errorf("the runtime has only %d bytes of the system's", got)
	}
	s.admin("PUT", `{"latency":"1ms","ttl":"1m"}`) // another plan, not only none, ends it
	if got := kept(); got > 64<<20 {
		t.Errorf("the runtime still has %d bytes of the system's", got)
	}
}

func TestCoresAreBurntUntilThePlanEnds(t *testing.T) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano())
	}
	s := start(t, secret)
	before := used()
	s.admin("PUT", `{"cpu":1,"ttl":"1m"}`)
	eventually(t, "a fifth of a second is burnt", func() bool {
		<-time.After(20 * time.Millisecond) // this loop must not burn it itself
		return used()-before > 200*time.Millisecond
	})
	s.admin("DELETE", "") // waits for the burners: this returns only when they are gone
	if got := s.admin("GET", ""); !strings.HasPrefix(got.body, `{"active":false,`) {
		t.Error(got.body)
	}
}
