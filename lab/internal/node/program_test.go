package node

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// programVariable makes the test binary the program that pods run.
const programVariable = "NODE_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		os.Exit(program(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// program answers on -listen. Files "sick" and "unready" in its folder turn its probes bad.
func program(args []string) int {
	flags := flag.NewFlagSet("program", flag.ExitOnError)
	listen := flags.String("listen", "", "address")
	linger := flags.Duration("linger", 0, "how long to live after SIGTERM")
	code := flags.Int("exit", -1, "code to end with at once")
	config := flags.String("config", "", "file shown at /config")
	touch := flags.String("touch", "", "file to append a line to")
	_ = flags.Parse(args)
	fmt.Println("started", os.Getpid())
	if *touch != "" {
		f, err := os.OpenFile(*touch, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			fmt.Println(err)
			return 3
		}
		fmt.Fprintln(f, os.Getenv("HOSTNAME"))
		_ = f.Close()
	}
	if *code >= 0 {
		return *code
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	unless := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if _, err := os.Stat(filepath.Join(os.Getenv("POD_DIR"), name)); err == nil {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
	}
	http.HandleFunc("/healthz", unless("sick"))
	http.HandleFunc("/readyz", unless("unready"))
	http.HandleFunc("/drain", func(http.ResponseWriter, *http.Request) { fmt.Println("hook") })
	http.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(append(os.Environ(), os.Args...))
	})
	http.HandleFunc("/config", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, *config) })
	http.HandleFunc("/exit", func(_ http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.FormValue("code"))
		os.Exit(code)
	})
	go func() {
		if *listen != "" {
			fmt.Println(http.ListenAndServe(*listen, nil))
			os.Exit(4)
		}
	}()
	<-asked
	fmt.Println("asked to stop")
	time.Sleep(*linger)
	fmt.Println("bye")
	return 0
}
