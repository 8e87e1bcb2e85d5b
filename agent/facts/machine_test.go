package facts

import (
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"
)

func tree(name string) System {
	dir := filepath.Join("testdata", name)
	return System{Root: "/nonexistent", Proc: filepath.Join(dir, "proc"), Sys: filepath.Join(dir, "sys")}
}

func TestMachine(t *testing.T) {
	m, err := tree("nitro").machine()
	if err != nil {
		t.Fatal(err)
	}
	if m.Kernel != "6.1.0-32-cloud-amd64" || m.CPUs != 2 || m.MemoryBytes != 8029728<<10 || !m.CgroupV2 || m.Arch != runtime.GOARCH {
		t.Errorf("%+v", m)
	}
	want := []Disk{
		{
			Name: "nvme0n1", Path: "/dev/nvme0n1", Bytes: 20 * gibi, Model: modelEBS, Serial: "vol0123456789abcdef0",
			VolumeID: "vol-0123456789abcdef0", Mounts: []string{"/", "/boot/efi"}, Partitions: []string{"nvme0n1p1", "nvme0n1p15"},
		},
		{
			Name: "nvme1n1", Path: "/dev/nvme1n1", Bytes: 50 * gibi, Model: modelEBS, Serial: "vol0fedcba9876543210",
			VolumeID: "vol-0fedcba9876543210", Mounts: []string{"/var/lib/etcd", "/mnt/with space"},
		},
		{
			Name: "nvme2n1", Path: "/dev/nvme2n1", Bytes: 75_000_000_000, Model: "Amazon EC2 NVMe Instance Storage",
			Serial: "AWS1A2B3C4D5E6F70819",
		},
	}
	if !reflect.DeepEqual(m.Disks, want) {
		t.Errorf("disks\n%+v\nwant\n%+v", m.Disks, want)
	}
}

func TestMachineXen(t *testing.T) {
	m, err := tree("xen").machine()
	if err != nil {
		t.Fatal(err)
	}
	want := []Disk{{Name: "xvda", Path: "/dev/xvda", Bytes: 8 * gibi, Mounts: []string{"/"}, Partitions: []string{"xvda1"}}}
	if m.CgroupV2 || m.CPUs != 1 || !reflect.DeepEqual(m.Disks, want) {
		t.Errorf("%+v", m)
	}
}

func TestThisMachine(t *testing.T) {
	m, err := System{}.machine()
	if err != nil {
		t.Fatal(err)
	}
	if m.Kernel == "" || m.CPUs < 1 || m.MemoryBytes < 1<<26 || m.StorageBytes < 1<<20 || m.Hostname == "" {
		t.Errorf("%+v", m)
	}
}

func TestMachineWithoutProc(t *testing.T) {
	if m, err := (System{Proc: "/nonexistent"}).machine(); err == nil {
		t.Errorf("%+v", m)
	}
}

func TestParseMeminfo(t *testing.T) {
	for _, bad := range []string{"", "MemFree: 1 kB\n", "MemTotal: many kB\n", "MemTotal:\n"} {
		if n, err := parseMeminfo([]byte(bad)); err == nil {
			t.Errorf("%q: %d", bad, n)
		}
	}
}

func TestParseCPUList(t *testing.T) {
	for list, want := range map[string]int{"0\n": 1, "0-3\n": 4, "0-1,4,6-7": 5, "0-191": 192} {
		if got, err := parseCPUList(list); got != want || err != nil {
			t.Errorf("%q: %d, %v", list, got, err)
		}
	}
	for _, bad := range []string{"", "a", "3-1", "0-", "-1"} {
		if n, err := parseCPUList(bad); err == nil {
			t.Errorf("%q: %d", bad, n)
		}
	}
}

func TestVolumeID(t *testing.T) {
	for serial, want := range map[string]string{
		"vol0123456789abcdef0": "vol-0123456789abcdef0", "vol-0123456789abcdef0": "vol-0123456789abcdef0",
		"AWS1A2B": "", "vol": "", "": "",
	} {
		if got := volumeID(serial); got != want {
			t.Errorf("%q: %q", serial, got)
		}
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add([]byte("22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw\n"))
	f.Add([]byte("1 2 3 / \\040 -"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for device, points := range parseMountinfo(data) {
			if device == "" || len(points) == 0 {
				t.Errorf("%q: %q", device, points)
			}
		}
	})
}

func TestResolvConf(t *testing.T) {
	const stub, real = "nameserver 127.0.0.53\noptions edns0\n", "search corp\nnameserver 10.0.0.2\n"
	for _, tt := range []struct{ etc, resolved, want string }{
		{"", "", ""},
		{real, "", "/etc/resolv.conf"},
		{real, real, "/etc/resolv.conf"},
		{stub, real, "/run/systemd/resolve/resolv.conf"},
		{"nameserver 127.0.0.1\nnameserver ::1\n", real, "/run/systemd/resolve/resolv.conf"},
		{stub + "nameserver 10.0.0.2\n", real, "/etc/resolv.conf"},
		{stub, "", "/etc/resolv.conf"},
		{stub, "search corp\n", "/etc/resolv.conf"},
	} {
		root := t.TempDir()
		put(t, root, "etc/resolv.conf", tt.etc, 0o644)
		put(t, root, "run/systemd/resolve/resolv.conf", tt.resolved, 0o644)
		if got := (System{Root: root}).resolvConf(); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

// put writes a file below root; without content there is none.
func put(t *testing.T, root, path, content string, mode os.FileMode) {
	t.Helper()
	if content == "" {
		return
	}
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}
