package cloud

import (
	"maps"
	"slices"
)

func describeTags(a *call) (any, error) {
	type tag struct {
		ResourceID   string `xml:"resourceId"`
		ResourceType string `xml:"resourceType"`
		Key          string `xml:"key"`
		Value        string `xml:"value"`
	}
	var all []tag
	filters, late := a.filters(), delayOf(a.effects, lateTags)
	for _, id := range slices.Sorted(maps.Keys(a.tags)) {
		tags := a.visibleTags(id, late)
		for _, key := range slices.Sorted(maps.Keys(tags)) {
			t := tag{id, resourceType(id), key, tags[key]}
			accepted, err := accept(filters, map[string]string{key: tags[key]}, func(name string) ([]string, bool) {
				switch name {
				case "resource-id":
					return []string{t.ResourceID}, true
				case "resource-type":
					return []string{t.ResourceType}, true
				case "key":
					return []string{t.Key}, true
				case "value":
					return []string{t.Value}, true
				}
				return nil, false
			})
			if err != nil {
				return nil, err
			}
			if accepted {
				all = append(all, t)
			}
		}
	}
	items, next, err := ec2Page(a, all)
	return struct {
		Tags      []tag  `xml:"tagSet>item"`
		NextToken string `xml:"nextToken,omitempty"`
	}{items, next}, err
}

func createTags(a *call) (any, error) {
	tags, ids := a.form.tags("Tag"), a.form.list("ResourceId")
	for _, id := range ids {
		if _, found := a.tags[id]; !found {
			return nil, notFound(id)
		}
	}
	for _, id := range ids {
		if err := a.setTags(id, tags); err != nil {
			return nil, err
		}
	}
	return ok{true}, nil
}

// deleteTags deletes the tags named; one that comes with a value only when it has that value. Without tags it deletes
// all but AWS's own.
func deleteTags(a *call) (any, error) {
	for _, id := range a.form.list("ResourceId") {
		have, found := a.tags[id]
		if !found {
			return nil, notFound(id)
		}
		if !a.form.has("Tag.1.Key") {
			maps.DeleteFunc(have, func(k, _ string) bool { return len(k) < 4 || k[:4] != "aws:" })
		}
		for k, v := range a.form.tags("Tag") {
			if v == "" || have[k] == v {
				delete(have, k)
			}
		}
	}
	return ok{true}, nil
}
