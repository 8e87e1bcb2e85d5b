package apiproxy

import (
	"cmp"
	"slices"
	"time"
)

// Status is what the proxy is doing.
type Status struct {
	Listening []string        `json:"listening"`
	Open      int             `json:"open"` // connections, those that still wait for a backend included
	MaxConns  int             `json:"maxConnections"`
	Backends  []BackendStatus `json:"backends"` // by instance, those that are listed first
}

// BackendStatus is a backend as this node sees it.
type BackendStatus struct {
	Backend
	State    State     `json:"state"`
	Since    time.Time `json:"since"`           // of the state
	Error    string    `json:"error,omitempty"` // why it is not up
	Gone     bool      `json:"gone,omitempty"`  // discovery no longer lists it, and connections are left
	Draining bool      `json:"draining,omitempty"`
	Open     int       `json:"open"`  // connections
	Total    int       `json:"total"` // connections, since it was first listed
}

// Status tells what the proxy is doing now.
func (p *Proxy) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{Open: len(p.slots), MaxConns: p.o.MaxConns, Listening: []string{}, Backends: []BackendStatus{}}
	if p.ctx != nil {
		for _, own := range p.own {
			s.Listening = append(s.Listening, own.String())
		}
		s.Open = max(0, s.Open-len(p.own)) // each listener holds a slot for the connection that it waits for
	}
	for _, b := range p.backends {
		one := BackendStatus{Backend: b.Backend, State: b.state, Since: b.since, Gone: b.gone,
			Draining: b.undrain != nil, Open: len(b.pairs), Total: b.total}
		if b.why != nil {
			one.Error = b.why.Error()
		}
		s.Backends = append(s.Backends, one)
	}
	slices.SortFunc(s.Backends, func(a, b BackendStatus) int {
		if a.Gone != b.Gone {
			if b.Gone {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Instance, b.Instance), a.Address.Compare(b.Address))
	})
	return s
}
