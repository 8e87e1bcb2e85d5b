// Package store reads and writes the small mutable records of a cluster's store (lineage, CA, seeds) with
// compare-and-swap. Published objects, which never change, are package assets' business.
//
// A record that cannot be read is unknown, never absent: only ErrAbsent says that it is not there.
package store

import (
	"context"
	"errors"
)

// What a caller branches on. All other errors mean that the truth is unknown.
var (
	// ErrAbsent says that the store answered, and that there is no such record.
	ErrAbsent = errors.New("no such record")
	// ErrConflict says that another writer was there first: read again. After a lost response the other writer may
	// have been this one, so compare what the record holds (aws-sdk-java-v2#6580).
	ErrConflict = errors.New("the record changed")
)

// Version identifies the content that a Get or Put saw. The zero Version stands for a record that does not exist.
type Version string

// Records are the mutable objects under one prefix. Keys are relative, slash-separated: "etcd/main/lineage.json".
// Methods may be called concurrently.
type Records interface {
	// Get returns the record, or ErrAbsent.
	Get(ctx context.Context, key string) ([]byte, Version, error)
	// Put writes data if the record is still at version was (the zero Version: if it does not exist), else ErrConflict.
	Put(ctx context.Context, key string, data []byte, was Version) (Version, error)
	// List returns the keys under prefix, at most limit of them (0: all). An empty list means that the store said so.
	List(ctx context.Context, prefix string, limit int) ([]string, error)
	// Delete removes a record; one that does not exist is no error.
	Delete(ctx context.Context, key string) error
}

// MaxRecord bounds what Get reads, in bytes. Records are small; something larger is not one.
const MaxRecord = 4 << 20
