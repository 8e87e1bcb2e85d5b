package cloud

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"time"
)

// params are the fields of a query request, flattened as the protocol does: Filter.1.Value.2.
type params url.Values

func (p params) get(name string) string { return url.Values(p).Get(name) }

func (p params) has(name string) bool { return url.Values(p).Has(name) }

// list reads name.1, name.2 and so on. Auto Scaling's lists have names that end with ".member".
func (p params) list(name string) []string {
	var all []string
	for n := 1; p.has(fmt.Sprintf("%s.%d", name, n)); n++ {
		all = append(all, p.get(fmt.Sprintf("%s.%d", name, n)))
	}
	return all
}

// integer is the value of a number, or fallback when it is absent.
func (p params) integer(name string, fallback int) (int, error) {
	if !p.has(name) {
		return fallback, nil
	}
	n, err := strconv.Atoi(p.get(name))
	if err != nil {
		return 0, errorf(400, "InvalidParameterValue", "Value (%s) for parameter %s is invalid.", p.get(name), name)
	}
	return n, nil
}

// tags reads name.N.Key and name.N.Value.
func (p params) tags(name string) map[string]string {
	tags := map[string]string{}
	for n := 1; p.has(fmt.Sprintf("%s.%d.Key", name, n)); n++ {
		tags[p.get(fmt.Sprintf("%s.%d.Key", name, n))] = p.get(fmt.Sprintf("%s.%d.Value", name, n))
	}
	return tags
}

// filter is one of EC2's: any value may match, and * and ? are wildcards.
type filter struct {
	name   string
	values []string
}

// filters reads name.N.Name and name.N.<values>.M.
func (p params) filters(name, values string) []filter {
	var all []filter
	for n := 1; p.has(fmt.Sprintf("%s.%d.Name", name, n)); n++ {
		all = append(all, filter{
			p.get(fmt.Sprintf("%s.%d.Name", name, n)), p.list(fmt.Sprintf("%s.%d.%s", name, n, values)),
		})
	}
	return all
}

// matches is true when one of the resource's values matches one of the filter's.
func (f filter) matches(values ...string) bool {
	return slices.ContainsFunc(values, func(v string) bool {
		return slices.ContainsFunc(f.values, func(pattern string) bool { return glob(pattern, v) })
	})
}

// glob knows * and ?, and unlike path.Match lets them match a slash.
func glob(pattern, s string) bool {
	for ; pattern != ""; pattern = pattern[1:] {
		switch {
		case pattern[0] == '*':
			for i := range len(s) + 1 {
				if glob(pattern[1:], s[i:]) {
					return true
				}
			}
			return false
		case s == "" || pattern[0] != '?' && pattern[0] != s[0]:
			return false
		}
		s = s[1:]
	}
	return s == ""
}

// page cuts a listing: items from the token on, at most size of them, and the token of the next page. The faults
// EmptyPage and PageSize act here.
func page[T any](a *call, items []T, size int, token string) ([]T, string, error) {
	start := 0
	if token != "" {
		plain, err := base64.StdEncoding.DecodeString(token)
		if err == nil {
			start, err = strconv.Atoi(path.Base(string(plain)))
		}
		if err != nil || start < 0 {
			return nil, "", errorf(400, "InvalidNextToken", "The token '%s' is invalid", token)
		}
	}
	for _, e := range a.effects {
		switch e.kind {
		case pageSize:
			size = e.size
		case emptyPage:
			return nil, pageToken(start), nil
		}
	}
	start = min(start, len(items))
	end := len(items)
	if size > 0 {
		end = min(start+size, end)
	}
	if end == len(items) {
		return items[start:], "", nil
	}
	return items[start:end], pageToken(end), nil
}

func pageToken(offset int) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "page/%d", offset))
}

// timestamp is how the XML protocols write times.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
