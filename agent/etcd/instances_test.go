package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// account answers DescribeInstances with one instance a page.
type account struct {
	states map[string]types.InstanceStateName
	asked  [][]string
	err    error
}

func (a *account) describe(_ context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	if a.err != nil {
		return nil, a.err
	}
	ids := in.Filters[0].Values
	a.asked = append(a.asked, ids)
	page, _ := strconv.Atoi(aws.ToString(in.NextToken)) // without one it is the first
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return a.states[id] == "" })
	out := new(ec2.DescribeInstancesOutput)
	if page < len(ids) {
		state := &types.InstanceState{Name: a.states[ids[page]]}
		out.Reservations = []types.Reservation{{Instances: []types.Instance{{InstanceId: &ids[page], State: state}}}}
		out.NextToken = aws.String(fmt.Sprint(page + 1))
	}
	return out, nil
}

func TestWord(t *testing.T) {
	a := &account{states: map[string]types.InstanceStateName{
		"i-self": "running", "i-pending": "pending", "i-ending": "shutting-down", "i-dead": "terminated", "i-stopping": "stopping", "i-stopped": "stopped",
	}}
	w := &Word{Self: "i-self", Describe: a.describe}
	word, err := w.Ask(t.Context(), []string{"i-pending", "i-ending", "i-dead", "i-stopping", "i-stopped", "i-dead", "unknown", "operator"})
	if err != nil {
		t.Fatal(err)
	}
	for id := range a.states {
		if word.Gone[id] != (id == "i-dead") || word.Stopped[id] != (id == "i-stopped") {
			t.Errorf("%s: gone %t, stopped %t", id, word.Gone[id], word.Stopped[id])
		}
	}
	if want := []string{"i-dead", "i-ending", "i-pending", "i-self", "i-stopped", "i-stopping"}; !slices.Equal(a.asked[0], want) || len(a.asked) != len(want)+1 {
		t.Errorf("asked for %v in %d pages", a.asked[0], len(a.asked))
	}
}

// "Not found" is not "gone" until it lasted, without a break, for two minutes in which this instance was found.
func TestWordOfTheMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &account{states: map[string]types.InstanceStateName{"i-self": "running"}}
		w := &Word{Self: "i-self", Describe: a.describe}
		gone := func() bool {
			t.Helper()
			word, err := w.Ask(t.Context(), []string{"i-x"})
			if err != nil {
				t.Fatal(err)
			}
			return word.Gone["i-x"]
		}
		for range 4 {
			if gone() {
				t.Fatal("gone too soon")
			}
			time.Sleep(missingFor/4 - time.Second)
		}
		a.states["i-x"] = "running" // it was launched just now
		if gone() {
			t.Fatal("gone, and it runs")
		}
		delete(a.states, "i-x")
		if gone() {
			t.Fatal("two absences were added up")
		}
		time.Sleep(missingFor - time.Second)
		if gone() {
			t.Fatal("gone a second too soon")
		}
		time.Sleep(time.Second)
		if !gone() {
			t.Fatal("not found for two minutes, and not gone")
		}
	})
}

// A wrong account, region or permission finds nobody: that says nothing about the others.
func TestWordWithoutSelf(t *testing.T) {
	a := &account{states: map[string]types.InstanceStateName{"i-x": "terminated"}}
	w := &Word{Self: "i-self", Describe: a.describe}
	if word, err := w.Ask(t.Context(), []string{"i-x"}); err == nil || !strings.Contains(err.Error(), "i-self") || len(word.Gone) > 0 {
		t.Errorf("%v, %v", word, err)
	}
	a.err = errors.New("403 UnauthorizedOperation")
	if word, err := w.Ask(t.Context(), []string{"i-x"}); !errors.Is(err, a.err) || !strings.Contains(err.Error(), "ec2:DescribeInstances") || len(word.Gone) > 0 {
		t.Errorf("%v, %v", word, err)
	}
}
