package embedded

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lock makes this process the one that has the engine, until release is called or the process ends, however that
// happens. The file holds the process' number for whoever comes next.
func (e *Embedded) lock() (release func() error, err error) {
	file, err := os.OpenFile(e.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	for tries := 0; errors.Is(err, syscall.EWOULDBLOCK) && tries < 10; tries++ {
		time.Sleep(50 * time.Millisecond) // somebody may only have tried whether it is held
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("lab's process %d has it but does not answer; wait for it, or stop it with: lab down --engine embedded", e.holder())
	}
	if err == nil {
		err = file.Truncate(0)
	}
	if err == nil {
		_, err = file.WriteString(strconv.Itoa(os.Getpid()))
	}
	if err != nil {
		return nil, fmt.Errorf("take the engine in %s: %w", e.State, errors.Join(err, file.Close()))
	}
	return func() error { return errors.Join(file.Truncate(0), file.Close()) }, nil
}

// held reports whether some process has the engine, ours included.
func (e *Embedded) held() (bool, error) {
	file, err := os.Open(e.path("lock"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open lock: %w", err)
	}
	defer file.Close() // and with it goes a lock that was free
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("try lock: %w", err)
	}
	return false, nil
}

// holder is the number of the process that has the engine, or had it last.
func (e *Embedded) holder() int {
	text, err := os.ReadFile(e.path("lock"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}
