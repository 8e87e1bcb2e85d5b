// Package assets brings what an operator published to the node: from a store in S3, a mirror or a directory, into a
// content-addressed cache on disk, verified.
//
// A store holds objects under objects/<sha256> and one manifest.json that maps paths to them. The manifest is the
// root of trust: minisign vouches for it, it vouches for the digest of every 8 MiB chunk, and what arrives is verified
// chunk by chunk while it streams to its place in the file. So a download resumes at a chunk, a corrupt chunk is fetched
// again alone and from another source, and no chunk is ever held in memory.
//
// To add a kind of source, implement Source (and Target, if it can be published to), give it a scheme in ParseSource,
// and add it to the suite in source_test.go.
package assets
