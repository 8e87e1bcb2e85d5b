package status

import "errors"

// Reason is a stable code for what the node's state comes from. Dashboards and scripts match on it; it never changes
// its meaning.
type Reason string

// The reasons. docs/status.md explains each.
const (
	ReasonBooting        Reason = "Booting"
	ReasonReady          Reason = "Ready"
	ReasonConfigInvalid  Reason = "ConfigInvalid"
	ReasonIMDSUnreached  Reason = "IMDSUnreachable"
	ReasonRoleUnknown    Reason = "RoleUnknown"
	ReasonStoreUnreached Reason = "StoreUnreachable"
	ReasonStoreDenied    Reason = "StoreAccessDenied"
	ReasonAssetCorrupt   Reason = "AssetCorrupt"
	ReasonAssetMissing   Reason = "AssetMissing"
	ReasonSignature      Reason = "ManifestSignatureInvalid"
	ReasonPlanInvalid    Reason = "PlanInvalid"
	ReasonUnitFailed     Reason = "UnitFailed"
	ReasonApplyFailed    Reason = "ApplyFailed"
	ReasonEtcdBlocked    Reason = "EtcdBlocked"
	ReasonUnknown        Reason = "Unknown"
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

// Fail wraps err with a reason and a hint. A nil err stays nil.
func Fail(reason Reason, hint string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Reason: reason, Hint: hint, Err: err}
}

// ReasonOf is the reason that err carries, or ReasonUnknown.
func ReasonOf(err error) (Reason, string) {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason, e.Hint
	}
	return ReasonUnknown, ""
}
