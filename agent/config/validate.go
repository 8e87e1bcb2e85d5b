package config

type validator struct {
	config   *Config
	origins  map[string]Origin
	problems Problems
}

func (v *validator) all() {}
