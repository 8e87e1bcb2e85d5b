package config

import (
	"bytes"
	"fmt"

	"go.yaml.in/yaml/v4"
)

// Marshal prints c as the YAML that Load reads back to the same Config.
func Marshal(c *Config) ([]byte, error) {
	var b bytes.Buffer
	dumper, err := yaml.NewDumper(&b, yaml.WithIndent(2), yaml.WithLineWidth(-1))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if err := dumper.Dump(c); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if err := dumper.Close(); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return b.Bytes(), nil
}
