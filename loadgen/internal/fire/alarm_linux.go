package fire

import (
	"context"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// kernelAlarm is a timer of the kernel that Go's network poller waits for, like for
// a connection. It is exact to some 0.05 ms. Go's own timers are not: its poller
// counts whole milliseconds. A sleep in the kernel is, but keeps a processor from
// the other goroutines, and where there is only one, for up to 10 ms. See
// timerfd_create(2).
type kernelAlarm struct {
	file *os.File
	raw  syscall.RawConn // of file
}

// newAlarm returns one that ends all its waits when ctx does.
func newAlarm(ctx context.Context) alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return newCoarseAlarm(ctx) // no descriptors are left, or the kernel is not what it says
	}
	file := os.NewFile(uintptr(fd), "timer")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close() // nothing was written to it
		return newCoarseAlarm(ctx)
	}
	context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) }) // fails once it is closed: nobody waits
	return kernelAlarm{file, raw}
}

func (a kernelAlarm) wait(d time.Duration) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}
	var failed error
	if a.raw.Control(func(fd uintptr) { failed = unix.TimerfdSettime(int(fd), 0, &spec, nil) }) != nil || failed != nil {
		time.Sleep(time.Millisecond) // it can not fail for a time over 0; if it does, waiting goes on by looking
		return
	}
	var expired [8]byte
	_, _ = a.file.Read(expired[:]) // an error is the end of ctx, which the caller sees
}

func (a kernelAlarm) close() { _ = a.file.Close() }
