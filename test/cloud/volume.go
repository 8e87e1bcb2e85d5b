package cloud

import (
	"maps"
	"slices"
	"time"
)

// Volume is an EBS volume. A test makes it, the agent attaches it.
type Volume struct {
	ID       string // made up when empty
	Zone     string // default the region's zone a
	SizeGiB  int
	Tags     map[string]string // of its creation
	Instance string            // attached to; empty: available
	Device   string
	Attached time.Time
}

// CreateVolume makes a volume and returns it, identifier included.
func (c *Cloud) CreateVolume(v Volume) Volume {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.ID == "" {
		v.ID = c.id("vol")
	}
	if v.Zone == "" {
		v.Zone = c.zones[0]
	}
	v.Instance, v.Device = "", ""
	c.volumes[v.ID] = &v
	c.tags[v.ID] = map[string]string{}
	maps.Copy(c.tags[v.ID], v.Tags)
	return v
}

// Volume returns a volume as it is now.
func (c *Cloud) Volume(id string) (Volume, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, found := c.volumes[id]
	if !found {
		return Volume{}, false
	}
	return *v, true
}

func (c *Cloud) detach(v *Volume) {
	i := c.instances[v.Instance]
	was := *v
	v.Instance, v.Device = "", ""
	if i != nil {
		c.emitDetach(i, was)
	}
}

func (v *Volume) status() string {
	if v.Instance != "" {
		return "in-use"
	}
	return "available"
}

type xmlAttachment struct {
	VolumeID string `xml:"volumeId"`
	Instance string `xml:"instanceId"`
	Device   string `xml:"device"`
	Status   string `xml:"status"`
	Time     string `xml:"attachTime"`
}

type xmlVolume struct {
	ID          string          `xml:"volumeId"`
	Size        int             `xml:"size"`
	Zone        string          `xml:"availabilityZone"`
	Status      string          `xml:"status"`
	Type        string          `xml:"volumeType"`
	Tags        []xmlTag        `xml:"tagSet>item"`
	Attachments []xmlAttachment `xml:"attachmentSet>item"`
}

func describeVolumes(a *call) (any, error) {
	wanted := a.form.list("VolumeId")
	for _, id := range wanted {
		if a.volumes[id] == nil {
			return nil, notFound(id)
		}
	}
	var all []xmlVolume
	for _, id := range slices.Sorted(maps.Keys(a.volumes)) {
		v := a.volumes[id]
		accepted, err := a.accept(a.tags[id], func(name string) ([]string, bool) {
			value, known := map[string]string{
				"volume-id": id, "status": v.status(), "availability-zone": v.Zone,
				"attachment.instance-id": v.Instance, "attachment.device": v.Device,
			}[name]
			return []string{value}, known
		})
		if err != nil {
			return nil, err
		}
		if !accepted || len(wanted) > 0 && !slices.Contains(wanted, id) {
			continue
		}
		x := xmlVolume{ID: id, Size: v.SizeGiB, Zone: v.Zone, Status: v.status(), Type: "gp3", Tags: xmlTags(a.tags[id])}
		if v.Instance != "" {
			x.Attachments = []xmlAttachment{v.attachment("attached")}
		}
		all = append(all, x)
	}
	items, next, err := ec2Page(a, all)
	return struct {
		Volumes   []xmlVolume `xml:"volumeSet>item"`
		NextToken string      `xml:"nextToken,omitempty"`
	}{items, next}, err
}

func (v *Volume) attachment(status string) xmlAttachment {
	return xmlAttachment{v.ID, v.Instance, v.Device, status, timestamp(v.Attached)}
}

func attachVolume(a *call) (any, error) {
	v, i := a.volumes[a.form.get("VolumeId")], a.instances[a.form.get("InstanceId")]
	device := a.form.get("Device")
	switch {
	case v == nil:
		return nil, notFound(a.form.get("VolumeId"))
	case i == nil:
		return nil, notFound(a.form.get("InstanceId"))
	case i.gone():
		return nil, errorf(400, "IncorrectState", "Instance '%s' is not 'running'.", i.ID)
	case v.Instance != "":
		return nil, errorf(400, "VolumeInUse", "%s is already attached to an instance", v.ID)
	case v.Zone != i.Zone:
		return nil, errorf(400, "InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", v.ID, i.ID)
	}
	for _, other := range a.volumes {
		if other.Instance == i.ID && other.Device == device {
			return nil, errorf(400, "InvalidParameterValue",
				"Invalid value '%s' for unixDevice. Attachment point %s is already in use", device, device)
		}
	}
	v.Instance, v.Device, v.Attached = i.ID, device, a.now()
	a.emitAttach(i, *v)
	return v.attachment("attaching"), nil
}

func detachVolume(a *call) (any, error) {
	v := a.volumes[a.form.get("VolumeId")]
	switch {
	case v == nil:
		return nil, notFound(a.form.get("VolumeId"))
	case v.Instance == "":
		return nil, errorf(400, "IncorrectState", "Volume '%s' is in the 'available' state.", v.ID)
	case a.form.has("InstanceId") && a.form.get("InstanceId") != v.Instance:
		return nil, errorf(400, "InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%s'", v.ID, a.form.get("InstanceId"))
	}
	out := v.attachment("detaching")
	a.detach(v)
	return out, nil
}
