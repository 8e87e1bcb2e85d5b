package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"rekindle/test/cloud"
)

// master is the process of the server.
type master struct {
	serving
	roots   []*x509.Certificate
	process *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
}

// startMaster launches the master's instance and starts the server, with the instance's credentials.
func startMaster(ctx context.Context, c *cloud.Cloud, api, profile string) (*master, error) {
	i, err := c.Launch(cloud.InstanceSpec{Role: masterRole})
	if err != nil {
		return nil, err
	}
	has := c.Credentials(i.ID)
	process := exec.CommandContext(ctx, "/proc/self/exe", "serve")
	process.Stderr = os.Stderr
	process.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+has.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+has.SecretAccessKey,
		"AWS_SESSION_TOKEN="+has.SessionToken, "AWS_EC2_METADATA_DISABLED=true")
	in, err := process.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, err
	}
	m := &master{process: process, in: in, out: json.NewDecoder(out)}
	if err := errors.Join(
		json.NewEncoder(in).Encode(order{c.AccountID(), c.Partition(), api, profile}), m.out.Decode(&m.serving),
	); err != nil {
		return nil, errors.Join(fmt.Errorf("master: %w", err), m.kill())
	}
	for rest := m.Roots; ; {
		block, more := pem.Decode(rest)
		if block == nil {
			return m, nil
		}
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.Join(err, m.kill())
		}
		m.roots, rest = append(m.roots, root), more
	}
}

// stop ends the process and returns what it counted.
func (m *master) stop() (stats masterStats, err error) {
	if err := errors.Join(m.in.Close(), m.out.Decode(&stats)); err != nil {
		return stats, errors.Join(fmt.Errorf("master: %w", err), m.kill())
	}
	return stats, m.process.Wait()
}

func (m *master) kill() error {
	_ = m.process.Process.Kill() // it may have ended
	_ = m.process.Wait()         // and nobody asks what with
	return nil
}

// peak is the most memory that this process had resident.
func peak() (int64, error) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, errors.New("no VmHWM in /proc/self/status")
}
