package gossip

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestKeyringDocument(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	r := NewKeyring(now)
	for step, next := range []func(Keyring) (Keyring, error){
		func(r Keyring) (Keyring, error) { return r, nil },
		func(r Keyring) (Keyring, error) { return r.WithNew(now) },
		func(r Keyring) (Keyring, error) { return r.WithPrimary(r.Others[0].ID) },
		func(r Keyring) (Keyring, error) { return r.Without(r.Others[0].ID) },
	} {
		var err error
		if r, err = next(r); err != nil {
			t.Fatal(err)
		}
		data, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseKeyring(data)
		if diff := cmp.Diff(r, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("step %d: %v\n%s", step, err, diff)
		}
	}
	if _, err := r.Without(r.Primary.ID); err == nil {
		t.Error("the primary key was removed")
	}
	if _, err := r.WithPrimary("none"); err == nil {
		t.Error("a key that is not there is primary")
	}
	for range maxKeys - 1 {
		r, _ = r.WithNew(now)
	}
	if _, err := r.WithNew(now); err == nil {
		t.Error("keys without end")
	}
}

func TestKeyringRefused(t *testing.T) {
	a := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("a", 32)))
	b := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("b", 32)))
	key := func(id, key string) string {
		return fmt.Sprintf(`{"id":%q,"made":"2026-01-02T03:04:05Z","key":%q}`, id, key)
	}
	file := func(primary string, keys ...string) string {
		return fmt.Sprintf(`{"primary":%q,"keys":[%s]}`, primary, strings.Join(keys, ","))
	}
	if _, err := ParseKeyring([]byte(file("x", key("y", b), key("x", a)))); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty": "", "no keys": file(""), "primary unknown": file("z", key("x", a)),
		"two of one id": file("x", key("x", a), key("x", b)), "two of one secret": file("x", key("x", a), key("y", a)),
		"zeros": file("x", key("x", base64.StdEncoding.EncodeToString(make([]byte, 32)))),
		"short": file("x", key("x", base64.StdEncoding.EncodeToString([]byte("short")))), "hex": file("x", key("x", "aa")),
		"unknown field": `{"primary":"x","keys":[` + key("x", a) + `],"more":1}`, "two documents": file("x", key("x", a)) + "{}",
		"no id": file("", key("", a)), "a long document": file("x", key("x", a)) + strings.Repeat(" ", maxKeyringSize),
	} {
		r, err := ParseKeyring([]byte(text))
		if err == nil {
			t.Errorf("%s: reads as %v", name, r)
			continue
		}
		if strings.Contains(err.Error(), a) || strings.Contains(err.Error(), b) {
			t.Errorf("%s: the error holds a secret: %v", name, err)
		}
	}
}

func TestKeyringDoesNotPrint(t *testing.T) {
	r := NewKeyring(time.Now())
	secret := fmt.Sprintf("%x", [32]byte(r.Primary.Secret))
	numbers := strings.Trim(fmt.Sprint([32]byte(r.Primary.Secret)), "[]")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		text := fmt.Sprintf(verb, r)
		if strings.Contains(text, secret) || strings.Contains(text, numbers) || !strings.Contains(text, "(secret)") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

// FuzzKeyring: whatever is read is refused, or a ring that would protect and can be written.
func FuzzKeyring(f *testing.F) {
	r := NewKeyring(time.Now())
	for range 3 {
		data, err := r.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		r, _ = r.WithNew(time.Now())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseKeyring(data)
		if err != nil {
			return
		}
		if err := r.check(); err != nil {
			t.Fatal(err)
		}
		written, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseKeyring(written)
		if err != nil || cmp.Diff(r, again) != "" {
			t.Fatalf("%v: %s", err, cmp.Diff(r, again))
		}
	})
}
