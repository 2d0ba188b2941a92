#!/bin/sh
# Install what deploy/debian-packages.txt lists for the groups given, if it is not there.
#   install-packages.sh demo test
# Starts no service. Uses apt-get, with sudo when not root.
set -eu
PATH=$PATH:/usr/sbin:/sbin
list=$(dirname "$0")/debian-packages.txt

missing=
for group in "$@"; do
    found=$(grep "^$group *|" "$list") || { echo "$0: no group '$group' in $list" >&2; exit 2; }
    while IFS='|' read -r _ package check; do
        eval "$check" >/dev/null 2>&1 || missing="$missing $(echo $package)"
    done <<EOF
$found
EOF
done
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null || {
    echo "These programs are missing; install them with your package manager:$missing" >&2
    exit 1
}
as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "These packages are missing; install them as root:$missing" >&2
        exit 1
    }
    as_root=sudo
fi

echo "Installing:$missing"
# Some of these packages bring a service. The tests run their own servers, so none may start: not
# now (policy-rc.d), nor when the machine boots (systemctl disable).
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap '$as_root rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
    $as_root chmod 755 $policy
fi
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get "$@"
}
apt update -q
# shellcheck disable=SC2086 - a list of names
apt install -q -y --no-install-recommends $missing
if command -v systemctl >/dev/null; then
    for service in docker-registry nginx; do
        case " $missing " in
        *" $service"*) $as_root systemctl disable --quiet $service >/dev/null 2>&1 || true ;;
        esac
    done
fi
