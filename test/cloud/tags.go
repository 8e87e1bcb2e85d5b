package cloud

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// metadataKey is what IMDS can serve as one path element.
var metadataKey = regexp.MustCompile(`^[0-9a-zA-Z\-_+=,.@:]{1,255}$`)

// checkTags applies EC2's rules to the tags of a request; metadata adds those of InstanceMetadataTags=enabled.
func checkTags(tags map[string]string, metadata bool) error {
	if len(tags) > 50 {
		return errorf(400, "TagLimitExceeded", "The maximum number of Tags has been reached.")
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if strings.HasPrefix(key, "aws:") {
			return errorf(400, "InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		}
		if key == "" || len(key) > 127 {
			return errorf(400, "InvalidParameterValue", "Tag key exceeds the maximum length of 127 characters")
		}
		if len(tags[key]) > 255 {
			return errorf(400, "InvalidParameterValue", "Tag value exceeds the maximum length of 255 characters")
		}
		reserved := key == "." || key == ".." || key == "_index"
		if metadata && (reserved || !metadataKey.MatchString(key)) {
			return errorf(400, "InvalidParameterValue", "'%s' is not a valid tag key. Tag keys must match pattern "+
				`([0-9a-zA-Z\-_+=,.@:]{1,255}), and must not be a reserved name ('.', '..', '_index')`, key)
		}
	}
	return nil
}

// SetTags adds tags to a resource, or replaces their values.
func (c *Cloud) SetTags(id string, tags map[string]string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.setTags(id, tags)
}

func (c *Cloud) setTags(id string, tags map[string]string) error {
	have, ok := c.tags[id]
	if !ok {
		return notFound(id)
	}
	i := c.instances[id]
	if err := checkTags(tags, i != nil && i.Metadata.Tags); err != nil {
		return err
	}
	maps.Copy(have, tags)
	return nil
}

// visibleTags are the tags of a resource less those that a LateTags fault hides from this reader.
func (c *Cloud) visibleTags(id string, late time.Duration) map[string]string {
	if i := c.instances[id]; i != nil && c.now().Sub(i.LaunchTime) < late {
		return nil
	}
	return c.tags[id]
}

// resourceTypes by the prefix of an id, as DescribeTags names them, with the error code for one that is unknown.
var resourceTypes = []struct{ prefix, name, missing string }{
	{"i-", "instance", "InvalidInstanceID.NotFound"},
	{"vol-", "volume", "InvalidVolume.NotFound"},
	{"eipalloc-", "elastic-ip", "InvalidAllocationID.NotFound"},
}

func resourceType(id string) string {
	for _, t := range resourceTypes {
		if strings.HasPrefix(id, t.prefix) {
			return t.name
		}
	}
	return "unknown"
}

func notFound(id string) error {
	for _, t := range resourceTypes {
		if strings.HasPrefix(id, t.prefix) {
			return errorf(400, t.missing, "The %s ID '%s' does not exist", t.name, id)
		}
	}
	return errorf(400, "InvalidID", "The ID '%s' is not valid", id)
}
