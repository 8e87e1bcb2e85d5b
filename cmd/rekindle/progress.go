package main

import (
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"rekindle/agent/assets"
)

// progress is a bar per phase on a terminal, and nothing elsewhere.
type progress struct {
	bars  *mpb.Progress
	bar   *mpb.Bar
	phase string
}

func newProgress(w io.Writer) *progress {
	is, width := terminal(w)
	if !is {
		return new(progress)
	}
	return &progress{bars: mpb.New(mpb.WithOutput(w), mpb.WithWidth(min(width, 100)))}
}

func (p *progress) show(now assets.Progress) {
	if p.bars == nil {
		return
	}
	if now.Phase != p.phase {
		p.complete()
		p.phase = now.Phase
		p.bar = p.bars.AddBar(now.Total,
			mpb.PrependDecorators(decor.Name(now.Phase, decor.WCSyncSpaceR), decor.CountersKibiByte("% .1f / % .1f", decor.WCSyncSpace)),
			mpb.AppendDecorators(decor.Percentage(decor.WCSyncSpace), decor.AverageSpeed(decor.SizeB1024(0), " % .1f", decor.WCSyncSpace)))
	}
	p.bar.SetCurrent(now.Done)
}

func (p *progress) complete() {
	if p.bar != nil {
		p.bar.SetTotal(-1, true)
	}
}

// end leaves the bars as they are, also after an interruption.
func (p *progress) end() {
	if p.bars == nil {
		return
	}
	if p.bar != nil && !p.bar.Completed() {
		p.bar.Abort(false)
	}
	p.bars.Wait()
}
