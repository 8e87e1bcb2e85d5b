package plan

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/unit"
)

// sections that a kind of unit can have, besides Unit, Install and those that begin with "X-".
var sections = map[string]string{
	".service": "Service", ".socket": "Socket", ".timer": "Timer", ".mount": "Mount", ".automount": "Automount",
	".swap": "Swap", ".path": "Path", ".slice": "Slice", ".scope": "Scope", ".target": "", ".device": "",
}

var directive = regexp.MustCompile(`^(X-.+|[A-Z][A-Za-z0-9]*)$`)

// checkUnitFile reads a unit or a drop-in. Systemd itself ignores what it does not know, with a warning that nobody
// reads at boot.
func checkUnitFile(name, text string, dropIn bool) (errs []error) {
	own, known := sections[path.Ext(name)]
	if !known {
		return []error{fmt.Errorf("%q is no kind of unit: use .service, .mount, .timer, ...", path.Ext(name))}
	}
	options, err := unit.DeserializeOptions(strings.NewReader(text))
	if err != nil {
		return []error{fmt.Errorf("%w: see systemd.syntax(7)", err)}
	}
	find := func(section, option string) string { return lineAt(lineOf(text, section, option)) }
	has := map[string]bool{}
	for _, o := range options {
		has[o.Section+"."+o.Name] = true
		switch {
		case strings.HasPrefix(o.Section, "X-"):
		case o.Section != "Unit" && o.Section != "Install" && o.Section != own:
			errs = append(errs, problem(find(o.Section, ""), "[%s] has no meaning in a %s: correct the section's name",
				o.Section, strings.TrimPrefix(path.Ext(name), ".")))
		case !directive.MatchString(o.Name):
			errs = append(errs, problem(find(o.Section, o.Name), "%q is no directive", o.Name))
		case strings.HasPrefix(o.Name, "Exec") && o.Section == "Service":
			if err := checkExec(o.Value); err != nil {
				errs = append(errs, problem(find(o.Section, o.Name), "%s: %w", o.Name, err))
			}
		}
	}
	if len(options) == 0 {
		errs = append(errs, fmt.Errorf("has no setting: remove the file"))
	}
	if own == "Service" && !dropIn && !has["Service.ExecStart"] && !has["Service.ExecStop"] && !has["Unit.SuccessAction"] {
		errs = append(errs, fmt.Errorf("has no ExecStart: systemd refuses to load it"))
	}
	return errs
}

// checkExec wants an absolute command, as systemd before version 254 does for a command outside its own search path.
func checkExec(value string) error {
	command := strings.TrimLeft(strings.TrimSpace(value), "@-:+!")
	if command == "" || strings.HasPrefix(command, "/") || strings.HasPrefix(command, "%") {
		return nil // empty resets the list
	}
	return fmt.Errorf("%q is no absolute path: write it out", strings.Fields(command)[0])
}

// checkUnits looks at the units as a list.
func checkUnits(p *Plan) (errs []error) {
	for _, u := range p.Units {
		if _, known := sections[path.Ext(u.Name)]; !known {
			errs = append(errs, problem("unit "+u.Name, "%q is no kind of unit: use .service, .mount, .timer, ...", path.Ext(u.Name)))
		}
		if !slices.Contains([]string{Started, Enabled, Stopped}, u.State) {
			errs = append(errs, problem("unit "+u.Name, "state %q is not known: use started, enabled or stopped", u.State))
		}
	}
	return errs
}

// lineOf finds a section, or a directive in it; 0 when it is not there.
func lineOf(text, section, option string) int {
	inside := false
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			inside = line == "["+section+"]"
			if inside && option == "" {
				return i + 1
			}
		}
		if name, _, ok := strings.Cut(line, "="); inside && ok && option != "" && strings.TrimSpace(name) == option {
			return i + 1
		}
	}
	return 0
}

func lineAt(n int) string {
	if n == 0 {
		return "file"
	}
	return fmt.Sprintf("line %d", n)
}
