package apply

import "context"

const (
	// hostsPath is never replaced: containers have it bind-mounted and would keep the old file, and others (discovery,
	// cloud-init) have lines of their own in it. What a plan says about it is a block.
	hostsPath   = "/etc/hosts"
	hostsMarker = "files"
)

// lookHosts tells whether the plan's lines in the hosts file are not what they should be.
func (a *pass) lookHosts() (bool, error) {
	if a.hosts == nil && !a.rec.Hosts {
		return false, nil
	}
	there, err := a.Host.HasBlock(hostsPath, hostsMarker, a.hosts)
	if err != nil || there {
		a.rec.Hosts = a.hosts != nil
		return false, err
	}
	a.changed[hostsPath] = true
	a.rec.Hosts = true // until the block is gone
	return true, nil
}

// placeHosts keeps the plan's lines in the hosts file.
func (a *pass) placeHosts(ctx context.Context) error {
	if !a.dry {
		if _, err := a.Host.Block(ctx, hostsPath, hostsMarker, a.hosts); err != nil {
			return err
		}
	}
	change := Change{Kind: "file", Name: hostsPath, Action: "update", Detail: "the lines of the plan"}
	if a.hosts == nil {
		change.Detail = "the lines of an earlier plan are gone"
	}
	a.rec.Hosts = a.hosts != nil
	a.did(change)
	return nil
}
