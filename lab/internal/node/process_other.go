//go:build !linux

package node

import "syscall"

// attributes put a process into a group of its own. What a killed lab leaves behind is found by the next one.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
