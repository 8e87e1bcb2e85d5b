package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// control speaks QMP, a line of JSON for each message (https://www.qemu.org/docs/master/interop/qmp-spec.html).
type control struct {
	net.Conn
	answers *json.Decoder
}

// controlLimit is how long an answer may take.
const controlLimit = 30 * time.Second

func (m *Machine) dial(ctx context.Context) (*control, error) {
	var last error
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", m.control())
		if err == nil {
			c := &control{conn, json.NewDecoder(conn)}
			if err := c.do("qmp_capabilities", nil); err != nil {
				return nil, errors.Join(fmt.Errorf("vm %s: %w", m.Name, err), conn.Close())
			}
			return c, nil
		}
		last = err
		select {
		case <-m.ended:
			return nil, m.Err()
		case <-ctx.Done():
			return nil, fmt.Errorf("vm %s: %w: %w", m.Name, context.Cause(ctx), last)
		case <-time.After(20 * time.Millisecond): // QEMU has not made the socket yet
		}
	}
}

func (c *control) do(command string, arguments any) error { return c.ask(command, arguments, nil) }

// ask sends a command and reads its answer into out. What QEMU says by itself meanwhile, its greeting and events, is skipped.
func (c *control) ask(command string, arguments, out any) error {
	if err := c.SetDeadline(time.Now().Add(controlLimit)); err != nil {
		return err
	}
	message := map[string]any{"execute": command}
	if arguments != nil {
		message["arguments"] = arguments
	}
	if err := json.NewEncoder(c).Encode(message); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	for {
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := c.answers.Decode(&answer); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		switch {
		case answer.Error != nil:
			return fmt.Errorf("%s: %s", command, answer.Error.Desc)
		case answer.Return != nil && out != nil:
			return json.Unmarshal(answer.Return, out)
		case answer.Return != nil:
			return nil
		}
	}
}
