//go:build !linux

package ingress

import "syscall"

// attributes ask for nothing: only Linux can tie a process to its parent.
func attributes() *syscall.SysProcAttr { return nil }
