package agent

import (
	"bytes"
	"sync"
)

// pair is a certificate's and a key's file, and what was made of them. They are read each time, so that a rotation is seen
// at once, and parsed only when their content is another: in a mass join they are asked for hundreds of times a second.
type pair[T any] struct {
	read             func(path string) ([]byte, error)
	certificate, key string // paths
	parse            func(certificate, key []byte) (T, error)

	mu    sync.Mutex
	known [2][]byte
	made  *T
}

// get is safe for concurrent use. What it returns is shared and must not be changed.
func (p *pair[T]) get() (T, error) {
	var none T
	certificate, err := p.read(p.certificate)
	if err != nil {
		return none, err
	}
	key, err := p.read(p.key)
	if err != nil {
		return none, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made != nil && bytes.Equal(p.known[0], certificate) && bytes.Equal(p.known[1], key) {
		return *p.made, nil
	}
	made, err := p.parse(certificate, key)
	if err != nil {
		return none, err
	}
	p.known, p.made = [2][]byte{certificate, key}, &made
	return made, nil
}
