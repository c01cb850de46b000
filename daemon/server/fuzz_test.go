package server

import "testing"

// FuzzKeys reads any file with public keys; what it takes, it takes again.
func FuzzKeys(f *testing.F) {
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----\n"))
	f.Add([]byte("# db1\n-----BEGIN"))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := ParseKeys(text)
		if err != nil {
			return
		}
		for _, k := range keys {
			if again, err := ParseKeys(EncodeKey(k)); err != nil || len(again) != 1 {
				t.Errorf("%v, %v", again, err)
			}
		}
	})
}
