package apiproxy

import "testing"

// Streams that cannot write hold their buffers: many of them must not cost more than a few MB.
func TestLargeBuffersAreFew(t *testing.T) {
	before := largeInUse.Load()
	var held []*buffer
	big := 0
	for range 10 * largeLimit {
		b := bufferFor(1 << 20)
		if held = append(held, b); len(b.data) == large {
			big++
		}
	}
	if big+int(before) > largeLimit || big == 0 {
		t.Errorf("%d large buffers", big)
	}
	for _, b := range held {
		b.put()
	}
	if now := largeInUse.Load(); now != before {
		t.Errorf("%d in use, %d before", now, before)
	}
}
