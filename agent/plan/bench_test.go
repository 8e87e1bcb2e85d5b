package plan

import "testing"

// BenchmarkMake bounds what a boot spends on planning; a boot has 300 ms in all.
func BenchmarkMake(b *testing.B) {
	for _, name := range []string{"master-aws", "minion-aws", "events"} {
		b.Run(name, func(b *testing.B) {
			in := readCase(b, name)
			for b.Loop() {
				if _, err := Make(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
