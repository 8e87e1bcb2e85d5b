package plan

import (
	"fmt"
	"io"

	"go.yaml.in/yaml/v4"
)

// Print writes the plan as YAML, contents as literal blocks. The same plan prints the same bytes.
func Print(w io.Writer, p *Plan) error {
	text, err := yaml.Dump(p, yaml.WithLineWidth(-1), yaml.WithQuotePreference(yaml.QuoteDouble))
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	_, err = w.Write(text)
	return err
}

// Read reads what Print wrote.
func Read(r io.Reader) (*Plan, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	var p Plan
	if err := yaml.Load(text, &p, yaml.WithKnownFields()); err != nil {
		return nil, fmt.Errorf("plan: %w: print it again with `rekindle plan`", err)
	}
	return &p, nil
}
