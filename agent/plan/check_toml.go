package plan

import (
	"errors"
	"fmt"

	"github.com/pelletier/go-toml/v2"
)

func checkTOML(text string) []error {
	var v map[string]any
	if err := toml.Unmarshal([]byte(text), &v); err != nil {
		return []error{tomlError(err)}
	}
	return nil
}

// tomlError puts the place first.
func tomlError(err error) error {
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := e.Position()
		return problem(fmt.Sprintf("line %d:%d", line, column), "%s", e.Error())
	}
	return err
}
