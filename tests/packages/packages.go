// Package packages tests what "make package" builds, as those meet it who install it: on Debian hosts that systemd
// runs, from the first installation to the purge. It has no code of its own but tests; what needs builds and hosts runs
// with "make test-package" only, since it takes minutes.
package packages
