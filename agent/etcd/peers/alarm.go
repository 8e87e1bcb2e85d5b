package peers

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// The alarms that etcd knows.
const (
	NoSpace = "NOSPACE" // the database has reached its quota; etcd takes no writes: FreeSpace
	Corrupt = "CORRUPT" // the member's data differs from the others'; etcd serves nothing there
)

// Alarm is one that a member has raised.
type Alarm struct {
	Member uint64
	Name   string // of the member; empty: it is not in the list any more
	Kind   string
	Remedy string // what the operator can do; empty: FreeSpace may solve it
}

// Alarms lists the alarms of all members. It needs a quorum. A CORRUPT one is for the operator: etcd cannot say whose data
// is right, so nothing here acts on it.
func (c *Client) Alarms(ctx context.Context) ([]Alarm, error) {
	view, err := c.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("alarms: %w", err)
	}
	raised, err := c.alarms(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_GET})
	if err != nil {
		return nil, fmt.Errorf("alarms: %w", err)
	}
	var all []Alarm
	for _, r := range raised {
		a := Alarm{Member: r.MemberID, Kind: r.Alarm.String()}
		for _, m := range view.Members {
			if m.ID == r.MemberID {
				a.Name = m.Name
			}
		}
		if r.Alarm == pb.AlarmType_CORRUPT {
			a.Remedy = fmt.Sprintf("the data of %s (%x) differs from the others': compare it with a backup "+
				"(rekindle etcd verify), then replace the member whose data is wrong, and only then disarm", a.Name, a.Member)
		}
		all = append(all, a)
	}
	return all, nil
}

func (c *Client) alarms(ctx context.Context, request *pb.AlarmRequest) ([]*pb.AlarmMember, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	k, err := c.target(ctx)
	if err != nil {
		return nil, err
	}
	response, err := k.maintenance.Alarm(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.Name, rpctypes.Error(err))
	}
	return response.Alarms, nil
}

// disarm ends every NOSPACE alarm, also those of members that are gone.
func (c *Client) disarm(ctx context.Context) error {
	raised, err := c.alarms(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_GET, Alarm: pb.AlarmType_NOSPACE})
	if err != nil {
		return err
	}
	for _, r := range raised {
		_, err := c.alarms(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: r.Alarm, MemberID: r.MemberID})
		if err != nil {
			return err
		}
	}
	return nil
}
