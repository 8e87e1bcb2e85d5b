package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// What IAM accepts as the name of a role, and what stands before it in an ARN. (IAM User Guide, "IAM and AWS STS quotas")
var (
	roleName   = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{1,64}$`)
	roleARN    = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/([!-~]*/)?[A-Za-z0-9_+=,.@-]{1,64}$`)
	sessionARN = regexp.MustCompile(`^arn:aws[a-z-]*:sts::[0-9]{12}:assumed-role/([A-Za-z0-9_+=,.@-]{1,64})(/.*)?$`)
)

func (v *validator) join() {
	j := v.config.Join
	if j.Port < 1 || j.Port > 65535 {
		v.bad("join.port", fmt.Sprintf("%d is out of range", j.Port), "write 1 to 65535")
	}
	for i, role := range j.IAMRoles {
		if !roleName.MatchString(role) && !roleARN.MatchString(role) {
			message, remedy := notARole(role)
			v.bad(at("join.iamRoles", i), message+": "+quote(role), remedy)
		}
	}
	unique(v, "join.iamRoles", j.IAMRoles, func(role string) string { return role }, "")
	if len(j.IAMRoles) > 0 && len(j.Roles) == 0 {
		v.bad("join.roles", "no role may join, whatever join.iamRoles says", "write [minion], or leave it out")
	}
	for i, role := range j.Roles {
		path := at("join.roles", i)
		if len(validation.IsDNS1123Label(role)) > 0 {
			v.bad(path, "not a role's name: "+quote(role), "write a role as instances are tagged with it, for instance minion")
		} else if role == "master" {
			v.warn(path, "masters sign their certificates themselves, and ask nobody for them", "remove it")
		}
	}
	unique(v, "join.roles", j.Roles, func(role string) string { return role }, "")
}

// notARole says what an operator took for an IAM role. Join compares with what STS says of a node: its role's session.
func notARole(text string) (message, remedy string) {
	switch m := sessionARN.FindStringSubmatch(text); {
	case m != nil:
		return "a session of a role, not a role", "write " + m[1]
	case strings.Contains(text, ":instance-profile/"):
		return "an instance profile, not a role", "write the name of the role in it: aws iam get-instance-profile shows it"
	case strings.Contains(text, ":user/"), strings.Contains(text, ":group/"), strings.HasSuffix(text, ":root"):
		return "not a role", "write the role of the nodes' instance profile: people and accounts cannot join"
	case strings.Contains(text, "*"):
		return "a pattern", "name each role"
	case !strings.HasPrefix(text, "arn:") && strings.Contains(text, "/"):
		return "a role's name with its path", "write the name alone, or the whole ARN"
	}
	return "not an IAM role", "write its name (at most 64 letters, digits and +=,.@_-) or arn:PARTITION:iam::ACCOUNT:role/NAME"
}

func (v *validator) metrics() {
	const remedy = "write ADDRESS:PORT, for instance 127.0.0.1:3989, or off"
	listen := v.config.Metrics.Listen
	if listen == "off" {
		return
	}
	name, port, err := net.SplitHostPort(listen)
	switch {
	case err != nil || !isPort(port):
		v.bad("metrics.listen", "not an address with a port: "+quote(listen), remedy)
	case name == "":
		v.bad("metrics.listen", "no address in "+quote(listen), "write 0.0.0.0:"+port+" or [::]:"+port+" for every address of the node")
	case name != "localhost" && !isAddress(name):
		v.bad("metrics.listen", "not an IP address: "+quote(name), remedy)
	case port == strconv.Itoa(v.config.Join.Port):
		v.bad("metrics.listen", "port "+port+" is that of join.port", "choose another one")
	}
}

func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}
