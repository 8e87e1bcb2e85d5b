package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Only runs some of the checks, by name: those that can be asked of a region in the middle of something. The nodes'
// plans are read anew.
func (s *Suite) Only(ctx context.Context, names ...string) error {
	if err := s.readPlans(ctx); err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		checks := s.Checks()
		i := slices.IndexFunc(checks, func(c Check) bool { return c.Name == name })
		if i < 0 {
			return fmt.Errorf("no check %q", name)
		}
		if _, err := checks[i].run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("check %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
