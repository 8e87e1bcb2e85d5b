package join

import (
	"fmt"
	"strings"
)

// allowed are the IAM roles whose instances may join, by name.
//
// The ARN of a session has the role's name but not its path, so of a role's ARN the last element is all that can be
// compared. That loses nothing: within an account a name is unique, whatever the paths.
func allowed(roles []string, partition, account string) (map[string]bool, error) {
	names := map[string]bool{}
	for _, role := range roles {
		name := role
		if strings.Contains(role, ":") {
			fields := strings.SplitN(role, ":", 6)
			if len(fields) != 6 || fields[0] != "arn" || fields[2] != "iam" || !strings.HasPrefix(fields[5], "role/") {
				return nil, fmt.Errorf("join.iamRoles: %q is neither the name nor the ARN of an IAM role", role)
			}
			if fields[1] != partition || fields[4] != account {
				continue // nobody of another partition or account gets as far as this list
			}
			name = fields[5]
		}
		name = name[strings.LastIndex(name, "/")+1:]
		if name == "" {
			return nil, fmt.Errorf("join.iamRoles: %q names no role", role)
		}
		names[name] = true
	}
	return names, nil
}

// admit checks whose signature it is: that of an instance with one of the IAM roles. EC2 names the sessions of its
// instances after them, and nobody else may be trusted by such a role (docs/join.md).
func (s *Server) admit(arn, instance string) error {
	// arn:<partition>:sts::<account>:assumed-role/<role>/<session>
	fields := strings.SplitN(arn, ":", 6)
	switch {
	case len(fields) != 6 || fields[0] != "arn":
		return refuse(WrongRole, "%.200q is no ARN", arn)
	case fields[1] != s.o.Partition:
		return refuse(ForeignPartition, "%.200q", arn)
	case fields[4] != s.o.Account:
		return refuse(ForeignAccount, "%.200q", arn)
	}
	parts := strings.Split(fields[5], "/")
	if fields[2] != "sts" || len(parts) != 3 || parts[0] != "assumed-role" || !s.iamRoles[parts[1]] {
		return refuse(WrongRole, "%.200q", arn)
	}
	if !instanceID.MatchString(instance) || parts[2] != instance {
		return refuse(NotAnInstance, "%.200q", arn)
	}
	return nil
}
