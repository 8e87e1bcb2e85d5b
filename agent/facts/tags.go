package facts

import (
	"fmt"
	"slices"
	"strings"

	"rekindle/agent/status"
)

// The tags that are read. The rekindle: ones have no slash, so IMDS can serve them; the others are of clusters that
// exist already.
const (
	tagCluster       = "rekindle:cluster"
	tagRole          = "rekindle:role"
	tagLegacyCluster = "KubernetesCluster"
	tagClusterPrefix = "kubernetes.io/cluster/" // + cluster, = owned or shared
	tagRolePrefix    = "k8s.io/role/"           // + master, control-plane or node; the value is 1 or anything true
)

// roleOfTag translates the last part of k8s.io/role/*.
var roleOfTag = map[string]string{"master": "master", "control-plane": "master", "node": "minion"}

// claim is what one tag says.
type claim struct{ tag, value string }

// ParseTags finds the cluster and the role that the tags name, each "" when none does. Tags that contradict each other
// are an error: a node must not choose.
func ParseTags(tags map[string]string) (cluster, role string, err error) {
	var clusters, roles []claim
	for key, value := range tags {
		switch {
		case value == "" && !strings.HasPrefix(key, tagRolePrefix):
			// An empty tag is how a template shows that it forgot its variable; it names nothing.
		case key == tagCluster, key == tagLegacyCluster:
			clusters = append(clusters, claim{key, value})
		case key == tagRole:
			roles = append(roles, claim{key, value})
		case strings.HasPrefix(key, tagClusterPrefix):
			if value == "owned" || value == "shared" {
				clusters = append(clusters, claim{key, strings.TrimPrefix(key, tagClusterPrefix)})
			}
		case strings.HasPrefix(key, tagRolePrefix):
			if known := roleOfTag[strings.TrimPrefix(key, tagRolePrefix)]; known != "" && value != "0" && value != "false" {
				roles = append(roles, claim{key, known})
			}
		}
	}
	cluster, clusterErr := agree("cluster", clusters)
	role, roleErr := agree("role", roles)
	switch {
	case clusterErr != nil:
		return "", "", clusterErr
	case roleErr != nil:
		return "", "", roleErr
	}
	return cluster, role, nil
}

// agree is the one value of all claims. rekindle:role alone may refine k8s.io/role/node: a load balancer of a cluster
// that exists already is a node, too.
func agree(what string, claims []claim) (string, error) {
	slices.SortFunc(claims, func(a, b claim) int { return strings.Compare(b.tag, a.tag) }) // rekindle: before k8s.io
	if len(claims) == 0 {
		return "", nil
	}
	first := claims[0]
	for _, c := range claims[1:] {
		if c.value == first.value {
			continue
		}
		if first.tag == tagRole && c.tag == tagRolePrefix+"node" && first.value != "master" {
			continue
		}
		return "", status.Fail(status.ReasonRoleUnknown, "remove the tag that is wrong, from the instance and from its "+
			"Auto Scaling group or launch template", fmt.Errorf("tags: two answers for the %s: %s says %q, %s says %q",
			what, first.tag, first.value, c.tag, c.value))
	}
	return first.value, nil
}
