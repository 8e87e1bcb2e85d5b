package cloud

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

var ssmOperations = map[string]operation{
	"GetParameter":        getParameter,
	"GetParameters":       getParameters,
	"GetParametersByPath": getParametersByPath,
	"PutParameter":        putParameter,
}

type parameter struct {
	kind, value string // kind: String, StringList, SecureString
	version     int
	modified    time.Time
}

// SetParameter stores a parameter, or a new version of it.
func (c *Cloud) SetParameter(name, value string, secure bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kind := "String"
	if secure {
		kind = "SecureString"
	}
	c.setParameter(name, kind, value)
}

func (c *Cloud) setParameter(name, kind, value string) *parameter {
	p := c.params[name]
	if p == nil {
		p = &parameter{}
		c.params[name] = p
	}
	p.kind, p.value, p.modified = kind, value, c.now()
	p.version++
	return p
}

// Parameter returns the decrypted value of a parameter.
func (c *Cloud) Parameter(name string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, found := c.params[name]
	if !found {
		return "", false
	}
	return p.value, true
}

type jsonParameter struct {
	Name, Type, Value, ARN, DataType string
	Version                          int
	LastModifiedDate                 float64
}

// describeParameter encrypts a SecureString unless decryption was asked for.
func (a *call) describeParameter(name string, decrypt bool) jsonParameter {
	p := a.params[name]
	value := p.value
	if p.kind == "SecureString" && !decrypt {
		value = "AQICAH" + base64.StdEncoding.EncodeToString([]byte(digest([]byte(p.value))))
	}
	return jsonParameter{
		Name: name, Type: p.kind, Value: value, DataType: "text", Version: p.version,
		ARN:              a.arn("ssm", a.opts.Region, "parameter/"+strings.TrimPrefix(name, "/")),
		LastModifiedDate: float64(p.modified.UnixMilli()) / 1000,
	}
}

// input decodes the request of a JSON API.
func input[T any](a *call) (T, error) {
	var in T
	if err := json.Unmarshal(a.body, &in); err != nil {
		return in, errorf(400, "SerializationException", "%v", err)
	}
	return in, nil
}

func getParameter(a *call) (any, error) {
	in, err := input[struct {
		Name           string
		WithDecryption bool
	}](a)
	if err != nil {
		return nil, err
	}
	if a.params[in.Name] == nil {
		return nil, errorf(400, "ParameterNotFound", "")
	}
	return map[string]any{"Parameter": a.describeParameter(in.Name, in.WithDecryption)}, nil
}

func getParameters(a *call) (any, error) {
	in, err := input[struct {
		Names          []string
		WithDecryption bool
	}](a)
	if err != nil {
		return nil, err
	}
	if len(in.Names) > 10 {
		return nil, errorf(400, "ValidationException", "Member must have length less than or equal to 10")
	}
	found, missing := []jsonParameter{}, []string{}
	for _, name := range in.Names {
		if a.params[name] == nil {
			missing = append(missing, name)
			continue
		}
		found = append(found, a.describeParameter(name, in.WithDecryption))
	}
	return map[string]any{"Parameters": found, "InvalidParameters": missing}, nil
}

func getParametersByPath(a *call) (any, error) {
	in, err := input[struct {
		Path                      string
		Recursive, WithDecryption bool
		MaxResults                *int
		NextToken                 string
	}](a)
	if err != nil {
		return nil, err
	}
	size := 10
	if in.MaxResults != nil {
		size = *in.MaxResults
	}
	if size < 1 || size > 10 {
		return nil, errorf(400, "ValidationException", "MaxResults must be between 1 and 10")
	}
	if !strings.HasPrefix(in.Path, "/") {
		return nil, errorf(400, "ValidationException", `The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash "/".`)
	}
	all := []jsonParameter{}
	for _, name := range slices.Sorted(maps.Keys(a.params)) {
		rest, below := strings.CutPrefix(name, strings.TrimSuffix(in.Path, "/")+"/")
		if below && (in.Recursive || !strings.Contains(rest, "/")) {
			all = append(all, a.describeParameter(name, in.WithDecryption))
		}
	}
	items, next, err := page(a, all, size, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := map[string]any{"Parameters": append([]jsonParameter{}, items...)}
	if next != "" {
		out["NextToken"] = next
	}
	return out, nil
}

func putParameter(a *call) (any, error) {
	in, err := input[struct {
		Name, Value, Type string
		Overwrite         bool
	}](a)
	if err != nil {
		return nil, err
	}
	old := a.params[in.Name]
	switch {
	case old != nil && !in.Overwrite:
		return nil, errorf(400, "ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	case old != nil && in.Type == "":
		in.Type = old.kind
	case !slices.Contains([]string{"String", "StringList", "SecureString"}, in.Type):
		return nil, errorf(400, "ValidationException", "A parameter type is required when you create a parameter.")
	}
	p := a.setParameter(in.Name, in.Type, in.Value)
	return map[string]any{"Version": p.version, "Tier": "Standard"}, nil
}
