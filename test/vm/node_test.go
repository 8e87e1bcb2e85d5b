//go:build vm

package vm

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"rekindle/test/cloud"
	"rekindle/test/vm/qemu"
)

// node is an instance and its machine.
type node struct {
	*guest
	options qemu.Options

	mu      sync.Mutex
	machine *qemu.Machine
	began   time.Time // of this boot
	events  []event   // of this boot
	changed chan struct{}
	cut     func(event) bool // tells whether the power goes at this event; nil: it does not
}

// event is a line of the console, or a request that was seen on the way.
type event struct {
	after time.Duration // since the machine was turned on
	text  string
}

// launch makes an instance in a cloud, and its disk, which begins as another one.
func (v *vpc) launch(ctx context.Context, c *cloud.Cloud, slot int, name, backing string, spec cloud.InstanceSpec) (*node, error) {
	n := &node{changed: make(chan struct{})}
	dir := filepath.Join(v.dir, name)
	spec.PrivateIP, spec.Metadata.Tags = address(slot), true
	i, err := c.Launch(spec)
	if err != nil {
		return nil, err
	}
	if i.MAC != mac(slot) {
		return nil, fmt.Errorf("EC2 calls the card %s, DHCP %s", i.MAC, mac(slot))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	n.guest = &guest{c, i, n.seen}
	n.options = qemu.Options{Name: name, Dir: dir, Disk: filepath.Join(dir, "disk.qcow2"), Tap: tap(slot), MAC: i.MAC,
		Line: func(line string) { n.seen("console: " + line) }}
	format := strings.TrimPrefix(filepath.Ext(backing), ".")
	out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", backing, n.options.Disk).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("qemu-img: %w: %s", err, out)
	}
	v.occupy(slot, n.guest)
	return n, nil
}

// start turns the machine on, or takes a state up.
func (n *node) start(state string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.began, n.events = time.Now(), nil
	n.options.State = state
	m, err := qemu.Start(n.options)
	n.machine = m
	return err
}

// off takes the power.
func (n *node) off() {
	n.mu.Lock()
	m := n.machine
	n.mu.Unlock()
	if m != nil {
		m.Cut()
	}
}

// seen takes note of an event. It returns true if the machine has no power any more.
func (n *node) seen(text string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := event{time.Since(n.began), text}
	n.events = append(n.events, e)
	close(n.changed)
	n.changed = make(chan struct{})
	if n.cut == nil || !n.cut(e) {
		return false
	}
	n.cut = nil
	n.machine.Kill()
	return true
}

// until waits for an event of this boot, and says when it was.
func (n *node) until(ctx context.Context, pattern string) (time.Duration, error) {
	want := regexp.MustCompile(pattern)
	for looked := 0; ; {
		n.mu.Lock()
		events, changed, ended := n.events, n.changed, n.machine.Ended()
		n.mu.Unlock()
		for ; looked < len(events); looked++ {
			if want.MatchString(events[looked].text) {
				return events[looked].after, nil
			}
		}
		select {
		case <-changed:
		case <-ended:
			return 0, fmt.Errorf("%s ended before %q: %w\n%s", n.options.Name, pattern, n.machine.Err(), n.last(40))
		case <-ctx.Done():
			return 0, fmt.Errorf("%s: no %q: %w\n%s", n.options.Name, pattern, context.Cause(ctx), n.last(40))
		}
	}
}

// last are the latest events.
func (n *node) last(count int) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var text strings.Builder
	for _, e := range n.events[max(0, len(n.events)-count):] {
		fmt.Fprintf(&text, "%7.2f %s\n", e.after.Seconds(), e.text)
	}
	return text.String()
}

// ready waits until the console has said that the node is ready, that its target is reached, and offers a login, and the agent's
// metrics agree. It returns when the node was ready. The console must be free of what an operator would frown at: what the
// target takes along can fail after the agent is through.
func (n *node) ready(ctx context.Context) (time.Duration, error) {
	at, err := n.until(ctx, `^console: .*(rekindle: READY |`+frowns.String()+`)`)
	if err == nil {
		err = n.sober()
	}
	if err != nil {
		return at, err
	}
	for _, pattern := range []string{` login:$`, `^console: .*rekindle-ready\.target is reached`} {
		if _, err := n.until(ctx, pattern); err != nil {
			return at, err
		}
	}
	for {
		state, err := n.state(ctx)
		if state == "ready" {
			return at, n.sober()
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return at, fmt.Errorf("%s is %q: %w: %w", n.options.Name, state, context.Cause(ctx), err)
		}
	}
}

// frowns are what a console must not say: units that failed, cycles, and a kernel in trouble.
var frowns = regexp.MustCompile(`FAILED|failed units: [a-z]|Dependency failed|ordering cycle|BUG:|Oops|Kernel panic|Call Trace|segfault|I/O error|EXT4-fs error|emergency mode|Out of memory`)

// sober says what of the console of this boot is not as it should be.
func (n *node) sober() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.events {
		if strings.HasPrefix(e.text, "console: ") && frowns.MatchString(e.text) {
			return fmt.Errorf("%s: after %.1f s: %s", n.options.Name, e.after.Seconds(), e.text)
		}
	}
	return nil
}

// state is what the agent's metrics say that the node is in.
func (n *node) state(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:3989/metrics", n.PrivateIP), nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if state, ok := strings.CutPrefix(strings.TrimSpace(line), `rekindle_state{state="`); ok {
			if state, ok = strings.CutSuffix(state, `"} 1`); ok {
				return state, nil
			}
		}
	}
	return "", fmt.Errorf("no state in\n%s", text)
}
