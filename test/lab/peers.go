package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// peers shows whom a minion knows, as an operator on it sees them.
func (s *stage) peers(ctx context.Context) error {
	minions := s.region.Members("minion")
	if len(minions) == 0 {
		return nil
	}
	n := minions[0]
	cmd := exec.CommandContext(ctx, s.suite.Binary, "status", "--peers", "--root", n.Root)
	cmd.Env = n.Env
	text, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("rekindle status --peers of %s: %w\n%s", n.ID, err, text)
	}
	s.section("whom " + n.ID + " knows")
	s.line("  %s", s.paint(faint, "rekindle status --peers"))
	for line := range strings.Lines(strings.TrimSpace(string(text))) {
		shown := []rune(strings.TrimRight("    "+line, " \n"))
		if s.terminal {
			shown = shown[:min(len(shown), s.width)]
		}
		s.line("%s", string(shown))
	}
	return nil
}
