package host

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// command is one Exec line of a unit.
type command struct {
	argv   []string
	argv0  string // with "@": what the process is told its name is
	ignore bool   // with "-": a failure is none
	asIs   bool   // with ":": no variables
}

// parseCommand reads the command line syntax of systemd.service(5), with its prefixes and quotes, but without
// variables, which are expanded when it runs. A nil command is an empty line.
func parseCommand(line, unit string) ([]command, error) {
	words, err := splitWords(line)
	if err != nil {
		return nil, err
	}
	var commands []command
	for len(words) > 0 {
		var c command
		named := false
		first := words[0].text
	prefixes:
		for first != "" {
			switch first[0] {
			case '-':
				c.ignore = true
			case '@':
				named = true
			case ':':
				c.asIs = true
			case '+', '!', '|': // privileges, of which the process runner has none to give
			default:
				break prefixes
			}
			first = first[1:]
		}
		words[0].text = first
		end := len(words)
		for i, w := range words {
			if w.text == ";" && !w.quoted {
				end = i
				break
			}
		}
		for _, w := range words[:end] {
			text, err := specifiers(w.text, unit)
			if err != nil {
				return nil, err
			}
			if w.text == `\;` && !w.quoted {
				text = ";"
			}
			c.argv = append(c.argv, text)
		}
		words = words[min(end+1, len(words)):]
		if named {
			if len(c.argv) < 2 {
				return nil, errors.New("@ needs a name after the path")
			}
			c.argv0 = c.argv[1]
			c.argv = append(c.argv[:1], c.argv[2:]...)
		}
		if len(c.argv) == 0 || c.argv[0] == "" {
			return nil, errors.New("no program")
		}
		commands = append(commands, c)
	}
	return commands, nil
}

type word struct {
	text   string
	quoted bool
}

// splitWords splits at white space outside of quotes, and reads the escapes of C.
func splitWords(line string) ([]word, error) {
	var words []word
	var text strings.Builder
	open, quoted := byte(0), false
	inWord := false
	flush := func() {
		if inWord {
			words = append(words, word{text.String(), quoted})
		}
		text.Reset()
		inWord, quoted = false, false
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && i+1 < len(line):
			if line[i+1] == ';' { // told from a separator later
				text.WriteString(`\;`)
				i++
				inWord = true
				continue
			}
			r, raw, n, err := unescape(line[i+1:])
			if err != nil {
				return nil, err
			}
			if raw {
				text.WriteByte(byte(r))
			} else {
				text.WriteRune(r)
			}
			i += n
			inWord = true
		case open != 0 && c == open:
			open = 0
		case open != 0:
			text.WriteByte(c)
		case (c == '"' || c == '\'') && !inWord:
			open, inWord, quoted = c, true, true
		case c == '"' || c == '\'':
			open, quoted = c, true
		case c == ' ' || c == '\t':
			flush()
		default:
			text.WriteByte(c)
			inWord = true
		}
	}
	if open != 0 {
		return nil, fmt.Errorf("%q: a quote is not closed", line)
	}
	flush()
	return words, nil
}

// unescape reads what follows a backslash: the character, whether it is a byte, and its length.
func unescape(s string) (r rune, raw bool, n int, err error) {
	simple := map[byte]rune{
		'a': '\a', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v', 's': ' ', '\\': '\\', '"': '"', '\'': '\'',
	}
	if r, ok := simple[s[0]]; ok {
		return r, false, 1, nil
	}
	digits, base := 0, 16
	switch c := s[0]; {
	case c == 'x':
		digits = 2
	case c == 'u':
		digits = 4
	case c == 'U':
		digits = 8
	case c >= '0' && c <= '7':
		if len(s) >= 3 {
			if v, err := strconv.ParseUint(s[:3], 8, 8); err == nil && v != 0 {
				return rune(v), true, 3, nil
			}
		}
		return 0, false, 0, fmt.Errorf(`escape \%s: not three octal digits`, s[:min(3, len(s))])
	default: // systemd leaves what it does not know as it is
		return '\\', false, 0, nil
	}
	if len(s) < digits+1 {
		return 0, false, 0, fmt.Errorf(`escape \%s: %d digits are missing`, s, digits+1-len(s))
	}
	v, err := strconv.ParseUint(s[1:digits+1], base, 32)
	if err != nil || v == 0 || v > utf8.MaxRune {
		return 0, false, 0, fmt.Errorf(`escape \%s: not a character`, s[:digits+1])
	}
	return rune(v), digits == 2, digits + 1, nil
}

// expand puts variables into a command's arguments: $NAME as a word of its own becomes any number of words, ${NAME}
// anywhere becomes part of its word, and $$ is a dollar.
func (c command) expand(env map[string]string) []string {
	if c.asIs {
		return c.argv
	}
	argv := []string{c.argv[0]}
	for _, arg := range c.argv[1:] {
		if name, ok := strings.CutPrefix(arg, "$"); ok && isName(name) {
			words, err := splitWords(env[name])
			if err != nil {
				argv = append(argv, strings.Fields(env[name])...)
				continue
			}
			for _, w := range words {
				argv = append(argv, w.text)
			}
			continue
		}
		argv = append(argv, expandBraces(arg, env))
	}
	return argv
}

func expandBraces(arg string, env map[string]string) string {
	var out strings.Builder
	for {
		before, after, ok := strings.Cut(arg, "$")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		if rest, ok := strings.CutPrefix(after, "$"); ok {
			out.WriteByte('$')
			arg = rest
			continue
		}
		if rest, ok := strings.CutPrefix(after, "{"); ok {
			if name, tail, ok := strings.Cut(rest, "}"); ok && isName(name) {
				out.WriteString(env[name])
				arg = tail
				continue
			}
		}
		out.WriteByte('$')
		arg = after
	}
}

func isName(s string) bool {
	for i, r := range s {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
