#!/bin/sh
# Installs the service @@{name}, or upgrades it: run it as root, again whenever something here has changed.
set -eu
umask 022
cd "$(dirname "$0")"

name=@@{name}
user=@@{user}
release=@@{release}
etc=/etc/$name
opt=/opt/$name
units=/etc/systemd/system

say() { echo "install.sh: $*"; }
fail() { echo "install.sh: $*" >&2; exit 1; }
have() { command -v "$1" > /dev/null 2>&1; }

# What has to be there; nothing is changed before all of it is.
[ "$(id -u)" = 0 ] || fail "root is needed; run: sudo sh install.sh. Nothing was changed"
have systemctl || fail "there is no systemd here; use dnworker deploy container. Nothing was changed"
systemd=$(systemctl --version | sed -n '1s/^systemd \([0-9][0-9]*\).*/\1/p')
[ "${systemd:-0}" -ge 247 ] || fail "systemd ${systemd:-of unknown version} is too old, 247 is needed. Nothing was changed"
have systemd-sysusers || id "$user" > /dev/null 2>&1 || fail "there is no user $user; run: useradd --system $user. Nothing was changed"
PATH=$opt/venv/bin:/usr/local/bin:/usr/bin:/bin:$PATH
python=
for candidate in python3.13 python3.12 python3.11 python3; do
  if have "$candidate" && "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || have uv || fail "Python 3.11 with venv, or uv, is needed; install one. Nothing was changed"
while IFS= read -r program; do
  have "$program" || fail "a worker runs $program, which is not in PATH; install it. Nothing was changed"
done << '--end--'
@@{programs}
--end--

# The user, the directories, and the token, which is made once.
if have systemd-sysusers; then
  install -D -m 0644 "$name.sysusers.conf" "/etc/sysusers.d/$name.conf"
  systemd-sysusers "/etc/sysusers.d/$name.conf"
fi
install -D -m 0644 "$name.tmpfiles.conf" "/etc/tmpfiles.d/$name.conf"
systemd-tmpfiles --create "/etc/tmpfiles.d/$name.conf"
if [ ! -s "$etc/token" ]; then
  say "making the token, $etc/token"
  (umask 077; od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n' > "$etc/token.new"; mv "$etc/token.new" "$etc/token")
fi

# dnworker.
if [ ! -x "$opt/venv/bin/python" ]; then
  say "making $opt/venv"
  if [ -n "$python" ]; then "$python" -m venv "$opt/venv"; else uv venv --quiet --seed "$opt/venv"; fi
fi
say "installing dnworker into $opt/venv"
"$opt/venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade --requirement requirements.txt

# The capabilities, in a directory of their release.
if [ ! -d "$opt/releases/$release" ]; then
  say "unpacking release $release"
  "$opt/venv/bin/dnworker" verify capabilities.tar.gz
  rm -rf "$opt/releases/.new"
  mkdir "$opt/releases/.new"
  tar --extract --gzip --no-same-owner --file capabilities.tar.gz --directory "$opt/releases/.new"
  mv "$opt/releases/.new" "$opt/releases/$release"
fi
install -m 0644 warm.sh README.md "$opt/"
runuser -u "$user" -- env HOME="/var/lib/$name" PATH="$PATH" UV_CACHE_DIR="/var/cache/$name/uv" sh "$opt/warm.sh" "$opt/releases/$release"

# Configuration; one that was changed on this machine is kept beside the new one.
if [ -e "$etc/serve.toml" ] && ! cmp -s serve.toml "$etc/serve.toml"; then
  say "the former $etc/serve.toml is now $etc/serve.toml.before"
  mv "$etc/serve.toml" "$etc/serve.toml.before"
fi
install -m 0644 serve.toml "$etc/serve.toml"
install -m 0644 "$name.service" "$units/$name.service"

# The release that runs.
before=$(readlink "$opt/current" || true)
ln -sfn "releases/$release" "$opt/current.new"
mv -T "$opt/current.new" "$opt/current"
systemctl daemon-reload
systemctl enable --quiet "$name.service"
say "starting $name"
if ! systemctl restart "$name.service"; then
  echo "install.sh: $name did not start; see: journalctl --unit $name --lines 50" >&2
  if [ -n "$before" ] && [ "$before" != "releases/$release" ]; then
    echo "install.sh: back to the release before: ln -sfn $before $opt/current && systemctl restart $name" >&2
  fi
  exit 1
fi
say "$name is ready at http://@@{address}, with release $release"
