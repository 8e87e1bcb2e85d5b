// Package route53 keeps a cluster's names in a private hosted zone, where there is Route 53: api.internal.<cluster> and
// etcd-<zone>.internal.<cluster>, with the addresses that membership gives them. Every master runs a Keeper; nothing in
// the cluster depends on it, so whatever Route 53 does shows in a status and is tried again later.
//
// What others have in the zone stays as it is: a record set is the keeper's when a TXT record beside it,
// _rekindle-<type>.<name>, carries the cluster's name. Both are written in one batch, which Route 53 applies as a whole
// or not at all, and which names the exact values that it replaces: of two masters that write at once one fails, and
// reads again. A write whose answer was lost is understood in the same way, by reading.
//
// The package needs route53:ListResourceRecordSets and route53:ChangeResourceRecordSets on the zone, and to find it
// route53:GetHostedZone (by id) or route53:ListHostedZonesByName (by name, or by the cluster's).
package route53
