// Package network lets processes reach services by the names they have in a cluster, through a SOCKS5 proxy on loopback.
package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"

	"github.com/armon/go-socks5"
)

// Endpoints is the network's consumer contract with whoever knows the cluster: the addresses behind a port of a
// service that take requests now, and whether there is such a service. Safe for concurrent use.
type Endpoints func(namespace, service string, port int) (addresses []string, known bool)

// Proxy is what programs are pointed at with HTTP_PROXY=socks5h://…; New makes it.
type Proxy struct {
	server *socks5.Server
}

// New returns a proxy that asks endpoints where a name leads. A name that is no service's is looked up as usual, so that
// programs still reach the world.
func New(endpoints Endpoints) (*Proxy, error) {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		target, err := route(endpoints, address, rand.IntN)
		if err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(ctx, network, target)
	}
	// A connection that could not be made is its client's error to tell, so the proxy's own log is nobody's.
	server, err := socks5.New(&socks5.Config{Resolver: late{}, Dial: dial, Logger: log.New(io.Discard, "", 0)})
	if err != nil {
		return nil, fmt.Errorf("make proxy: %w", err)
	}
	return &Proxy{server}, nil
}

// Serve takes connections from listener until ctx ends.
func (p *Proxy) Serve(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() }) // closed to end Serve: there is nothing to lose
	defer stop()
	if err := p.server.Serve(listener); ctx.Err() == nil {
		return fmt.Errorf("serve proxy: %w", err)
	}
	return nil
}

// errRefused is worded so that the proxy tells its client that the connection was refused, as a cluster does for a
// service without ready pods.
var errRefused = errors.New("connection refused: no pod of the service is ready")

// route is where a connection to address goes. Pick chooses one of n.
func route(endpoints Endpoints, address string, pick func(n int) int) (string, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("read address %q: %w", address, err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return "", fmt.Errorf("read port of %q: %w", address, err)
	}
	service, namespace, ok := split(host)
	if !ok {
		return address, nil
	}
	targets, known := endpoints(namespace, service, port)
	switch {
	case !known:
		return address, nil
	case len(targets) == 0:
		return "", fmt.Errorf("connect to %s: %w", address, errRefused)
	default:
		return targets[pick(len(targets))], nil
	}
}

// split reads <service>.<namespace>, with or without .svc and the cluster's domain.
func split(host string) (service, namespace string, ok bool) {
	host = strings.TrimSuffix(host, ".")
	host = strings.TrimSuffix(host, ".cluster.local")
	host = strings.TrimSuffix(host, ".svc")
	service, namespace, ok = strings.Cut(host, ".")
	return service, namespace, ok && service != "" && namespace != "" && !strings.Contains(namespace, ".")
}

// late leaves names as they are: only Dial knows what they mean.
type late struct{}

// Resolve implements socks5.NameResolver.
func (late) Resolve(ctx context.Context, _ string) (context.Context, net.IP, error) {
	return ctx, nil, nil
}
