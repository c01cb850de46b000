package mysql

import "testing"

func TestClientHost(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.7:52646": "10.0.0.7", "10.0.0.7": "10.0.0.7", "DB2.example:4711": "db2.example",
		"::1:52646": "::1", "[::1]:52646": "::1", "2001:db8::7:52072": "2001:db8::7",
		"2001:db8::7:5207": "2001:db8::7", "::1:999": "::1", "::1": "::1", "2001:db8::7": "2001:db8::7",
		"localhost": "localhost", "": "", "what is this:1": "",
	} {
		if got := clientHost(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
