package status

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
)

// shape is a text in a picture.
type shape struct {
	text      string
	size      float64
	x0, x1, y float64 // y is the base line
}

// parseSVG reads the texts back with the room that they take, and the size of the picture.
func parseSVG(t *testing.T, svg []byte) (texts []shape, width, height float64) {
	t.Helper()
	dec := xml.NewDecoder(bytes.NewReader(svg))
	attr := func(e xml.StartElement, name string) string {
		for _, a := range e.Attr {
			if a.Name.Local == name {
				return a.Value
			}
		}
		return ""
	}
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return texts, width, height
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		switch e.Name.Local {
		case "svg":
			width, height = number(attr(e, "width")), number(attr(e, "height"))
		case "text":
			var content string
			if err := dec.DecodeElement(&content, &e); err != nil {
				t.Fatal(err)
			}
			s := shape{text: content, size: number(attr(e, "font-size")), x0: number(attr(e, "x")), y: number(attr(e, "y"))}
			w := textWidth(content, s.size, attr(e, "font-weight") == "600")
			switch attr(e, "text-anchor") {
			case "end":
				s.x0 -= w
			case "middle":
				s.x0 -= w / 2
			}
			s.x1 = s.x0 + w
			texts = append(texts, s)
		}
	}
}

// checkSheet says which texts leave the picture or touch another.
func checkSheet(t *testing.T, tl *Timeline) {
	t.Helper()
	var out bytes.Buffer
	if err := tl.SVG(&out); err != nil {
		t.Fatal(err)
	}
	texts, width, height := parseSVG(t, out.Bytes())
	for i, a := range texts {
		if a.x0 < 0 || a.x1 > width || a.y-a.size < 0 || a.y+4 > height {
			t.Errorf("%q leaves the picture: x %.0f to %.0f of %.0f, y %.0f of %.0f", a.text, a.x0, a.x1, width, a.y, height)
		}
		for _, b := range texts[i+1:] {
			if a.x0 < b.x1 && b.x0 < a.x1 && a.y-a.size*0.8 < b.y && b.y-b.size*0.8 < a.y {
				t.Errorf("%q and %q overlap", a.text, b.text)
			}
		}
	}
}

func TestSVGTextsNeverTouch(t *testing.T) {
	for name, boot := range boots {
		t.Run(name, func(t *testing.T) { checkSheet(t, boot()) })
	}
	// Every place and length that a bar can have, with the longest label.
	for from := 0.0; from < 1000; from += 50 {
		for to := from; to <= 1000; to += 50 {
			s := span(strings.Repeat("a-very-long-name/", 8), from, to).moved(1023 << 40).tries(1_000_000).failed("x")
			checkSheet(t, timeline(masterID, span("boot", 0, 1000, s)))
			if t.Failed() {
				t.Fatalf("with a bar from %.0f to %.0f", from, to)
			}
		}
	}
}

func TestSVGIsDeterministic(t *testing.T) {
	var first bytes.Buffer
	if err := failedBoot().SVG(&first); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		var again bytes.Buffer
		if err := failedBoot().SVG(&again); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first.Bytes(), again.Bytes()) {
			t.Fatal("the same timeline gave other bytes")
		}
	}
}

func TestSVGFailure(t *testing.T) {
	var out bytes.Buffer
	if err := failedBoot().SVG(&out); err != nil {
		t.Fatal(err)
	}
	svg := out.String()
	if !strings.Contains(svg, "<title>bin/kubelet: ") || !strings.Contains(svg, "&lt;tampered?&gt;</title>") {
		t.Error("the error is not in a tooltip")
	}
	if n := strings.Count(svg, fmt.Sprintf("fill=%q", colourFailed)); n < 4 {
		t.Errorf("only %d shapes are red", n)
	}
}

// A step of every kind has a colour, and no two kinds share one.
func TestColours(t *testing.T) {
	seen := map[string]string{colourFailed: "failed"}
	for _, c := range colours {
		if other, ok := seen[c.fill]; ok {
			t.Errorf("%s and %s have one colour", c.kind, other)
		}
		seen[c.fill] = c.kind
	}
	for name, want := range map[string]string{
		"imds": kindIMDS, "ec2 tags": kindAWS, "config": kindConfig, "store manifest": kindAssets, "Assets": kindAssets,
		"etcd main": kindEtcd, "files": kindFiles, "units": kindUnits, "wait: role": kindWaits, "lunch": kindOther,
	} {
		if got := kindOf("", name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if kindOf(kindAssets, "etcd") != kindAssets || kindOf(kindEtcd, "wait: healthy") != kindWaits || kindOf(kindOther, "units") != kindUnits {
		t.Error("below a step of a known kind all but waits is of that kind")
	}
}
