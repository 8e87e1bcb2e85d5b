package join

import "time"

const (
	// paceWindow is how long completions are counted before the pace is reckoned anew: many batches of lookups.
	paceWindow = time.Second
	// firstPace is what a master is believed to manage before it was measured, in requests a second.
	firstPace = 100
	minPace   = 1
)

// pace is how many requests a second the server gets through. How long one takes says little about that: when a thousand
// come together, all of them are slow.
type pace struct {
	rate  float64
	since time.Time // of the window; zero while there is none
	done  int       // in the window
}

// completed counts a request that is through. An idle server's completions tell how many asked, not how many it manages,
// so they count only while others wait.
func (p *pace) completed(now time.Time, waiting bool) {
	switch {
	case !waiting:
		p.since, p.done = time.Time{}, 0
	case p.since.IsZero():
		p.since = now
	default:
		p.done++
		if took := now.Sub(p.since); took >= paceWindow {
			p.rate = max(minPace, (p.rate+float64(p.done)/took.Seconds())/2)
			p.since, p.done = now, 0
		}
	}
}

// wait is how long so many requests take.
func (p *pace) wait(requests int) time.Duration {
	return time.Duration(float64(requests) / p.rate * float64(time.Second))
}
