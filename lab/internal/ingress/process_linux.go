package ingress

import "syscall"

// attributes let NGINX end when we do, however that is: orderly, for its master alone can end its workers.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
