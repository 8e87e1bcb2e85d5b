package status

// Explanation is what docs/status.md says about a reason at more length.
type Explanation struct {
	Reason  Reason
	Meaning string // one clause
	Hint    string // what to do when the error itself does not say; empty where nothing is to be done
}

// Hint is what to do about r in general.
func (r Reason) Hint() string {
	for _, e := range Reasons() {
		if e.Reason == r {
			return e.Hint
		}
	}
	return ""
}

// Reasons explains every reason, in the order of reason.go.
func Reasons() []Explanation {
	return []Explanation{
		{ReasonBooting, "the agent is bringing the node up", ""},
		{ReasonReady, "the node is what its plan wants", ""},
		{ReasonConfigInvalid, "a layer of the configuration does not parse or does not hold together",
			"run `rekindle check FILE` on the layer named in the message, correct it, and launch or restart"},
		{ReasonIMDSUnreached, "the instance metadata service gave no usable answer",
			"check that the instance has its metadata endpoint enabled and a hop limit of 2 if the agent runs in a container: " +
				"aws ec2 modify-instance-metadata-options --http-endpoint enabled"},
		{ReasonRoleUnknown, "no layer of the configuration and no tag says what this node is to be",
			"tag the instance with rekindle:role (propagated from its Auto Scaling group), or set `role` in user-data"},
		{ReasonTagsDenied, "the instance's tags may not be read",
			"enable tags in instance metadata (--instance-metadata-tags enabled), or allow ec2:DescribeTags to its role"},
		{ReasonCredentials, "the instance has no usable AWS credentials",
			"attach an instance profile whose role may read the store (s3:GetObject, s3:ListBucket)"},
		{ReasonNetworkDown, "the machine has no link, address or default route",
			"look at `networkctl status` and at the route table of the subnet"},
		{ReasonStoreUnreached, "no store or mirror answered",
			"check the S3 gateway endpoint, the route table and the security group of the subnet, then the URL of the store"},
		{ReasonStoreDenied, "the store refused access",
			"allow s3:GetObject and s3:ListBucket on the store to the instance's role, " +
				"and kms:Decrypt when the bucket is encrypted with a key of your own"},
		{ReasonAssetCorrupt, "an asset differs from its published digest on every source",
			"publish it again with `rekindle publish DIR STORE`, and find out who wrote the object that differs"},
		{ReasonAssetMissing, "an asset that the role needs is not published",
			"add it to the directory that you publish and run `rekindle publish DIR STORE`"},
		{ReasonSignature, "the manifest's signature does not fit the configured key",
			"sign with `rekindle publish --sign KEY`, or correct the public key in the configuration; " +
				"if neither changed, treat the store as tampered with"},
		{ReasonPlanInvalid, "configuration, facts and role do not make a plan",
			"reproduce it with `rekindle plan --config FILE --facts FILE` and correct the role or the configuration"},
		{ReasonUnitFailed, "a unit did not start, or stopped",
			"read `journalctl -u UNIT`; the agent starts it again by itself"},
		{ReasonApplyFailed, "a change to the machine could not be made",
			"read the path in the message; `rekindle plan --diff` shows what is left to change"},
		{ReasonDiskFull, "a file system has no space left",
			"look at `df -h` and `df -i`, and give the instance a larger volume"},
		{ReasonEtcdBlocked, "etcd cannot be started without risk to the cluster's data",
			"do what the message says; nothing was deleted, and the agent looks again by itself"},
		{ReasonPKIBlocked, "an authority of the cluster cannot be used, or created, without risk of a second one",
			"do what the message says; no key was deleted or replaced, and the agent looks again by itself"},
		{ReasonJoinUnreached, "no master answered that could sign the node's certificates",
			"check that a master is ready, and that its security group lets this node reach TCP port 3988"},
		{ReasonJoinRefused, "a master refused to sign the node's certificates",
			"do what the message says; the reason is in the master's journal as well, and the node asks again by itself"},
		{ReasonDeadline, "something that was waited for did not come in time",
			"see in the message what was waited for; the agent tries again by itself"},
		{ReasonInterrupted, "the agent was told to stop before it was done",
			"start it again: systemctl start rekindle"},
		{ReasonUnknown, "an error that has no reason of its own",
			"read `journalctl -u rekindle`, and report it: every error should have a reason"},

		{ReasonAssetsUnverified, "assets were taken from a prefix without a manifest (`assets.unverified: true`)",
			"publish with `rekindle publish DIR STORE` and remove assets.unverified"},
		{ReasonManifestStale, "no source answered, so the manifest of an earlier boot was used",
			"check that the store can be reached from this subnet"},
		{ReasonInstanceType, "the number of addresses of this instance type is not known, so 110 pods are assumed",
			"set the number of pods in the configuration, or use a newer agent"},
		{ReasonUserDataLarge, "the user-data is close to EC2's limit of 16384 bytes",
			"move what all nodes share into cluster.yaml in the store"},
		{ReasonConfigWarning, "something in the configuration works, but is probably not what was meant, or is an older form",
			"run `rekindle check FILE`, which names the line and what to write instead"},
		{ReasonPlanWarning, "the role, with this configuration on this node, makes a plan that works but leaves something out",
			"read the message; `rekindle plan` shows what the plan is"},
		{ReasonDriftRepaired, "something on the machine was changed by hand and put back",
			"make the change in the configuration or in an overlay instead"},
		{ReasonCertificate, "a certificate is due and could not be renewed; the present one still counts",
			"read the message; `rekindle pki check` shows how long it still counts"},
		{ReasonJoinOff, "this master does not serve joins, so new nodes get no certificates from it",
			"read the message; no other process may use TCP port 3988"},
		{ReasonMetricsOff, "the agent's metrics are not served, so Prometheus cannot see this node",
			"free the port, or set metrics.listen to another address or to off, and then: systemctl restart rekindle"},

		{ReasonGossipOff, "this node takes no part in gossip: it hears late of nodes that come or go, and others do not hear of it",
			"read the message; without a key, let the instance's role read the one that discovery.gossip.keyring " +
				"names, or discovery/keyring.json in the store; no other process may use TCP and UDP port 3987"},
		{ReasonNoMaster, "no master is known to live, so nothing on this node reaches the API",
			"look whether a master runs (`rekindle status` there), and whether the security groups let this node " +
				"reach it: TCP and UDP port 3987, and TCP port 6443"},
		{ReasonAPIProxyOff, "the node's proxy to the API servers takes no connections, so kubelet reaches none of them",
			"read the message; no other process may listen at the proxy's address"},
		{ReasonAPIUnreached, "masters are known, and the API server of none is ready and within reach",
			"run `rekindle status` on a master, and let its security group admit this node at the port of the API " +
				"server"},
		{ReasonRoute53Denied, "Route 53 refuses what keeps the cluster's names in its zone; the names in /etc/hosts are kept all the same",
			"allow route53:ListResourceRecordSets, route53:ChangeResourceRecordSets, " +
				"route53:GetHostedZone and route53:ListHostedZonesByName to the masters' role, or set discovery.mode to gossip"},
		{ReasonRoute53Unusable, "there is no hosted zone that can hold the cluster's names",
			"set discovery.zoneID to a private zone of which the cluster's domain is a part, or discovery.mode to " +
				"gossip"},
		{ReasonRoute53Foreign, "a name of the cluster is in the zone already, and not one that rekindle wrote: it is left as it is",
			"remove the record that the message names, if nobody needs it; it is written again within minutes"},

		{ReasonEtcdRecordGone, "etcd runs, and its lineage is gone from the store: no master that is replaced can join it any more",
			"bring etcd/*/lineage.json back from the bucket's older versions, or say what is true with `rekindle etcd adopt`"},
		{ReasonEtcdRecordUnknown, "nobody can tell what etcd's lineage says, so nothing but a member's own data starts",
			"allow s3:GetObject, s3:PutObject and s3:ListBucket on the store to the instance's role, and check the way to it"},
		{ReasonEtcdNoBackup, "no backup of the cluster's generation is known: a loss of all masters would lose what was written in it",
			"do what the message says; `rekindle etcd snapshot` takes one by hand"},
		{ReasonEtcdBackupFailing, "no full backup of etcd was finished for three intervals",
			"do what the message says: s3:PutObject and s3:AbortMultipartUpload on the store, room in etcd.backup.spoolDir"},
		{ReasonEtcdDeltaLag, "what was written to etcd in the last minutes is not in the store: a loss of all masters would lose it",
			"read the message; look at the way to the store, and at how much etcd writes"},
		{ReasonEtcdDrillFailed, "the last try to restore the newest backup failed",
			"run `rekindle etcd verify` on the backup, and keep older ones until a drill has passed"},
		{ReasonEtcdMembersDiffer, "etcd's members hold different data at the same revision",
			"terminate the instance of the member that the message names, and another joins in its place; if it names none, " +
				"compare them with a backup (`rekindle etcd verify`)"},
		{ReasonEtcdAlarm, "etcd has raised an alarm: NOSPACE takes no more writes, CORRUPT is for the operator to solve",
			"do what the message says; for NOSPACE delete keys that nobody needs, or raise etcd.quotaBytes"},
		{ReasonEtcdDataSetAside, "data of a member that could not be started lies beside the data directory",
			"when the cluster has all its data, remove the directory that the message names"},

		{ReasonAgentStopped, "the process that wrote the status is gone",
			"start it with `systemctl start rekindle`, and read `journalctl -u rekindle` for why it ended"},
		{ReasonAgentSilent, "the process that wrote the status runs, but has not written for a while",
			"look for a full /run, a frozen or starved machine; `journalctl -u rekindle` says when it could not write"},
	}
}
