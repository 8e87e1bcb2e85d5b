package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"rekindle/agent/apply"
	"rekindle/agent/assets"
	"rekindle/agent/plan"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

// identify tells the status who this node is.
func (a *Agent) identify(in *inputs) {
	self := in.facts.Instance
	name, _ := self.NodeName(in.config.Node.Name) // an impossible one is plan.Make's to refuse
	a.board.SetIdentity(status.Identity{Cluster: in.config.Cluster, Role: in.config.Role, Instance: self.ID, Node: name,
		Zone: self.Zone, Region: self.Region, Partition: self.Partition})
}

// tellAssets tells the status where assets come from, and what is wrong with that.
func (a *Agent) tellAssets(objects *assets.Store) {
	state := objects.State()
	shown := status.Assets{Source: state.Source, Manifest: state.Manifest, Signed: state.Signed,
		Verified: !state.Unverified, Stale: state.Stale != "", Objects: state.Objects}
	for _, object := range objects.Manifest().Objects {
		shown.Bytes += object.Size
	}
	a.board.SetAssets(shown)
	a.board.Resolve(status.ReasonAssetsUnverified)
	a.board.Resolve(status.ReasonManifestStale)
	if state.Unverified {
		a.board.Warn(status.ReasonAssetsUnverified, "", state.Source+" has no manifest: nothing that it delivers is verified")
	}
	if state.Stale != "" {
		a.board.Warn(status.ReasonManifestStale, "", "the manifest of last time is used: "+state.Stale)
	}
}

// warn shows the plan's warnings; those of the plan before are gone.
func (a *Agent) warn(warnings []string) {
	a.board.Resolve(status.ReasonPlanWarning)
	for _, warning := range warnings {
		a.board.Warn(status.ReasonPlanWarning, "", warning)
	}
}

// tellUnits shows what the plan's units are doing.
func (a *Agent) tellUnits(ctx context.Context, want *plan.Plan) {
	var units []status.Unit
	for _, unit := range want.Units {
		state, err := a.Units.State(ctx, unit.Name)
		shown := status.Unit{Name: unit.Name, State: state.Active}
		if err != nil {
			shown.State, shown.Message = "unknown", err.Error()
		}
		units = append(units, shown)
	}
	a.board.SetUnits(units...)
}

// digest tells one plan from another.
func digest(want *plan.Plan) string {
	h := sha256.New()
	if err := plan.Print(h, want); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}

// changed are the names of what a report changed.
func changed(report apply.Report) []string {
	names := make([]string, 0, len(report.Changes))
	for _, change := range report.Changes {
		names = append(names, change.Name)
	}
	return names
}

// tellDrift warns of what somebody changed behind the agent's back.
func (a *Agent) tellDrift(report apply.Report) {
	var drifted []string
	for _, change := range report.Changes {
		if change.Drift {
			drifted = append(drifted, change.String())
		}
	}
	if len(drifted) == 0 {
		return
	}
	const shown = 3
	text := strings.Join(drifted[:min(shown, len(drifted))], "; ")
	if more := len(drifted) - shown; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	a.board.Resolve(status.ReasonDriftRepaired) // the last time counts
	a.board.Warn(status.ReasonDriftRepaired, "", text)
}

// tellRenewals counts the certificates that were replaced.
func (a *Agent) tellRenewals(report apply.Report) {
	for _, change := range report.Changes {
		if change.Kind == "cert" && change.Action == "renew" {
			a.metrics.Renewed(1, 0)
		}
	}
}

// wrapUpTimeout bounds what is done after the boot: nothing waits for it but the end of the agent.
const wrapUpTimeout = time.Minute

// record leaves the boot's timeline in the store, for those who look when the node is gone. Not being allowed to is no
// failure of the node.
func (n *node) record(ctx context.Context, timeline *status.Timeline) error {
	key := path.Join("nodes", n.facts.Instance.ID, "boot.json")
	data, err := timeline.Snapshot().MarshalJSON()
	if err != nil {
		return err
	}
	_, err = n.records.Put(ctx, key, data, "")
	if errors.Is(err, store.ErrConflict) { // of an earlier boot
		var was store.Version
		if _, was, err = n.records.Get(ctx, key); err == nil {
			_, err = n.records.Put(ctx, key, data, was)
		}
	}
	if err != nil {
		return fmt.Errorf("the timeline stays on the node: %w", err)
	}
	return nil
}

// digests are what the manifest says of each object, for the plan; nil when nothing was published.
func (n *node) digests() map[string]string {
	digests := map[string]string{}
	for _, object := range n.objects.Manifest().Objects {
		digests[object.Path] = object.SHA256
	}
	return digests
}
