package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/store"
)

const cutEnv = "RESTORE_TEST_CUT"

// instruction is what a child process is told: restore, and be killed before step Cut; 0: never.
type instruction struct {
	Backup           backup.Entry
	Dir, Part, Store string
	Cut              int
}

// crashOrder has all steps.
func crashOrder(in instruction) Order {
	return Order{Backup: in.Backup, Dir: in.Dir, Part: in.Part, Name: "main-1", PeerURL: "http://127.0.0.1:2380", Token: "t-g4",
		Bump: 1000, Drop: []string{"/registry/masterleases/"}}
}

// cut is the child process. It prints its steps.
func cut() {
	var in instruction
	if err := json.Unmarshal([]byte(os.Getenv(cutEnv)), &in); err != nil {
		panic(err)
	}
	b := newBuild(crashOrder(in))
	n := 0
	b.Parallel = 1 // so that the steps come in one order
	b.step = func(what string) error {
		if n++; n == in.Cut {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		fmt.Println(what)
		return nil
	}
	if _, err := b.restore(context.Background(), store.NewDir(in.Store)); err != nil {
		panic(err)
	}
}

func restoreCut(t *testing.T, o Order, at int) (steps []string, killed bool) {
	t.Helper()
	in, err := json.Marshal(instruction{o.Backup, o.Dir, o.Part, shared.dir, at})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(deadline(t), os.Args[0])
	cmd.Env = append(os.Environ(), cutEnv+"="+string(in))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if exit := new(exec.ExitError); err != nil && (!errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n"), err != nil
}

// However a restore is cut, there is no data directory, or a whole one; and the next restore succeeds.
func TestKilledAtEveryStep(t *testing.T) {
	_, e := fixture(t)
	o := order(t, e)
	steps, _ := restoreCut(t, o, 0)
	inOrder(t, steps)
	for i, what := range steps {
		t.Run(strconv.Itoa(i+1)+" "+what, func(t *testing.T) {
			t.Parallel()
			o := order(t, e)
			if _, killed := restoreCut(t, o, i+1); !killed {
				t.Fatal("the restore went to its end")
			}
			if _, err := os.Lstat(o.Dir); errors.Is(err, fs.ErrNotExist) {
				if i > len(steps)-2 {
					t.Error("there is no data directory after the rename")
				}
				if _, killed := restoreCut(t, o, 0); killed {
					t.Fatal("killed")
				}
			}
			whole(t, o, 91) // the bump, and the masters' leases that are dropped
			sound(t, o.Dir)
		})
	}
}

// inOrder checks that everything is on the disk before it gets its name, as no kill can tell.
func inOrder(t *testing.T, steps []string) {
	t.Helper()
	text := strings.Join(steps, ", ")
	for _, pair := range [][2]string{
		{"remove Part", "make Part"}, {"create db", "write chunk"}, {"write chunk", "open db"}, {"rewrite db", "sync db"},
		{"rewrite db", "sync db, sync 0000000000000000-0000000000000000.wal"}, {"sync snap", "sync member"},
		{"sync member", "rename Part"}, {"sync wal", "sync member"}, {"rename Part", "sync parent"},
	} {
		if a, b := strings.LastIndex(text, pair[0]), strings.Index(text, pair[1]); a < 0 || b < 0 || a > b {
			t.Errorf("%q is not before %q in %s", pair[0], pair[1], text)
		}
	}
}
