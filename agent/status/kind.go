package status

import "strings"

// The kinds of step: what a boot spends its time on. They choose the colour.
const (
	kindIMDS   = "imds"
	kindAWS    = "aws"
	kindConfig = "config"
	kindAssets = "assets"
	kindFiles  = "files"
	kindUnits  = "units"
	kindEtcd   = "etcd"
	kindWaits  = "waits"
	kindOther  = "other"
)

// kindOf takes the kind from the first word of a step's name. Below a step of a known kind all is of that kind (an
// asset may be called etcd), but for waits.
func kindOf(parent, name string) string {
	word, _, _ := strings.Cut(strings.ToLower(name), " ")
	word = strings.TrimRight(word, ":")
	if word == "wait" || word == "waits" || word == "waiting" {
		return kindWaits
	}
	if parent != "" && parent != kindOther && parent != kindWaits {
		return parent
	}
	switch word {
	case "imds", "token", "identity", "tags", "facts":
		return kindIMDS
	case "aws", "ec2", "sts", "ssm", "route53", "autoscaling":
		return kindAWS
	case "config", "user-data", "check", "role", "roles":
		return kindConfig
	case "assets", "store", "manifest", "objects", "s3":
		return kindAssets
	case "files", "dirs", "volumes", "certs", "plan", "render", "disk":
		return kindFiles
	case "units", "unit", "systemd":
		return kindUnits
	case "etcd":
		return kindEtcd
	}
	return kindOther
}
