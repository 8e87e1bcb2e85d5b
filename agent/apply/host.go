package apply

import (
	"context"

	"rekindle/agent/plan"
)

// Host is the machine's files. Paths are those of the plan; the host puts its root before them, and follows links
// within it only. Package host has the real one.
type Host interface {
	// Path is where path really is.
	Path(path string) (string, error)
	// Look says what stands at path.
	Look(path string) (Entry, error)
	// Read reads a file.
	Read(path string) ([]byte, error)
	// Sum is the sha256 of a file, in hexadecimal.
	Sum(ctx context.Context, path string) (string, error)
	// List is the names in a directory, sorted; none when there is no such directory.
	List(path string) ([]string, error)
	// Mkdir makes one directory.
	Mkdir(path string, mode plan.Mode) error
	// Chmod gives a file or directory its mode.
	Chmod(path string, mode plan.Mode) error
	// Write puts files in place: all are staged, then all are renamed. It returns the paths that it renamed, also
	// with an error. The directories exist.
	Write(ctx context.Context, files ...File) (written []string, err error)
	// Block keeps content between markers of a file that has other owners too, and writes it in place. HasBlock tells
	// whether it is there.
	Block(ctx context.Context, path, marker string, content []byte) (changed bool, err error)
	HasBlock(path, marker string, content []byte) (bool, error)
	// Sync makes files durable that were written with Later.
	Sync(ctx context.Context, paths ...string) error
	// Remove removes a file, a link or an empty directory. What does not exist is removed already; a directory that
	// is not empty stays, without an error.
	Remove(path string) error
	// RemoveAll removes a directory that only the agent has used, with all that is in it.
	RemoveAll(path string) error
	// Sweep removes what a Write of these paths left when it was cut.
	Sweep(paths ...string) error
}

// The kinds of an Entry.
const (
	KindNone  = ""      // nothing is there
	KindFile  = "file"  // a regular file
	KindDir   = "dir"   // a directory, or a link to one
	KindLink  = "link"  // a link to anything else
	KindOther = "other" // a device, socket or pipe
)

// Entry is what stands at a path.
type Entry struct {
	Kind  string
	Mode  plan.Mode
	Link  string // where a link points
	Empty bool   // a directory with nothing in it
	Stamp Stamp
}

// Stamp tells whether a file is still the one that was written, without reading it.
type Stamp struct {
	Size  int64  `json:"size"`
	MTime int64  `json:"mtime"` // nanoseconds
	CTime int64  `json:"ctime"`
	Inode uint64 `json:"inode"`
}

// File is a file to be written. Exactly one of Content and From counts.
type File struct {
	Path    string
	Mode    plan.Mode
	Content []byte
	From    string // a file on the real filesystem, to be copied
	Move    bool   // From, which may be a link, is renamed into place instead
	Later   bool   // Sync will make it durable: large files should not hold up a boot
}
