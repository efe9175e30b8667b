package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// defaultContainer is the annotation that names the container kubectl means when it is told none.
const defaultContainer = "kubectl.kubernetes.io/default-container"

// logBook knows the logs still being written, so that a follower knows when to stop.
type logBook struct {
	mu   sync.Mutex
	open map[string]bool
}

func newLogBook() *logBook { return &logBook{open: map[string]bool{}} }

func (b *logBook) set(path string, open bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if open {
		b.open[path] = true
	} else {
		delete(b.open, path)
	}
}

func (b *logBook) isOpen(path string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open[path]
}

// Logs opens what a container's process wrote, with follow until it ends. previous, tailLines and limitBytes are obeyed;
// lines carry no time here, so sinceSeconds, sinceTime and timestamps are not. The caller closes.
func (n *Node) Logs(ctx context.Context, pod *corev1.Pod, opts *corev1.PodLogOptions) (io.ReadCloser, error) {
	container, err := logContainer(pod, opts.Container)
	if err != nil {
		return nil, err
	}
	path, err := logFile(filepath.Join(n.podsDir(), string(pod.UID), container), opts.Previous)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q: %v", container, pod.Name, err))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open log of pod %s: %w", pod.Name, err)
	}
	if opts.TailLines != nil {
		offset, err := tailOffset(f, *opts.TailLines)
		if err == nil {
			_, err = f.Seek(offset, io.SeekStart)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read log of pod %s: %w", pod.Name, err), f.Close())
		}
	}
	var r io.Reader = f
	if opts.Follow {
		r = &follower{ctx: ctx, file: f, open: func() bool { return n.logs.isOpen(path) }}
	}
	if opts.LimitBytes != nil {
		r = io.LimitReader(r, *opts.LimitBytes)
	}
	return struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}

func logContainer(pod *corev1.Pod, name string) (string, error) {
	if name == "" {
		name = pod.Annotations[defaultContainer]
	}
	if name == "" && len(pod.Spec.Containers) > 0 {
		name = pod.Spec.Containers[0].Name
	}
	for _, c := range allContainers(pod) {
		if c.Name == name {
			return name, nil
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %q is not valid for pod %q", name, pod.Name))
}

// allContainers are the init containers and then the others.
func allContainers(pod *corev1.Pod) []corev1.Container {
	return append(append([]corev1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...)
}

// logFile is the log of the last process, or of the one before.
func logFile(dir string, previous bool) (string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return "", err
	}
	last := -1
	for _, path := range paths {
		if number, err := strconv.Atoi(filepath.Base(path[:len(path)-len(".log")])); err == nil {
			last = max(last, number)
		}
	}
	switch {
	case last < 0:
		return "", errors.New("waiting to start")
	case previous && last == 0:
		return "", errors.New("previous terminated container not found")
	case previous:
		last--
	}
	return logPath(dir, last), nil
}

func logPath(dir string, restart int) string {
	return filepath.Join(dir, strconv.Itoa(restart)+".log")
}

// tailOffset is where the last lines of a log begin.
func tailOffset(log io.Reader, lines int64) (int64, error) {
	var starts []int64
	var at int64
	for r, begins := bufio.NewReader(log), true; ; {
		part, err := r.ReadSlice('\n')
		if begins && len(part) > 0 {
			starts = append(starts, at)
			starts = starts[max(0, int64(len(starts))-max(lines, 0)):]
		}
		at += int64(len(part))
		begins = err == nil
		switch {
		case errors.Is(err, io.EOF) && len(starts) == 0:
			return at, nil
		case errors.Is(err, io.EOF):
			return starts[0], nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return 0, err
		}
	}
}

// follower waits at the end of a file for more, as long as somebody writes.
type follower struct {
	ctx  context.Context
	file *os.File
	open func() bool
}

func (f *follower) Read(p []byte) (int, error) {
	for {
		open := f.open()
		read, err := f.file.Read(p)
		if read > 0 || !errors.Is(err, io.EOF) || !open {
			return read, err
		}
		select {
		case <-f.ctx.Done():
			return 0, io.EOF
		case <-time.After(100 * time.Millisecond):
		}
	}
}
