package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Only runs some of the checks, by name: those that can be asked of a region in the middle of something. The nodes'
// plans are read anew.
func (s *Suite) Only(ctx context.Context, names ...string) error {
	var errs []error
	err := s.Some(ctx, func(name, _ string, _ time.Duration, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("check %s: %w", name, err))
		}
	}, names...)
	if len(errs) == 0 {
		return err
	}
	return errors.Join(errs...)
}

// Some is Only that tells each result.
func (s *Suite) Some(ctx context.Context, tell Tell, names ...string) error {
	all := s.Checks()
	var some []Check
	for _, name := range names {
		i := slices.IndexFunc(all, func(c Check) bool { return c.Name == name })
		if i < 0 {
			return fmt.Errorf("no check %q", name)
		}
		some = append(some, all[i])
	}
	return s.these(ctx, tell, some)
}
