// Command kubelet takes the place of the kubelet where no containers can run. It knows the flags of the real one and
// refuses others; it decodes its configuration, drop-ins, kubeconfigs and static pods strictly; it then connects to
// the container runtime's socket, answers /healthz, serves its own port with its certificate and tells the service manager
// that it is ready. It runs no pods, but plays the API server of a static pod: who a client is by its certificate.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	kubelet "k8s.io/kubelet/config/v1beta1"

	"rekindle/test/lab/standin/root"
)

// version is the Kubernetes version that it claims; set with -ldflags -X.
var version = "0.0.0"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "stand-in kubelet: %v\n", err)
		os.Exit(1)
	}
}

func say(format string, args ...any) {
	fmt.Printf("stand-in kubelet: %s\n", fmt.Sprintf(format, args...))
}

func run(args []string) error {
	flags, err := parseFlags(args)
	if err != nil {
		return fmt.Errorf("failed to parse kubelet flag: %w", err)
	}
	if flags.set("version") {
		fmt.Printf("Kubernetes v%s (stand-in)\n", version)
		return nil
	}
	c, err := readConfiguration(flags.value("config"), flags.value("config-dir"))
	if err != nil {
		return err
	}
	pods, err := readStaticPods(c.StaticPodPath)
	if err != nil {
		return err
	}
	if err := errors.Join(checkFiles(c), checkKubeconfigs(flags), checkCredentialProviders(flags)); err != nil {
		return err
	}
	say("node %s, provider %s, labels %s", flags.value("hostname-override"), c.ProviderID, flags.value("node-labels"))
	say("max pods %d, kube reserved %v, taints %d", c.MaxPods, c.KubeReserved, len(c.RegisterWithTaints))
	var api *apiServer
	for _, pod := range pods {
		if pod.Name != apiServerPod {
			say("static pod %s: read, not run", pod.Name)
		} else if api, err = newAPIServer(pod); err != nil {
			return err
		}
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := awaitRuntime(ctx, c.ContainerRuntimeEndpoint); err != nil {
		return err
	}
	if err := serveKubelet(ctx, c); err != nil {
		return err
	}
	if api != nil {
		if err := api.serve(ctx); err != nil {
			return err
		}
	}
	return serve(ctx, c)
}

// runtimeLimit is how long the real kubelet waits for the runtime before it gives up.
const runtimeLimit = 10 * time.Second

func awaitRuntime(ctx context.Context, endpoint string) error {
	path, ok := strings.CutPrefix(endpoint, "unix://")
	if !ok {
		return fmt.Errorf("containerRuntimeEndpoint %q: no unix socket", endpoint)
	}
	ctx, cancel := context.WithTimeout(ctx, runtimeLimit)
	defer cancel()
	for {
		conn, err := root.Dial(path)
		if err == nil {
			say("%s answers", endpoint)
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("container runtime %s: %w", endpoint, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// serve answers /healthz where the configuration says, until ctx ends.
func serve(ctx context.Context, c *kubelet.KubeletConfiguration) error {
	address, port := c.HealthzBindAddress, int32(10248)
	if address == "" {
		address = "127.0.0.1"
	}
	if c.HealthzPort != nil {
		port = *c.HealthzPort
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	if port != 0 {
		l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(int(port))))
		if err != nil {
			return fmt.Errorf("healthz: %w", err)
		}
		go server.Serve(l) //nolint:errcheck // ends with Close below
		say("healthz on %s", l.Addr())
	}
	if err := root.Ready("answering"); err != nil {
		return err
	}
	<-ctx.Done()
	say("stopped")
	return server.Close()
}
