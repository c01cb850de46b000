#!/usr/bin/env bash
# Installs what the tests, the demo and the benchmarks need besides git, make and Go, on Debian 12: MariaDB, HAProxy,
# Prometheus, iptables, gcc (for go test -race) and systemd-nspawn (for tests/hosts). Debian 12 has no MySQL, so MySQL
# goes into a Debian root of its own. Nothing is started or enabled as a service.
#
# Arguments name what only some tests need: ansible, lintian, rpm, qemu.
# You can run it as often as you like: it leaves alone what is installed already.
set -euo pipefail

cache=${ORCHESTRATOR_CACHE:-/var/cache/orchestrator}
root=$cache/mysql-sid
log=$cache/install.log

say() { echo "install: $*"; }
fail() { echo "install: $*" >&2; exit 1; }

run() { # quietly; its output is shown if it fails
	if ! "$@" >>"$log" 2>&1; then
		tail -n 25 "$log" >&2
		fail "failed: $*. The whole log is in $log. Fix what it reports, then run this again."
	fi
}

# One at a time: packages that another run installs may be unpacked, but not yet configured.
if mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ]; then
	exec 9>"$cache/install.lock"
	flock 9
fi

packages=()
need() { # PROGRAM PACKAGE
	command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || packages+=("$2")
}
need mariadbd mariadb-server
need debootstrap debootstrap
need promtool prometheus
need openssl openssl
need curl curl
need iptables-restore iptables
need haproxy haproxy
need gcc gcc
need ip iproute2
need systemd-nspawn systemd-container
for want; do # what only some tests need
	case $want in
	ansible) # and its linters, and ssh
		need ansible-playbook ansible
		need ansible-lint ansible-lint
		need yamllint yamllint
		need ssh openssh-client
		;;
	qemu) need qemu-aarch64-static qemu-user-static ;; # runs programs for arm64
	*) need "$want" "$want" ;;
	esac
done
[ -e /usr/include/stdlib.h ] || packages+=(libc6-dev)

if [ ${#packages[@]} = 0 ] && [ -e "$root/.complete" ] && [ -x "$root/usr/sbin/mysqld" ]; then
	exit 0
fi

[ "$(id -u)" = 0 ] || fail "must run as root: it installs packages, and MySQL in $root. Run: sudo $0"
command -v apt-get >/dev/null || fail "this machine has no apt-get. Install mariadbd, haproxy, prometheus, iptables," \
	"iproute2, openssl, curl, gcc, systemd-nspawn and debootstrap by hand, then run this again."
mkdir -p "$cache"
: >"$log"
export DEBIAN_FRONTEND=noninteractive

if [ ${#packages[@]} != 0 ]; then
	say "installing ${packages[*]} from Debian (log: $log)"
	# Installing a server would start it. Exit code 101 tells invoke-rc.d "not allowed". An existing policy is restored.
	policy=/usr/sbin/policy-rc.d
	if [ -e $policy ]; then mv $policy $policy.before-orchestrator; fi
	restore() {
		rm -f $policy
		if [ -e $policy.before-orchestrator ]; then mv $policy.before-orchestrator $policy; fi
	}
	trap restore EXIT
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
	run apt-get update -q
	run apt-get install -q -y --no-install-recommends "${packages[@]}"
	restore
	trap - EXIT
fi

if [ ! -e "$root/.complete" ]; then
	if [ -x "$root/usr/sbin/mysqld" ] && chroot "$root" mysqld --version >>"$log" 2>&1; then
		say "MySQL is already in $root"
	else
		say "installing MySQL from Debian sid into $root: about 1.4 GB, a few minutes (log: $log)"
		rm -rf "$root.draft"
		run debootstrap --variant=minbase --include=mysql-server sid "$root.draft"
		chroot "$root.draft" mysqld --version >>"$log" 2>&1 ||
			fail "MySQL was installed in $root.draft, but does not run; see $log"
		rm -rf "$root"
		mv "$root.draft" "$root"
	fi
	touch "$root/.complete"
fi
say "done: $(mariadbd --version 2>/dev/null || /usr/sbin/mariadbd --version); $(chroot "$root" mysqld --version)"
