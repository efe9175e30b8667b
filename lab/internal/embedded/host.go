package embedded

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/apiserver"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/network"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/node"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/workload"
)

// host is everything that runs in this process. Its parts talk to each other through the API alone.
type host struct {
	log   *slog.Logger
	ends  []func() error // what is left to do when no part runs any more, in the order of doing
	stops []func()       // end one part each and wait for it, the first to stop first
	died  func()         // called when a part ends by itself

	mu  sync.Mutex
	err error // why the first such part ended; guarded by mu
}

// newHost starts all parts. Release gives the lock back when they have ended, also when not all could be started.
func (e *Embedded) newHost(ctx context.Context, release func() error) (_ *host, err error) {
	h := &host{died: e.Died, ends: []func() error{release}}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	var file io.Closer
	if h.log, file, err = e.logFile(); err != nil {
		return nil, err
	}
	h.ends = append([]func() error{file.Close}, h.ends...)
	klog.SetSlogLogger(h.log) // client-go's own, which would else write to the terminal
	if err := e.prepare(ctx); err != nil {
		return nil, err
	}
	api, err := listen(ctx)
	if err != nil {
		return nil, err
	}
	way, err := listen(ctx)
	if err != nil {
		return nil, errors.Join(err, api.Close())
	}
	// Clients send a token over TLS only.
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make certificate: %w", err), api.Close(), way.Close())
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make certificate: %w", err), api.Close(), way.Close())
	}
	token := rand.Text()
	if err := e.writeKubeconfig("https://"+api.Addr().String(), token, certificate); err != nil {
		return nil, errors.Join(err, api.Close(), way.Close())
	}
	api = tls.NewListener(api, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if err := e.populate(ctx, h, api, way, token); err != nil {
		return nil, errors.Join(err, api.Close(), way.Close())
	}
	return h, nil
}

// populate wires the parts and starts each one.
func (e *Embedded) populate(ctx context.Context, h *host, api, way net.Listener, token string) error {
	config, err := clientcmd.BuildConfigFromFlags("", e.path("kubeconfig"))
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 500, 1000 // all controllers of a cluster share this client
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	kubelet, err := node.New(node.Config{
		Client: client, Name: "embedded", Dir: e.path("node"), Images: e.path("images"), Now: time.Now, Log: h.log.With("component", "node"),
		Env: []string{"KUBECONFIG=" + e.path("kubeconfig"), "HTTP_PROXY=socks5h://" + way.Addr().String(), "NO_PROXY=localhost,127.0.0.1"},
	})
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	names := directory{services: factory.Core().V1().Services().Lister(), slices: factory.Discovery().V1().EndpointSlices().Lister()}
	pods := factory.Core().V1().Pods().Lister()
	proxy, err := network.New(names.find)
	if err != nil {
		return err
	}
	server := apiserver.New(apiserver.Config{Token: token, Now: time.Now, Log: h.log.With("component", "api"), Logs: kubelet.Logs})
	mux := http.NewServeMux()
	mux.Handle("/", server)
	mux.Handle("GET "+discoveryPath, bearer(token, discovery(pods)))

	// The last to stop is the first to start.
	h.start(ctx, "api", func(ctx context.Context) error { return serve(ctx, api, mux, server.Close) })
	h.start(ctx, "informers", func(ctx context.Context) error {
		factory.Start(ctx.Done())
		<-ctx.Done()
		factory.Shutdown()
		return nil
	})
	h.start(ctx, "network", func(ctx context.Context) error { return proxy.Serve(ctx, way) })
	h.start(ctx, "node", kubelet.Run)
	h.start(ctx, "controllers", workload.New(client, time.Now, h.log.With("component", "controllers")).Run)
	return nil
}

// prepare gets the state folder ready: each start is a new cluster.
func (e *Embedded) prepare(ctx context.Context) error {
	programs, missing := e.finder.Find()
	if len(missing) > 0 {
		return fmt.Errorf("%v not found", missing)
	}
	if err := node.Sweep(ctx, e.path("node", "pods"), slog.New(slog.DiscardHandler)); err != nil {
		return fmt.Errorf("end what an earlier run left: %w", err)
	}
	// The port of the users is in a manifest; that it is taken is better said here than by a pod that never gets ready.
	taken, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(e.Port)))
	if err != nil {
		return fmt.Errorf("take port %d for the users: %w; choose another one with --port", e.Port, err)
	}
	if err := taken.Close(); err != nil {
		return fmt.Errorf("take port %d for the users: %w", e.Port, err)
	}
	if err := os.RemoveAll(e.path("node", "claims")); err != nil {
		return fmt.Errorf("empty volumes: %w", err)
	}
	for name, image := range e.others(programs) {
		if err := e.writeImage(name, image); err != nil {
			return err
		}
	}
	return nil
}

func listen(ctx context.Context) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen on loopback: %w", err)
	}
	return listener, nil
}

// writeKubeconfig lets everybody in who may read the state folder: that is its owner.
func (e *Embedded) writeKubeconfig(server, token string, authority []byte) error {
	const name = "lab"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: authority}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	if err := clientcmd.WriteToFile(*config, e.path("kubeconfig")); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

// start lets a part run until close ends it.
func (h *host) start(ctx context.Context, name string, run func(context.Context) error) {
	// Not the caller's context: what an interrupted command still has to do needs the cluster.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := run(ctx); ctx.Err() == nil {
			h.lost(name, err)
		}
	}()
	h.stops = append([]func(){func() { cancel(); <-ended }}, h.stops...)
}

func (h *host) lost(part string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log.Error("a part of the engine ended by itself", "part", part, "error", err)
	if h.err == nil {
		h.err = fmt.Errorf("the engine's %s ended by itself: %w", part, err)
		h.died()
	}
}

// close stops all parts and returns why one ended before.
func (h *host) close() error {
	for _, stop := range h.stops {
		stop()
	}
	h.mu.Lock()
	errs := []error{h.err}
	h.mu.Unlock()
	for _, end := range h.ends {
		errs = append(errs, end())
	}
	return errors.Join(errs...)
}

// serve answers on listener until ctx ends. Watches never end by themselves: hangUp ends them.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, hangUp func()) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		hangUp()
		return err
	case <-ctx.Done():
	}
	hangUp()
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		_ = server.Close() // whoever still asks is gone, or ends with us
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func bearer(token string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+token)) != 1 {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
