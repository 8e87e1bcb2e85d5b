package config

// MarshalYAML keeps the content of an empty file, which omitempty would drop: a file has content or from.
func (f File) MarshalYAML() (any, error) {
	if f.Content != "" || f.From != "" {
		type plain File
		return plain(f), nil
	}
	return struct {
		Path    string `yaml:"path"`
		Mode    string `yaml:"mode,omitempty"`
		Content string `yaml:"content"`
	}{f.Path, f.Mode, ""}, nil
}
