package plan

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Diff writes what turns the old plan into the new one: per item, in the order in which a boot meets them, the lines
// that change with three around them. It says whether there was anything.
func Diff(w io.Writer, old, now *Plan, color bool) (changed bool, err error) {
	var out bytes.Buffer
	paint := func(code, line string) {
		if color {
			line = "\x1b[" + code + "m" + line + "\x1b[0m"
		}
		out.WriteString(line + "\n")
	}
	before, after := items(old), items(now)
	for _, key := range union(before, after) {
		a, had := lookup(before, key)
		b, has := lookup(after, key)
		if had && has && a == b {
			continue
		}
		mark := map[bool]string{true: "~ ", false: "+ "}[had]
		if !has {
			mark = "- "
		}
		paint("1", mark+key)
		for _, line := range hunks(split(a), split(b), 3) {
			switch line[0] {
			case '+':
				paint("32", line)
			case '-':
				paint("31", line)
			case '@':
				paint("36", line)
			default:
				paint("0", line)
			}
		}
	}
	_, err = w.Write(out.Bytes())
	return out.Len() > 0, err
}

type item struct{ key, text string }

// items takes a plan apart into what can change on its own.
func items(p *Plan) (all []item) {
	add := func(key string, v any) {
		text, err := yaml.Dump(v, yaml.WithLineWidth(-1))
		if err != nil {
			text = []byte(err.Error() + "\n")
		}
		all = append(all, item{key, string(text)})
	}
	add("plan", map[string]string{"cluster": p.Cluster, "role": p.Role, "node": p.Node})
	for _, d := range p.Dirs {
		add("dir "+d.Path, d)
	}
	for _, a := range p.Assets {
		add("asset "+a.Object+" at "+a.Path, a)
	}
	for _, a := range p.Authorities {
		add("authority "+a.Name, a)
	}
	for _, c := range p.Certs {
		add("cert "+c.Path, c)
	}
	for _, e := range p.Etcd {
		add("etcd "+e.Name, e)
	}
	for _, f := range p.Files {
		head := fmt.Sprintf("# mode %04o\n", uint32(f.Mode))
		if f.From != "" {
			head += fmt.Sprintf("# from %s\n", f.From)
		}
		for _, in := range f.Inputs {
			head += fmt.Sprintf("# input %s\n", in)
		}
		if f.Exclusive != "" {
			head += fmt.Sprintf("# exclusive while %s runs\n", f.Exclusive)
		}
		all = append(all, item{"file " + f.Path, head + f.Content})
	}
	for i, u := range p.Units {
		add("unit "+u.Name, u)
		all[len(all)-1].text += fmt.Sprintf("# started as number %d\n", i+1)
	}
	for _, text := range p.Warnings {
		all = append(all, item{"warning: " + text, ""})
	}
	return all
}

func lookup(list []item, key string) (string, bool) {
	i := slices.IndexFunc(list, func(i item) bool { return i.key == key })
	if i < 0 {
		return "", false
	}
	return list[i].text, true
}

// union has the keys of both in the order of the new one; what only the old one has stands where it stood.
func union(before, after []item) []string {
	var keys []string
	for _, i := range after {
		keys = append(keys, i.key)
	}
	for n, i := range before {
		if slices.Contains(keys, i.key) {
			continue
		}
		at := 0
		if n > 0 {
			at = slices.Index(keys, before[n-1].key) + 1
		}
		keys = slices.Insert(keys, at, i.key)
	}
	return keys
}

func split(text string) []string {
	if text == "" {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if !strings.HasSuffix(text, "\n") {
		lines[len(lines)-1] += `  (no line end)`
	}
	return lines
}

// edit is one line of a comparison: ' ' kept, '-' dropped, '+' added; a and b count the lines before it.
type edit struct {
	op   byte
	line string
	a, b int
}

// edits compares by the longest common subsequence. What both begin and end with is cut off first, so the table stays
// small for files of the size that a plan has.
func edits(a, b []string) []edit {
	var head, tail int
	for head < min(len(a), len(b)) && a[head] == b[head] {
		head++
	}
	for tail < min(len(a), len(b))-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	x, y := a[head:len(a)-tail], b[head:len(b)-tail]
	if len(x)*len(y) > maxTable {
		return rewritten(a, b, head, tail)
	}
	length := make([][]int, len(x)+1)
	for i := range length {
		length[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var all []edit
	for i := range head {
		all = append(all, edit{' ', a[i], i, i})
	}
	i, j := 0, 0
	for i < len(x) || j < len(y) {
		at := edit{a: head + i, b: head + j}
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			at.op, at.line = ' ', x[i]
			i, j = i+1, j+1
		case j == len(y) || i < len(x) && length[i+1][j] >= length[i][j+1]:
			at.op, at.line = '-', x[i]
			i++
		default:
			at.op, at.line = '+', y[j]
			j++
		}
		all = append(all, at)
	}
	for k := range tail {
		i, j := len(a)-tail+k, len(b)-tail+k
		all = append(all, edit{' ', a[i], i, j})
	}
	return all
}

// maxTable bounds the memory of a comparison; beyond it a text counts as written anew.
const maxTable = 4 << 20

// rewritten drops the middle of a and adds that of b.
func rewritten(a, b []string, head, tail int) (all []edit) {
	for i := range head {
		all = append(all, edit{' ', a[i], i, i})
	}
	for i := head; i < len(a)-tail; i++ {
		all = append(all, edit{'-', a[i], i, head})
	}
	for j := head; j < len(b)-tail; j++ {
		all = append(all, edit{'+', b[j], len(a) - tail, j})
	}
	for k := range tail {
		all = append(all, edit{' ', a[len(a)-tail+k], len(a) - tail + k, len(b) - tail + k})
	}
	return all
}

// hunks writes the edits as unified diffs do, with some kept lines around each change.
func hunks(a, b []string, around int) (out []string) {
	all := edits(a, b)
	shown := make([]bool, len(all))
	for i, e := range all {
		if e.op != ' ' {
			for k := max(0, i-around); k < min(len(all), i+around+1); k++ {
				shown[k] = true
			}
		}
	}
	for i := 0; i < len(all); i++ {
		if !shown[i] {
			continue
		}
		end := i
		var inA, inB int
		for ; end < len(all) && shown[end]; end++ {
			inA += map[byte]int{' ': 1, '-': 1}[all[end].op]
			inB += map[byte]int{' ': 1, '+': 1}[all[end].op]
		}
		out = append(out, fmt.Sprintf("@@ -%s +%s @@", span(all[i].a, inA), span(all[i].b, inB)))
		for _, e := range all[i:end] {
			out = append(out, string(e.op)+e.line)
		}
		i = end
	}
	return out
}

// span is "first,count" as diff(1) writes it: an empty span names the line before it.
func span(before, count int) string {
	return fmt.Sprintf("%d,%d", before+cmp.Compare(count, 0), count)
}
