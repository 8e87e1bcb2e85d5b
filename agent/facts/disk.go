package facts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// modelEBS is the NVMe model of an EBS volume; instance store says "Amazon EC2 NVMe Instance Storage".
const modelEBS = "Amazon Elastic Block Store"

// virtualDisks are names in /sys/block that are no disks.
var virtualDisks = []string{"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"}

// disks reads /sys/block, ordered by name.
func (s System) disks() ([]Disk, error) {
	entries, err := os.ReadDir(s.sys("block"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a container without sysfs
	}
	if err != nil {
		return nil, fmt.Errorf("disks: %w", err)
	}
	mounts, err := os.ReadFile(s.proc("self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("disks: %w", err)
	}
	mounted := parseMountinfo(mounts)
	var disks []Disk
	for _, e := range entries {
		name := e.Name()
		if slices.ContainsFunc(virtualDisks, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		if d, ok := s.disk(name, mounted); ok {
			disks = append(disks, d)
		}
	}
	return disks, nil
}

// disk reads one disk; not ok when it has no size (a card reader, or a volume that is just being detached).
func (s System) disk(name string, mounted map[string][]string) (Disk, bool) {
	dir := filepath.Join(s.sys("block"), name)
	sectors, err := strconv.ParseInt(attribute(dir, "size"), 10, 54)
	if err != nil || sectors == 0 {
		return Disk{}, false
	}
	d := Disk{
		Name:       name,
		Path:       "/dev/" + name,
		Bytes:      sectors * 512, // always of 512 bytes, whatever the disk's own are
		Model:      attribute(dir, "device/model"),
		Serial:     attribute(dir, "device/serial"),
		Rotational: attribute(dir, "queue/rotational") == "1",
		Mounts:     slices.Clone(mounted[attribute(dir, "dev")]),
	}
	if d.Serial == "" {
		d.Serial = attribute(dir, "serial") // virtio has it here
	}
	if d.Model == modelEBS {
		d.VolumeID = volumeID(d.Serial)
	}
	partitions, err := filepath.Glob(filepath.Join(dir, name+"*", "partition"))
	if err != nil {
		return d, true // only for a malformed pattern
	}
	for _, p := range partitions {
		part := filepath.Dir(p)
		d.Partitions = append(d.Partitions, filepath.Base(part))
		d.Mounts = append(d.Mounts, mounted[attribute(part, "dev")]...)
	}
	slices.Sort(d.Partitions)
	return d, true
}

// volumeID is "vol-0123456789abcdef0" for the serial "vol0123456789abcdef0".
func volumeID(serial string) string {
	hex, ok := strings.CutPrefix(serial, "vol")
	if !ok || hex == "" {
		return ""
	}
	return "vol-" + strings.TrimPrefix(hex, "-")
}

// attribute is a sysfs value without the padding that NVMe adds, or "".
func attribute(dir, name string) string {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// parseMountinfo maps device numbers ("259:1") to where they are mounted, in the order of /proc/self/mountinfo.
// Bind mounts of a part of a file system are left out: the volume is not mounted there.
func parseMountinfo(data []byte) map[string][]string {
	mounted := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line) // id, parent, major:minor, root, mount point, ...
		if len(fields) < 7 || fields[3] != "/" || !slices.Contains(fields[6:], "-") {
			continue
		}
		point := unescapeMount(fields[4])
		if !slices.Contains(mounted[fields[2]], point) {
			mounted[fields[2]] = append(mounted[fields[2]], point)
		}
	}
	return mounted
}

// unescapeMount resolves the octal escapes of space, tab, newline and backslash.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
