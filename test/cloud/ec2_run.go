package cloud

import (
	"encoding/base64"
	"fmt"
	"net/netip"
)

func terminateInstances(a *call) (any, error) {
	ids, err := a.wanted()
	if err != nil {
		return nil, err
	}
	var out stateChanges
	for _, id := range ids {
		i := a.instances[id]
		before := stateOf(i.state)
		a.terminate(i)
		// EC2 always answers shutting-down first, however soon the instance is gone.
		now := stateOf("shutting-down")
		if before.Name == "terminated" {
			now = before
		}
		out.Instances = append(out.Instances, stateChange{id, now, before})
	}
	a.tick()
	return out, nil
}

// stateChanges is the reply of whatever changes the state of instances.
type stateChanges struct {
	Instances []stateChange `xml:"instancesSet>item"`
}

type stateChange struct {
	ID       string   `xml:"instanceId"`
	Current  xmlState `xml:"currentState"`
	Previous xmlState `xml:"previousState"`
}

func modifyInstanceAttribute(a *call) (any, error) {
	i := a.instances[a.form.get("InstanceId")]
	if i == nil {
		return nil, notFound(a.form.get("InstanceId"))
	}
	if a.form.has("SourceDestCheck.Value") {
		i.sourceDestCheck = a.form.get("SourceDestCheck.Value") == "true"
	}
	return ok{true}, nil
}

func runInstances(a *call) (any, error) {
	data, err := base64.StdEncoding.DecodeString(a.form.get("UserData"))
	if err != nil {
		return nil, errorf(400, "InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
	}
	spec := InstanceSpec{
		ImageID: a.form.get("ImageId"), Type: a.form.get("InstanceType"), UserData: data, KeyName: a.form.get("KeyName"),
		SubnetID: a.form.get("SubnetId"), Zone: a.form.get("Placement.AvailabilityZone"),
		Role: a.form.get("IamInstanceProfile.Name"), Spot: a.form.get("InstanceMarketOptions.MarketType") == "spot",
		Metadata: MetadataOptions{
			Disabled:       a.form.get("MetadataOptions.HttpEndpoint") == "disabled",
			TokensOptional: a.form.get("MetadataOptions.HttpTokens") == "optional",
			Tags:           a.form.get("MetadataOptions.InstanceMetadataTags") == "enabled",
		},
	}
	if spec.Metadata.HopLimit, err = a.form.integer("MetadataOptions.HttpPutResponseHopLimit", 1); err != nil {
		return nil, err
	}
	if address := a.form.get("PrivateIpAddress"); address != "" {
		if spec.PrivateIP, err = netip.ParseAddr(address); err != nil {
			return nil, errorf(400, "InvalidParameterValue", "Invalid IP address %s", address)
		}
	}
	for n := 1; a.form.has(fmt.Sprintf("TagSpecification.%d.ResourceType", n)); n++ {
		if a.form.get(fmt.Sprintf("TagSpecification.%d.ResourceType", n)) == "instance" {
			spec.Tags = a.form.tags(fmt.Sprintf("TagSpecification.%d.Tag", n))
		}
	}
	count, err := a.form.integer("MaxCount", 1)
	if err != nil {
		return nil, err
	}
	out := struct {
		ReservationID string        `xml:"reservationId"`
		Owner         string        `xml:"ownerId"`
		Instances     []xmlInstance `xml:"instancesSet>item"`
	}{a.id("r"), a.opts.AccountID, nil}
	for range count {
		i, err := a.launch(spec, "")
		if err != nil {
			return nil, err
		}
		x := a.describe(i)
		x.State = stateOf("pending")
		out.Instances = append(out.Instances, x)
	}
	return out, nil
}
