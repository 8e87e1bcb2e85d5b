package route53

import (
	"context"
	"fmt"
	"strings"
)

// findZone finds the private zone that holds the cluster's names: by its id, by its name, or the one with the longest
// name that contains them.
func (k *Keeper) findZone(ctx context.Context) (Zone, error) {
	if k.o.ZoneID != "" {
		return k.zoneByID(ctx)
	}
	if k.o.ZoneName != "" {
		z, err := k.zoneByName(ctx, fqdn(k.o.ZoneName))
		if err != nil {
			return Zone{}, err
		}
		return z, k.fits(z)
	}
	var public error
	for name := k.domain; name != ""; _, name, _ = strings.Cut(name, ".") {
		z, err := k.zoneByName(ctx, name)
		if err == nil {
			return z, nil
		}
		switch stateOf(err) {
		case Missing:
		case Unfit:
			if z.ID == "" {
				return Zone{}, err
			}
			public = err // a private one may be further up
		default:
			return Zone{}, err
		}
	}
	if public != nil {
		return Zone{}, public
	}
	return Zone{}, missing("create a private hosted zone for it, or leave Route 53 out: gossip does without",
		"no hosted zone contains %s", k.domain)
}

func (k *Keeper) zoneByID(ctx context.Context) (Zone, error) {
	var z Zone
	id := strings.TrimPrefix(k.o.ZoneID, "/hostedzone/")
	err := k.request(ctx, "GetHostedZone", func(ctx context.Context) (err error) {
		z, err = k.o.API.Zone(ctx, id)
		return err
	})
	if err != nil {
		return Zone{}, fmt.Errorf("zone %s: %w", id, err)
	}
	if !z.Private {
		return Zone{}, publicOnly(z)
	}
	return z, k.fits(z)
}

// zoneByName finds the private zone of exactly this name. If there is a public one only, it comes with the error.
func (k *Keeper) zoneByName(ctx context.Context, name string) (Zone, error) {
	var zones []Zone
	err := k.request(ctx, "ListHostedZonesByName", func(ctx context.Context) (err error) {
		zones, err = k.o.API.ZonesNamed(ctx, name)
		return err
	})
	if err != nil {
		return Zone{}, fmt.Errorf("zone %s: %w", name, err)
	}
	var private []string
	var found, public Zone
	for _, z := range zones {
		if z.Private {
			private, found = append(private, z.ID), z
		} else {
			public = z
		}
	}
	switch {
	case len(private) == 1:
		return found, nil
	case len(private) > 1:
		return Zone{}, unfit("set discovery.zoneID to the one that the cluster's VPC uses",
			"%d private zones are called %s: %s", len(private), name, strings.Join(private, ", "))
	case public.ID != "":
		return public, publicOnly(public)
	}
	return Zone{}, missing("create a private hosted zone of that name, or correct the name", "no hosted zone is called %s", name)
}

func publicOnly(z Zone) error {
	return unfit("name a private hosted zone: private addresses do not belong into a public one",
		"zone %s (%s) is public", z.ID, z.Name)
}

func (k *Keeper) fits(z Zone) error {
	if z.contains(k.domain) {
		return nil
	}
	return unfit("name a private zone of which the cluster's domain is a part", "zone %s is called %s and cannot hold %s", z.ID, z.Name, k.domain)
}
