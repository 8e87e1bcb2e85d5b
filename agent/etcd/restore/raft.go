package restore

import (
	"encoding/json"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// The log that a restored member begins with has one entry: that it is the one member.
const (
	firstIndex = 1
	firstTerm  = 1
)

// log writes the raft log and the raft snapshot of the new cluster, which do not depend on the database. It comes first:
// later its syncs would wait for gigabytes that are on their way to the same disk.
func (b *build) log() error {
	urls, err := types.NewURLsMap(b.Name + "=" + b.PeerURL)
	if err != nil {
		return fmt.Errorf("peer URL %s: %w", b.PeerURL, err)
	}
	cluster, err := membership.NewClusterFromURLsMap(zap.NewNop(), b.Token, urls)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	b.member = cluster.MemberByName(b.Name)
	id := uint64(b.member.ID)
	metadata, err := (&etcdserverpb.Metadata{NodeID: id, ClusterID: uint64(cluster.ID())}).Marshal()
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	state := raftpb.ConfState{Voters: []uint64{id}}
	if err := b.writeLog(metadata, state); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if err := b.step("write raft snapshot"); err != nil {
		return err
	}
	err = snap.New(zap.NewNop(), b.snapDir()).SaveSnap(raftpb.Snapshot{
		Data:     etcdserver.GetMembershipInfoInV2Format(zap.NewNop(), cluster),
		Metadata: raftpb.SnapshotMetadata{Index: firstIndex, Term: firstTerm, ConfState: state},
	})
	if err != nil {
		return fmt.Errorf("raft snapshot: %w", err)
	}
	return nil
}

func (b *build) writeLog(metadata []byte, state raftpb.ConfState) (err error) {
	member, err := json.Marshal(b.member)
	if err != nil {
		return err
	}
	id := uint64(b.member.ID)
	change, err := (&raftpb.ConfChange{Type: raftpb.ConfChangeAddNode, NodeID: id, Context: member}).Marshal()
	if err != nil {
		return err
	}
	if err := b.step("create log"); err != nil {
		return err
	}
	w, err := wal.Create(zap.NewNop(), b.walDir(), metadata)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if err := b.step("write log"); err != nil {
		return err
	}
	entry := raftpb.Entry{Type: raftpb.EntryConfChange, Term: firstTerm, Index: firstIndex, Data: change}
	if err := w.Save(raftpb.HardState{Term: firstTerm, Vote: id, Commit: firstIndex}, []raftpb.Entry{entry}); err != nil {
		return err
	}
	return w.SaveSnapshot(walpb.Snapshot{Index: firstIndex, Term: firstTerm, ConfState: &state})
}
