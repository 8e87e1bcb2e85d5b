package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"sigs.k8s.io/yaml"
)

// applyPatch changes a YAML document by a JSON merge patch (a mapping, RFC 7386) or a JSON patch (a list, RFC 6902).
func applyPatch(document string, patch any) (string, error) {
	doc, err := yaml.YAMLToJSON([]byte(document))
	if err != nil {
		return "", fmt.Errorf("the file is no YAML document: %w", err)
	}
	if len(doc) == 0 || doc[0] != '{' {
		return "", errors.New("the file is no YAML mapping: give the whole file under files instead")
	}
	change, err := json.Marshal(patch)
	if err != nil {
		return "", err
	}
	switch patch.(type) {
	case map[string]any:
		doc, err = jsonpatch.MergePatch(doc, change)
	case []any:
		var ops jsonpatch.Patch
		if ops, err = jsonpatch.DecodePatch(change); err == nil {
			doc, err = ops.Apply(doc)
		}
	default:
		return "", fmt.Errorf("a %T is no patch: give a mapping (merge patch) or a list of operations (JSON patch)", patch)
	}
	if err != nil {
		return "", fmt.Errorf("%w: compare it with the file that `rekindle plan` prints", err)
	}
	out, err := yaml.JSONToYAML(doc)
	return string(out), err
}

// isYAML says whether a file is a YAML mapping that a patch can change.
func isYAML(name, content string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml":
		return true
	case ".conf":
		return strings.HasPrefix(content, "apiVersion:")
	}
	return false
}
