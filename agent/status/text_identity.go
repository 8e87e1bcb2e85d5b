package status

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// fingerprintShown is how much of a fingerprint tells two authorities apart.
const fingerprintShown = 16

// words is "etcd 9f86d081884c7d65, until 2036-03-11".
func (a Authority) words() string {
	text := a.Name + " " + a.Fingerprint[:min(len(a.Fingerprint), fingerprintShown)]
	if !a.NotAfter.IsZero() {
		text += ", until " + a.NotAfter.UTC().Format(time.DateOnly)
	}
	if a.Rotating {
		text += ", ROTATING"
	}
	return text
}

// certificateWords say how many there are, and which ends first: "12, the first expires in 19 days: /etc/...".
func certificateWords(certificates []Certificate, p *page) []string {
	if len(certificates) == 0 {
		return nil
	}
	words := []string{fmt.Sprint(len(certificates))}
	due, expired := 0, 0
	for _, c := range certificates {
		switch {
		case !c.NotAfter.After(p.now):
			expired++
		case !c.RenewAfter.After(p.now):
			due++
		}
	}
	if expired > 0 {
		words = append(words, fmt.Sprintf("%d EXPIRED", expired))
	}
	if due > 0 {
		words = append(words, fmt.Sprintf("%d due for renewal", due))
	}
	first := slices.MinFunc(certificates, func(a, b Certificate) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Path, b.Path))
	})
	if left := first.NotAfter.Sub(p.now); left > 0 {
		return append(words, "the first expires in "+p.days(left)+": "+first.Path)
	}
	return append(words, "the first "+p.days(p.now.Sub(first.NotAfter))+" ago: "+first.Path)
}

// words is "[::]:3988, 2000 granted, 3 refused, the last 12 s ago: Replayed, i-0abc12de34f567890".
func (j *JoinServer) words(p *page) []string {
	if j == nil {
		return nil
	}
	refused := 0
	for _, n := range j.Refused {
		refused += n
	}
	words := []string{cmp.Or(j.Listen, "NOT SERVING"), fmt.Sprintf("%d granted", j.Granted), fmt.Sprintf("%d refused", refused)}
	if !j.Last.At.IsZero() {
		words = append(words, "the last "+p.age(j.Last.At)+" ago: "+j.Last.Reason)
		if j.Last.Instance != "" {
			words = append(words, j.Last.Instance)
		}
	}
	return words
}

// days is a span in days, where it has two or more.
func (p *page) days(d time.Duration) string {
	const day = 24 * time.Hour
	if d < 2*day {
		return p.span(d)
	}
	return fmt.Sprintf("%d days", d/day)
}
