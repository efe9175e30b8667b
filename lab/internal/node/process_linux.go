package node

import "syscall"

// attributes put a process into a group of its own, and let it die with the lab.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
