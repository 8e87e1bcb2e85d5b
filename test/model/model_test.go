// Package model checks the protocol of docs/lineage.md with spin, and that spin finds the mistakes that one could make in
// it. README.md says what is modelled.
package model

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var sources = []string{"lineage.pml", "state.pml"}

// A run is one search of the model.
type run struct {
	name    string
	defines string // what is in it, and the mistake
	search  search
}

type search struct{ gcc, pan string }

var (
	every    = search{"-DSAFETY", ""}  // every state: assertions
	circles  = search{"-DNP", "-l"}    // every state, and no way to go on for ever
	shortest = search{"-DBFS", ""}     // breadth first: the trail is the shortest there is
	quickest = search{"-DSAFETY", "-"} // depth first, where breadth first would need too much memory
)

// right are the searches that must find nothing. README.md says what each leaves out.
var right = []run{
	{"four masters", "-DN=4 -DFAULTS=2 -DGENS=2", every},
	{"three masters", "-DN=3 -DFAULTS=4", every},
	{"volumes that return", "-DN=3 -DFAULTS=2 -DRETURN -DGENS=3", every},
	{"the write", "-DSAMPLE=199 -DN=3 -DFAULTS=2 -DLOG -DGENS=3", every},
	{"late swaps", "-DN=3 -DFAULTS=2 -DLATE -DGENS=2", every},
	{"late swaps and volumes that return", "-DN=2 -DFIRST=2 -DFAULTS=3 -DLATE -DRETURN -DGENS=3", every},
	{"stopped instances and the operator", "-DN=3 -DFAULTS=3 -DKNOWN -DSTOPS -DOPLOST -DGENS=3", every},
	{"a deleted record", "-DSAMPLE=97 -DN=3 -DFAULTS=3 -DVANISH", every},
	{"ends, with replacements", "-DLIVE -DN=5 -DFAULTS=3", every},
	{"ends, without replacements", "-DLIVE -DN=3 -DFAULTS=4", every},
	{"ends, with volumes that return", "-DLIVE -DN=3 -DFAULTS=3 -DRETURN", every},
	{"ends, with a replacement, volumes and stopped instances", "-DSAMPLE=53 -DLIVE -DN=4 -DFAULTS=2 -DRETURN -DSTOPS", every},
	{"ends, with the write and a replacement", "-DSAMPLE=53 -DLIVE -DN=4 -DFAULTS=2 -DLOG", every},
	{"ends, with instances stopped for good", "-DLIVE -DN=4 -DFAULTS=3 -DSTOPS -DSTAY", every},
	{"ends, with two masters", "-DSAMPLE=53 -DLIVE -DN=2 -DFIRST=2 -DFAULTS=3 -DRETURN -DSTOPS -DLOG", every},
	{"no circles", "-DLIVE -DN=4 -DFAULTS=2 -DRETURN", circles},
}

// wrong are searches that must find an error: mistakes in carrying the protocol out (M), and the protocol as it was before
// the model found a hole in it (H).
var wrong = []run{
	{"M1 the record is written after the change", "-DM1 -DN=3 -DFAULTS=2", shortest},
	{"M2 a failed ping is taken for dead", "-DM2 -DN=2 -DFIRST=2 -DFAULTS=2", shortest},
	{"M3 an absent record is taken for new", "-DM3 -DN=2 -DFIRST=2 -DFAULTS=2 -DVANISH", shortest},
	{"M4 restore without the learner that is being promoted", "-DM4 -DN=2 -DFIRST=2 -DFAULTS=2 -DLOG", shortest},
	{"M5 a volume returns without a swap", "-DM5 -DN=2 -DFIRST=2 -DFAULTS=2 -DRETURN", shortest},
	{"M6 a change is taken over, its learner left", "-DM6 -DN=3 -DFAULTS=2", shortest},
	{"M7 no look at the generation: stopped instances", "-DM7 -DN=2 -DFIRST=2 -DFAULTS=3 -DKNOWN -DSTOPS -DOPLOST", shortest},
	{"M7 no look at the generation: never whole again", "-DM7 -DLIVE -DN=3 -DFAULTS=2", shortest},
	{"M8 a survivor with less rescues", "-DM8 -DN=3 -DFAULTS=2 -DLOG -DGENS=3", shortest},
	{"M9 a conflict is taken for one's own write", "-DM9 -DN=2 -DFIRST=2 -DFAULTS=2", shortest},
	{"M10 an unknown record is taken for new", "-DM10 -DN=2 -DFIRST=2 -DFAULTS=2", shortest},
	{"M11 a restore while a survivor is left", "-DM11 -DLIVE -DN=4 -DFAULTS=2 -DLOG -DGENS=3", shortest},
	{"H1 the target of a change counts as alive", "-DH1 -DLIVE -DN=3 -DFAULTS=2", shortest},
	{"H2 a learner that is left alone", "-DH2 -DLIVE -DN=2 -DFIRST=2 -DFAULTS=2", shortest},
	{"H3 a first member's volume returns, its holder stays the same", "-DH3 -DN=2 -DFIRST=2 -DFAULTS=2 -DRETURN", shortest},
	{"H4 a disk that is seen again stays lost", "-DH4 -DLIVE -DN=3 -DFAULTS=2 -DRETURN", shortest},
	{"H6 a removal that was sent is called off", "-DH6 -DLIVE -DN=3 -DFAULTS=4", shortest},
	{"H7 a learner that was added late", "-DH7 -DLIVE -DN=3 -DFAULTS=2", shortest},
	{"H8 the target of a removal comes back", "-DH8 -DLIVE -DN=3 -DFAULTS=3 -DRETURN", quickest},
	{"H9 lost is written before it is noted", "-DH9 -DN=2 -DFIRST=2 -DFAULTS=2 -DRETURN", shortest},
	{"H10 the operator's lost for an instance that starts again", "-DN=2 -DFIRST=2 -DFAULTS=4 -DSTOPS -DOPLOST", shortest},
	{"the states left to the operator are reached", "-DLIVE -DSTRICT -DN=4 -DFAULTS=3 -DSTOPS -DSTAY", shortest},
}

func TestModel(t *testing.T) {
	tools(t)
	var mutex sync.Mutex
	reached, taken := map[string]bool{}, map[string]int{}
	t.Run("right", func(t *testing.T) {
		for _, run := range right {
			t.Run(run.name, func(t *testing.T) {
				t.Parallel()
				_, result := verify(t, run)
				if result.errors != "0" || !result.full {
					t.Fatalf("errors: %s, full search: %v; read the trail as README.md says\n%s", result.errors, result.full, result.output)
				}
				t.Logf("%s states", result.states)
				var rows map[string]int
				if strings.Contains(run.defines, "-DSAMPLE") {
					rows = decides(t, run, result.output)
				}
				mutex.Lock()
				defer mutex.Unlock()
				for name, n := range rows {
					taken[name] += n
				}
				for _, step := range result.reached {
					reached[step] = true
				}
			})
		}
	})
	for _, step := range steps(t) {
		if !t.Failed() && !reached[step] {
			t.Errorf("no search reaches the step %q: the model does not try it", step)
		}
	}
	for row := range standsFor {
		if !t.Failed() && taken[row] == 0 && !untaken[row] {
			t.Errorf("row %q of etcd.Decide was taken in no state", row)
		}
	}
}

func TestMistakesAreFound(t *testing.T) {
	tools(t)
	for _, run := range wrong {
		t.Run(run.name, func(t *testing.T) {
			t.Parallel()
			dir, result := verify(t, run)
			if result.errors != "1" {
				t.Fatalf("errors: %s, want 1\n%s", result.errors, result.output)
			}
			if strings.Contains(result.output, "invalid array index") || strings.Contains(result.output, "too small") {
				t.Fatalf("the model is broken, not the protocol:\n%s", result.output)
			}
			trail := trail(t, dir)
			t.Logf("%s states; %d steps:\n%s", result.states, len(trail), strings.Join(trail, "\n"))
		})
	}
}

func tools(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing: make deps (%v)", tool, err)
		}
	}
}

type result struct {
	output, errors, states string
	full                   bool // every state was visited
	reached                []string
}

var (
	errorsRE  = regexp.MustCompile(`errors: (\d+)`)
	statesRE  = regexp.MustCompile(`(\S+) states, stored`)
	reachedRE = regexp.MustCompile(`(?m)^.*?reached (\d+) (.*)$`)
)

// verify generates, compiles and runs the verifier in a directory of its own, which it returns.
func verify(t *testing.T, run run) (string, result) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range sources {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	command(t, dir, time.Minute, "spin", append(append([]string{"-a"}, strings.Fields(run.defines)...), "lineage.pml")...)
	// Spin's own code warns; without partial order reduction, which finds nothing to leave out among steps that all read
	// the record, every state is visited.
	command(t, dir, 2*time.Minute, "gcc", "-O1", "-w", run.search.gcc, "-DNOREDUCE", "-DNOBOUNDCHECK", "-DMEMLIM=5500", "-o", "pan", "pan.c")
	arguments := []string{"-m200000", "-w24"}
	if strings.HasPrefix(run.search.pan, "-l") {
		arguments = append(arguments, run.search.pan)
	}
	output := command(t, dir, 8*time.Minute, "./pan", arguments...)
	found := result{output: output, full: !strings.Contains(output, "Search not completed") && !strings.Contains(output, "too small")}
	if match := errorsRE.FindStringSubmatch(output); match != nil {
		found.errors = match[1]
	}
	if match := statesRE.FindStringSubmatch(output); match != nil {
		found.states = match[1]
	}
	for _, match := range reachedRE.FindAllStringSubmatch(output, -1) {
		found.reached = append(found.reached, match[1]+" "+match[2])
	}
	return dir, found
}

// trail replays the error that the search found: one line for each step.
func trail(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	for _, line := range strings.Split(command(t, dir, time.Minute, "./pan", "-r", "-n"), "\n") {
		if strings.Contains(line, " | ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if len(lines) == 0 {
		t.Fatal("the trail is empty")
	}
	return lines
}

// command runs a tool under a deadline. Pan's exit status says nothing: what it found is in its output.
func command(t *testing.T, dir string, limit time.Duration, name string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, arguments...)
	cmd.Dir = dir
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s: not done after %v: make the model smaller, or the machine idle", name, limit)
	}
	if err != nil && name != "./pan" {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, output.String())
	}
	return output.String()
}

func source(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("lineage.pml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	stepRE  = regexp.MustCompile(`(?:SWAP\(\d+, |ACT\(|FAULT\(|TELL\(|REACHED\()"([^"]+)"`)
	wrongRE = regexp.MustCompile(`[MH]\d+`)
)

// steps are those of the right protocol, as "line name": what stands under the name of a mistake is left out.
func steps(t *testing.T) []string {
	t.Helper()
	var found []string
	var mistaken []bool // for each open #if
	for number, line := range strings.Split(source(t), "\n") {
		switch depth := len(mistaken); {
		case strings.HasPrefix(line, "#ifndef"):
			mistaken = append(mistaken, false)
		case strings.HasPrefix(line, "#if"):
			mistaken = append(mistaken, wrongRE.MatchString(line))
		case strings.HasPrefix(line, "#elif"):
			mistaken[depth-1] = wrongRE.MatchString(line)
		case strings.HasPrefix(line, "#else"):
			mistaken[depth-1] = false
		case strings.HasPrefix(line, "#endif"):
			mistaken = mistaken[:depth-1]
		case strings.HasPrefix(line, "#define") || slices.Contains(mistaken, true):
		default:
			if match := stepRE.FindStringSubmatch(line); match != nil {
				found = append(found, fmt.Sprintf("%d %s", number+1, match[1]))
			}
		}
	}
	if len(found) < 30 {
		t.Fatalf("only %d steps found in the model: the expression that finds them is wrong", len(found))
	}
	return found
}
