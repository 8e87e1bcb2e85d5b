package plan

import "fmt"

// problem is something wrong at a place: a field of the configuration, a fact, or a file of the plan with its line.
func problem(where, format string, args ...any) error {
	return fmt.Errorf("%s: "+format, append([]any{where}, args...)...)
}
