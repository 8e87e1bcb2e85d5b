package care

import "time"

// spacing keeps what is done out of turn from being done too often: the first time at once, then after pauses that double.
type spacing struct {
	last  time.Time
	pause time.Duration
}

// left is how long it must not be done yet.
func (s *spacing) left(now time.Time) time.Duration {
	if s.last.IsZero() {
		return 0
	}
	return max(0, s.pause-now.Sub(s.last))
}

// done says that it was done. After longest twice over, everything is forgotten.
func (s *spacing) done(now time.Time, first, longest time.Duration) {
	if s.last.IsZero() || now.Sub(s.last) >= 2*longest {
		s.pause = 0
	}
	s.last, s.pause = now, min(max(first, 2*s.pause), longest)
}
