package join

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func wantRefusal(t *testing.T, what string, err error, want Reason) {
	t.Helper()
	if reason, _ := reasonOf(err); reason != want {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

func TestNonce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		n := newNonces(theCluster)
		first, second := n.issue(), n.issue()
		if first == second || len(first) > maxNonce || strings.Trim(first, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Errorf("%q, %q", first, second)
		}
		wantRefusal(t, "fresh", n.use(first), Granted)
		wantRefusal(t, "used", n.use(first), Replayed)
		for i := range len(second) { // a bit of the time, of the random part, of the MAC
			altered := []byte(second)
			altered[i] ^= 1
			wantRefusal(t, "altered", n.use(string(altered)), BadNonce)
		}
		wantRefusal(t, "longer", n.use(second+"AAAA"), BadNonce)
		wantRefusal(t, "shorter", n.use(second[4:]), BadNonce)
		wantRefusal(t, "of a process after this one", newNonces(theCluster).use(second), BadNonce)
		other := newNonces("other.example")
		other.key, other.start = n.key, n.start
		wantRefusal(t, "of another cluster", other.use(second), BadNonce)

		time.Sleep(nonceLife - time.Nanosecond)
		wantRefusal(t, "old", n.use(second), Granted)
		wantRefusal(t, "used when old", n.use(second), Replayed)
		third := n.issue()
		time.Sleep(nonceLife)
		wantRefusal(t, "expired", n.use(third), BadNonce)
	})
}

// TestNonceIsNeverUsedTwice whenever it is used within its life, and wherever in the turns of the memory.
func TestNonceIsNeverUsedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNonces(theCluster)
		const step = 7 * time.Second
		var live []string
		for range 200 {
			live = append(live, n.issue())
			wantRefusal(t, "first use", n.use(live[len(live)-1]), Granted)
			for _, old := range live {
				if err := n.use(old); err == nil {
					t.Fatal("used twice")
				}
			}
			time.Sleep(step)
		}
		if kept := len(n.used) + len(n.older); kept > int(2*nonceLife/step)+2 {
			t.Errorf("%d are remembered", kept)
		}
	})
}

func TestNonceAtOnce(t *testing.T) {
	n := newNonces(theCluster)
	nonce := n.issue()
	var granted atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if n.use(nonce) == nil {
				granted.Add(1)
			}
		})
	}
	wg.Wait()
	if granted.Load() != 1 {
		t.Errorf("used %d times", granted.Load())
	}
}

// TestNoncesAreBounded: nothing is kept of those that were given out, and not without end of those used.
func TestNoncesAreBounded(t *testing.T) {
	n := newNonces(theCluster)
	for len(n.used) < maxUsed {
		wantRefusal(t, "while there is room", n.use(n.issue()), Granted)
	}
	wantRefusal(t, "beyond", n.use(n.issue()), Busy)
}
