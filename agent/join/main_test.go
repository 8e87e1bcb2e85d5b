package join

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	theCA() // at the time that it is: the first test may live in a bubble of the year 2000
	goleak.VerifyTestMain(m)
}
