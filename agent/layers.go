package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"rekindle/agent/config"
	"rekindle/agent/facts"
	"rekindle/agent/status"
)

// imageLayers are /etc/rekindle/*.yaml, in the order of their names.
func (a *Agent) imageLayers() ([]config.Layer, error) {
	dir, err := a.host.Path(ConfigDir)
	if err != nil {
		return nil, err
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var layers []config.Layer
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, status.Fail(status.ReasonConfigInvalid, "make the file readable for root", err)
		}
		layers = append(layers, config.Layer{Name: path.Join(ConfigDir, filepath.Base(name)), Data: data})
	}
	return layers, nil
}

// userData is what the instance was launched with, and what `rekindle up` gave over it. A script may run after this
// agent started: then what it will hand over is waited for.
func (a *Agent) userData(ctx context.Context, metadata *facts.Metadata, timeout time.Duration) (layers []config.Layer, err error) {
	ctx, span := status.Step(ctx, "imds: user-data")
	defer func() { span.Done(err) }()
	data, err := metadata.UserData(ctx)
	if err != nil {
		return nil, err
	}
	layers, kind, problems := config.UserData(data)
	if err := a.judge(problems); err != nil {
		return nil, err
	}
	given, err := a.handedOver(ctx, kind == config.KindScript, timeout)
	return append(layers, given...), err
}

func (a *Agent) handedOver(ctx context.Context, expected bool, timeout time.Duration) ([]config.Layer, error) {
	name, err := a.host.Path(UpPath)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	done := func() {}
	defer func() { done() }()
	for first := true; ; first = false {
		data, err := os.ReadFile(name)
		if err == nil {
			layers, _, problems := config.Read(UpPath, data)
			return layers, a.judge(problems)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if !expected {
			return nil, nil
		}
		if first {
			done = status.Waiting(ctx, "user-data: rekindle up", "the script in user-data to hand a configuration over")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, status.Fail(status.ReasonConfigInvalid,
				"call `rekindle up` in the script, or read its output: /var/log/cloud-init-output.log",
				fmt.Errorf("user-data is a script, and it has not called `rekindle up` within %s", timeout))
		}
	}
}

// resolve lays layers over the defaults.
func (a *Agent) resolve(layers ...config.Layer) (*config.Config, error) {
	result := config.Resolve(layers...)
	if err := a.judge(result.Problems); err != nil {
		return nil, err
	}
	sources := []status.Source{{Layer: "defaults", From: "rekindle " + a.Version}}
	for _, name := range result.Sources {
		sources = append(sources, status.Source{Layer: layerKind(name), From: name})
	}
	a.board.SetSources(sources...)
	return result.Config, nil
}

func layerKind(name string) string {
	switch {
	case strings.HasPrefix(name, ConfigDir+"/"):
		return "ami"
	case name == UpPath:
		return "up"
	case strings.HasSuffix(name, "/"+clusterFile):
		return "store"
	default:
		return "user-data"
	}
}

// judge shows warnings and returns the errors among problems as one.
func (a *Agent) judge(problems config.Problems) error {
	for _, warning := range problems.Warnings() {
		remedy := warning.Remedy
		warning.Remedy, warning.Warning = "", false // both are said where it is shown
		a.board.Warn(status.ReasonConfigWarning, remedy, warning.String())
	}
	if err := problems.Err(); err != nil {
		return status.Fail(status.ReasonConfigInvalid, "run `rekindle check` on it, correct it, and launch again", err)
	}
	return nil
}
