package qemu

import (
	"bufio"
	"io"
	"regexp"
	"strings"
)

// control sequences of a terminal (ECMA-48): colours, titles, what the firmware draws.
var sequence = regexp.MustCompile(`\x1b(\[[0-9;?=]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][A-Z0-9]|c)`)

// Plain is a line of a console without control sequences and carriage returns.
func Plain(line string) string {
	return strings.TrimRight(strings.ReplaceAll(sequence.ReplaceAllString(line, ""), "\r", ""), " \n")
}

// prompt is what getty writes when it waits for a name: no line break follows.
const prompt = " login: "

// listen reads a console to its end and tells each line.
func listen(r io.Reader, tell func(string)) {
	in := bufio.NewReader(r)
	var line strings.Builder
	for {
		c, err := in.ReadByte()
		if err != nil {
			break
		}
		line.WriteByte(c)
		if c == '\n' || c == ' ' && strings.HasSuffix(line.String(), prompt) {
			tell(Plain(line.String()))
			line.Reset()
		}
	}
	if line.Len() > 0 {
		tell(Plain(line.String()))
	}
}
