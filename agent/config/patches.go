package config

import (
	"fmt"
)

func (v *validator) patch(path string, p Patch) {
	v.target(path+".path", p.Path)
	switch body := p.Patch.(type) {
	case nil:
		v.bad(path+".patch", "no patch", "write a mapping (JSON merge patch) or a list of operations (JSON patch)")
	case map[string]any:
	case []any:
		for i, item := range body {
			v.operation(at(path+".patch", i), item)
		}
	default:
		v.bad(path+".patch", "neither a mapping nor a list", "write a mapping (JSON merge patch) or a list of operations (JSON patch)")
	}
}

func (v *validator) operation(path string, item any) {
	op, ok := item.(map[string]any)
	if !ok {
		v.bad(path, "not an operation", "write {op: replace, path: /spec/hostNetwork, value: true}")
		return
	}
	verb, _ := op["op"].(string)
	where, isText := op["path"].(string)
	needs := map[string]string{"add": "value", "replace": "value", "test": "value", "move": "from", "copy": "from", "remove": ""}
	need, known := needs[verb]
	switch _, has := op[need]; {
	case !known:
		v.bad(path+".op", fmt.Sprintf("unknown operation %v", clip(fmt.Sprint(op["op"]), 40)), "write add, remove, replace, move, copy or test")
	case !isText || where != "" && where[0] != '/':
		v.bad(path+".path", "not a JSON pointer", "write it like /spec/containers/0/image")
	case need != "" && !has:
		v.bad(path, "the operation "+verb+" without "+need, "set "+need)
	}
}
