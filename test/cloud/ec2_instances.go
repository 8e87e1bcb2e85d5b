package cloud

import (
	"slices"
	"strings"
)

// wanted are the instances that InstanceId.N names; unknown ones are an error that names them all.
func (a *call) wanted() ([]string, error) {
	ids := a.form.list("InstanceId")
	var unknown []string
	for _, id := range ids {
		if !strings.HasPrefix(id, "i-") {
			return nil, errorf(400, "InvalidInstanceID.Malformed", `Invalid id: "%s"`, id)
		}
		if !a.known(a.instances[id]) {
			unknown = append(unknown, id)
		}
	}
	switch len(unknown) {
	case 0:
		return ids, nil
	case 1:
		return nil, errorf(400, "InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", unknown[0])
	default:
		return nil, errorf(400, "InvalidInstanceID.NotFound", "The instance IDs '%s' do not exist", strings.Join(unknown, ", "))
	}
}

// known is false for what does not exist and for what a LateInstances fault hides.
func (a *call) known(i *Instance) bool {
	return i != nil && a.now().Sub(i.LaunchTime) >= delayOf(a.effects, lateInstance)
}

func describeInstances(a *call) (any, error) {
	ids, err := a.wanted()
	if err != nil {
		return nil, err
	}
	if len(ids) > 0 && a.form.has("MaxResults") {
		return nil, errorf(400, "InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults")
	}
	type reservation struct {
		ID        string        `xml:"reservationId"`
		Owner     string        `xml:"ownerId"`
		Instances []xmlInstance `xml:"instancesSet>item"`
	}
	var all []reservation
	filters := a.filters()
	for _, id := range a.order {
		if len(ids) > 0 && !slices.Contains(ids, id) || !a.known(a.instances[id]) {
			continue
		}
		x := a.describe(a.instances[id])
		accepted, err := accept(filters, a.visibleTags(id, delayOf(a.effects, lateTags)), a.instanceValues(x))
		if err != nil {
			return nil, err
		}
		if accepted {
			all = append(all, reservation{shortID("r", id), a.opts.AccountID, []xmlInstance{x}})
		}
	}
	items, next, err := ec2Page(a, all)
	return struct {
		Reservations []reservation `xml:"reservationSet>item"`
		NextToken    string        `xml:"nextToken,omitempty"`
	}{items, next}, err
}

func describeNetworkInterfaces(a *call) (any, error) {
	var all []xmlInterface
	filters := a.filters()
	for _, id := range a.order {
		i := a.instances[id]
		if i.state == "terminated" {
			continue
		}
		x := a.describeInterface(i)
		accepted, err := accept(filters, nil, func(name string) ([]string, bool) {
			v, known := map[string]string{
				"attachment.instance-id": i.ID, "subnet-id": x.SubnetID, "vpc-id": x.VpcID, "mac-address": x.MAC,
				"network-interface-id": x.ID, "private-ip-address": x.PrivateIP, "addresses.private-ip-address": x.PrivateIP,
			}[name]
			return []string{v}, known
		})
		if err != nil {
			return nil, err
		}
		if wanted := a.form.list("NetworkInterfaceId"); accepted && (len(wanted) == 0 || slices.Contains(wanted, x.ID)) {
			all = append(all, x)
		}
	}
	items, next, err := ec2Page(a, all)
	return struct {
		Interfaces []xmlInterface `xml:"networkInterfaceSet>item"`
		NextToken  string         `xml:"nextToken,omitempty"`
	}{items, next}, err
}
