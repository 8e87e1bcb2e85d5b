package assets

import "sync"

// meter turns the reports of many goroutines into calls of one function, one at a time.
type meter struct {
	mu   sync.Mutex
	tell func(Progress)
	now  Progress
}

func newMeter(tell func(Progress)) *meter {
	if tell == nil {
		tell = func(Progress) {}
	}
	return &meter{tell: tell}
}

// phase begins a phase of total bytes and returns the function that advances it.
func (m *meter) phase(name string, total int64) (advance func(bytes int64)) {
	m.mu.Lock()
	m.now = Progress{Phase: name, Total: total}
	m.tell(m.now)
	m.mu.Unlock()
	return func(bytes int64) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.now.Done += bytes
		m.tell(m.now)
	}
}
