package datadir

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copyBlock is how much is copied between two looks at the context.
const copyBlock = 64 << 20

// copyFile copies a file and makes the copy durable. Where the file system shares blocks between files, XFS with reflinks for
// one, no byte moves; else the kernel copies.
func copyFile(ctx context.Context, from, to string) (err error) {
	in, err := openRegular(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		if err := copyBlocks(ctx, out, in); err != nil {
			return err
		}
	}
	return out.Sync()
}

func copyBlocks(ctx context.Context, out, in *os.File) error {
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := io.CopyN(out, in, copyBlock) // copy_file_range, where the kernel can
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n < copyBlock {
			return nil
		}
	}
}
