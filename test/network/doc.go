// Package network boots whole clusters whose nodes are in network namespaces of their own, and takes the network between them
// away: it loses and delays packets, cuts nodes off from each other, in both directions or in one, and has masters come back
// under other addresses. All the while a client on each minion asks an API server ten times a second through the minion's proxy.
//
// The agents, etcd and S3 are real; API servers and kubelets are stand-ins, and the switch that nodes are plugged into is
// package vpc. It takes root:
//
//	go test -tags network -count=1 -timeout 15m ./network
package network
