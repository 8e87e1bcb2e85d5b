package status

import (
	"cmp"
	"context"
	"errors"
	"syscall"
)

// Reason is a stable code for what the node's state comes from. Dashboards and scripts match on it; it never changes
// its meaning.
type Reason string

// The reasons of a state.
const (
	ReasonBooting        Reason = "Booting"
	ReasonReady          Reason = "Ready"
	ReasonConfigInvalid  Reason = "ConfigInvalid"
	ReasonIMDSUnreached  Reason = "IMDSUnreachable"
	ReasonRoleUnknown    Reason = "RoleUnknown"
	ReasonTagsDenied     Reason = "TagsAccessDenied"
	ReasonCredentials    Reason = "CredentialsMissing"
	ReasonNetworkDown    Reason = "NetworkDown"
	ReasonStoreUnreached Reason = "StoreUnreachable"
	ReasonStoreDenied    Reason = "StoreAccessDenied"
	ReasonAssetCorrupt   Reason = "AssetCorrupt"
	ReasonAssetMissing   Reason = "AssetMissing"
	ReasonSignature      Reason = "ManifestSignatureInvalid"
	ReasonPlanInvalid    Reason = "PlanInvalid"
	ReasonUnitFailed     Reason = "UnitFailed"
	ReasonApplyFailed    Reason = "ApplyFailed"
	ReasonDiskFull       Reason = "DiskFull"
	ReasonEtcdBlocked    Reason = "EtcdBlocked"
	ReasonPKIBlocked     Reason = "PKIBlocked"
	ReasonJoinUnreached  Reason = "JoinUnreachable"
	ReasonJoinRefused    Reason = "JoinRefused"
	ReasonDeadline       Reason = "DeadlineExceeded"
	ReasonInterrupted    Reason = "Interrupted"
	ReasonUnknown        Reason = "Unknown"
)

// The reasons of a warning.
const (
	ReasonAssetsUnverified Reason = "AssetsUnverified"
	ReasonManifestStale    Reason = "ManifestStale"
	ReasonInstanceType     Reason = "InstanceTypeUnknown"
	ReasonUserDataLarge    Reason = "UserDataNearLimit"
	ReasonConfigWarning    Reason = "ConfigWarning"
	ReasonPlanWarning      Reason = "PlanWarning"
	ReasonDriftRepaired    Reason = "DriftRepaired"
	ReasonCertificate      Reason = "CertificateNotRenewed"
	ReasonJoinOff          Reason = "JoinNotServed"
	ReasonMetricsOff       Reason = "MetricsNotServed"

	ReasonGossipOff       Reason = "GossipOff"
	ReasonNoMaster        Reason = "NoMasterKnown"
	ReasonAPIProxyOff     Reason = "APIProxyOff"
	ReasonAPIUnreached    Reason = "APIUnreachable"
	ReasonRoute53Denied   Reason = "Route53Denied"
	ReasonRoute53Unusable Reason = "Route53ZoneUnusable"
	ReasonRoute53Foreign  Reason = "Route53NameForeign"

	ReasonEtcdRecordGone    Reason = "EtcdRecordGone"
	ReasonEtcdRecordUnknown Reason = "EtcdRecordUnknown"
	ReasonEtcdNoBackup      Reason = "EtcdNoBackup"
	ReasonEtcdBackupFailing Reason = "EtcdBackupFailing"
	ReasonEtcdDeltaLag      Reason = "EtcdDeltaLag"
	ReasonEtcdDrillFailed   Reason = "EtcdDrillFailed"
	ReasonEtcdMembersDiffer Reason = "EtcdMembersDiffer"
	ReasonEtcdAlarm         Reason = "EtcdAlarm"
	ReasonEtcdDataSetAside  Reason = "EtcdDataSetAside"
)

// The reasons why a status file is history.
const (
	ReasonAgentStopped Reason = "AgentNotRunning"
	ReasonAgentSilent  Reason = "AgentSilent"
)

// Error is an error an operator meets: a reason code, and what to do about it.
type Error struct {
	Reason Reason
	Hint   string // one sentence: what to do, naming the command or the IAM action
	Err    error
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + " (" + e.Hint + ")"
}

func (e *Error) Unwrap() error { return e.Err }

// Fail wraps err with a reason and a hint. A nil err stays nil. Without a hint the reason's own is shown.
func Fail(reason Reason, hint string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Reason: reason, Hint: hint, Err: err}
}

// ReasonOf is the reason that err carries, and what to do, or ReasonUnknown. The outermost reason counts: who wraps an
// error again knows more about what it means.
func ReasonOf(err error) (Reason, string) {
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		return ReasonUnknown, ""
	case e.Hint == "":
		return e.Reason, e.Reason.Hint()
	}
	return e.Reason, e.Hint
}

// Explain is ReasonOf for whoever shows it: an error without a reason may still be a deadline, an interruption or a full
// disk, and there is always something to do.
func Explain(err error) (Reason, string) {
	reason, hint := ReasonOf(err)
	if err == nil || reason != ReasonUnknown {
		return reason, hint
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		reason = ReasonDiskFull
	case errors.Is(err, context.DeadlineExceeded):
		reason = ReasonDeadline
	case errors.Is(err, context.Canceled):
		reason = ReasonInterrupted
	}
	return reason, cmp.Or(hint, reason.Hint())
}

// Message is the text of err without its hint, for places that show the hint on its own.
func Message(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if e, ok := errors.AsType[*Error](err); ok && e.Hint != "" {
		before, after := cutLast(text, " ("+e.Hint+")")
		text = before + after
	}
	return text
}
