#!/bin/sh
# Installs the service @@{name}, or upgrades it: run it as root, again whenever something here has changed.
# `sh install.sh --back` goes back to what ran before. All is made beside what runs, and put in its place at the end;
# where the new service does not start, the one before is started again.
# DESTDIR=DIRECTORY puts all files below a directory, for tests.
set -eu
umask 022
cd "$(dirname "$0")"

name=@@{name}
user=@@{user}
release=@@{release}
root=${DESTDIR:-}
etc=$root/etc/$name
opt=$root/opt/$name
unit=$root/etc/systemd/system/$name.service
path=/opt/$name/venv/bin:/usr/local/bin:/usr/bin:/bin
unchanged="Nothing that runs was changed"

say() { echo "install.sh: $*"; }
fail() { echo "install.sh: $*" >&2; is_said=yes; exit 1; }
have() { command -v "$1" > /dev/null 2>&1; }
last() { printf '%s\n' "$1" | grep . | tail -n 1; }
# Usage: try WHAT-FAILS COMMAND...: its output is shown only where it fails, and of that the last line.
try() {
  what=$1
  shift
  said=$("$@" 2>&1) || fail "$what: $(last "$said"). $unchanged"
}
link() { ln -sfn "$1" "$2.new" && mv -T "$2.new" "$2"; }
put() { install -D -m "${3:-0644}" "$1" "$2.new" && mv -T "$2.new" "$2"; }

# Puts back what ran before the last upgrade: the environment, the release, the configuration, the unit.
put_back() {
  link "$(readlink "$opt/before/venv")" "$opt/venv"
  link "$(readlink "$opt/before/current")" "$opt/current"
  put "$opt/before/serve.toml" "$etc/serve.toml"
  put "$opt/before/$name.service" "$unit"
  put "$opt/before/dnworker" "$opt/dnworker" 0755
  systemctl daemon-reload
  systemctl restart "$name.service"
}

# Runs at the end, whatever ends it: what is half made goes.
is_said=
is_switching=
goes_back=
environment=
end() {
  code=$?
  trap - EXIT
  trap '' INT TERM HUP PIPE
  if [ "$code" != 0 ] && [ -z "$is_said" ]; then
    echo "install.sh: it was ended, or what is named above failed. ${is_switching:-$unchanged}" >&2
  fi
  if [ -n "$is_switching" ] && [ -n "$goes_back" ]; then
    put_back || echo "install.sh: $name does not start as it was before, either" >&2
  fi
  [ -z "$is_switching" ] || rm -f "$opt/.switching"
  [ -z "$environment" ] || [ -e "$opt/venvs/$environment/.complete" ] || rm -rf "$opt/venvs/$environment"
  rm -rf "$opt/releases/.new" "$opt/before.new" "$etc/token.new"
  if [ ! -e "$opt/venv" ] && rmdir "$opt/venvs" "$opt/releases" 2> /dev/null; then
    rm -f "$opt/.lock"
    rmdir "$opt" 2> /dev/null
  fi
  exit "$code"
}

# What has to be there; nothing is changed before all of it is.
[ "$(id -u)" = 0 ] || fail "root is needed; run: sudo sh install.sh. $unchanged"
have systemctl || fail "there is no systemd here; use dnworker deploy container. $unchanged"
systemd=$(systemctl --version | sed -n '1s/^systemd \([0-9][0-9]*\).*/\1/p')
[ "${systemd:-0}" -ge 247 ] || fail "systemd ${systemd:-of unknown version} is too old, 247 is needed. $unchanged"
if [ "${1:-}" = --back ]; then
  [ -d "$opt/before" ] || fail "nothing was installed before release $(readlink "$opt/current" || echo "$release"). $unchanged"
  put_back || fail "$name does not start; see: journalctl --unit $name --lines 50"
  say "$name runs $(readlink "$opt/current") again; $etc has the configuration of then"
  exit 0
fi
[ $# = 0 ] || fail "unknown option $1; there is --back. $unchanged"
have systemd-sysusers || id "$user" > /dev/null 2>&1 || fail "there is no user $user; run: useradd --system $user. $unchanged"
python=
for candidate in python3.14 python3.13 python3.12 python3.11 python3; do
  if have "$candidate" && "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || have uv || fail "Python 3.11 with venv, or uv, is needed; on Debian: apt install python3-venv. $unchanged"
mkdir -p "$opt"
if have flock; then
  exec 9> "$opt/.lock"
  flock -n 9 || fail "another install.sh is at work. $unchanged"
fi
trap end EXIT
trap 'exit 130' INT TERM HUP PIPE
mkdir -p "$opt/venvs" "$opt/releases"

# dnworker, in an environment that is named after what is in it.
wanted=$(cat requirements.txt wheels/* 2> /dev/null | sha256sum | cut -c 1-12)
if [ ! -e "$opt/venvs/$wanted/.complete" ]; then
  say "installing dnworker into $opt/venvs/$wanted"
  environment=$wanted
  rm -rf "$opt/venvs/$environment"
  if [ -n "$python" ]; then
    try "Python cannot make an environment" "$python" -m venv "$opt/venvs/$environment"
  else
    # Not below root's home, which the service cannot read.
    try "uv cannot make an environment" env UV_PYTHON_INSTALL_DIR="$opt/python" uv venv --quiet --seed "$opt/venvs/$environment"
  fi
  try "pip cannot install dnworker" "$opt/venvs/$environment/bin/python" -m pip install --quiet \
    --disable-pip-version-check --requirement requirements.txt
  touch "$opt/venvs/$environment/.complete"
fi
venv=$opt/venvs/$wanted
while IFS= read -r program; do
  (PATH=$venv/bin:$path && have "$program") || fail "a worker runs $program, which is not in $path; install it there. $unchanged"
done << '--end--'
@@{programs}
--end--

# The capabilities, in a directory of their release.
if [ ! -d "$opt/releases/$release" ]; then
  say "unpacking release $release"
  try "capabilities.tar.gz is not as it was packed" "$venv/bin/dnworker" verify capabilities.tar.gz
  rm -rf "$opt/releases/.new"
  mkdir "$opt/releases/.new"
  try "tar cannot unpack the release" tar --extract --gzip --no-same-owner --file capabilities.tar.gz --directory "$opt/releases/.new"
  mv -T "$opt/releases/.new" "$opt/releases/$release"
fi

# The user, the directories, and the token, which is made once.
if have systemd-sysusers; then
  install -D -m 0644 "$name.sysusers.conf" "$root/etc/sysusers.d/$name.conf"
  try "systemd-sysusers cannot make the user $user" systemd-sysusers "$root/etc/sysusers.d/$name.conf"
fi
install -D -m 0644 "$name.tmpfiles.conf" "$root/etc/tmpfiles.d/$name.conf"
try "systemd-tmpfiles cannot make the directories" systemd-tmpfiles --create ${root:+"--root=$root"} "$root/etc/tmpfiles.d/$name.conf"
if [ ! -s "$etc/token" ]; then
  say "making the token, $etc/token"
  (umask 077; od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n' > "$etc/token.new"; mv "$etc/token.new" "$etc/token")
fi
install -m 0644 warm.sh README.md "$opt/"
exec 3>&1
said=$(runuser -u "$user" -- env HOME="$root/var/lib/$name" PATH="$venv/bin:$path" UV_CACHE_DIR="$root/var/cache/$name/uv" \
  sh "$opt/warm.sh" "$opt/releases/$release" 2>&1 >&3) ||
  fail "uv cannot make what the scripts need: $(last "$said"). $unchanged"

# What runs now is noted, and then all is put in its place. The configuration comes last: an old one means the same to a
# new dnworker. One that was changed on this machine is kept beside the new one. Where a run was killed amid this, what is
# noted is older than what is there.
is_same() {
  [ "$(readlink "$opt/current")" = "releases/$release" ] && [ "$(readlink "$opt/venv")" = "venvs/$wanted" ] &&
    cmp -s serve.toml "$etc/serve.toml" && cmp -s "$name.service" "$unit" && cmp -s command.sh "$opt/dnworker"
}
is_new=
is_same || is_new=yes
if [ -n "$is_new" ] && [ -e "$opt/current" ] && [ -e "$opt/dnworker" ] && [ ! -e "$opt/.switching" ]; then
  rm -rf "$opt/before.new"
  mkdir "$opt/before.new"
  cp -P "$opt/current" "$opt/venv" "$opt/dnworker" "$etc/serve.toml" "$unit" "$opt/before.new"
  rm -rf "$opt/before"
  mv -T "$opt/before.new" "$opt/before"
fi
[ -z "$is_new" ] || [ ! -d "$opt/before" ] || goes_back=yes
touch "$opt/.switching"
is_switching="What is installed stays"
[ -z "$goes_back" ] || is_switching="What ran before is started again"
link "venvs/$wanted" "$opt/venv"
link "releases/$release" "$opt/current"
if [ -e "$etc/serve.toml" ] && ! cmp -s serve.toml "$etc/serve.toml"; then
  say "the former $etc/serve.toml is now $etc/serve.toml.before"
  cp -p "$etc/serve.toml" "$etc/serve.toml.before"
fi
put serve.toml "$etc/serve.toml"
put "$name.service" "$unit"
put command.sh "$opt/dnworker" 0755
systemctl daemon-reload
systemctl enable --quiet "$name.service"
say "starting $name"
if ! systemctl restart "$name.service" 2> /dev/null; then
  why=$(journalctl --unit "$name" --lines 50 --output cat 2> /dev/null | grep '^dnworker: ' | tail -n 1 || true)
  again=
  if [ -n "$goes_back" ]; then again=", so $(readlink "$opt/before/current") is started again"; fi
  fail "$name does not start with release $release$again; see: journalctl --unit $name --lines 50${why:+
$why}"
fi
is_switching=
rm -f "$opt/.switching"
for one in "$opt"/venvs/*; do
  case venvs/${one##*/} in
    "venvs/$wanted" | "$(readlink "$opt/before/venv" 2> /dev/null)") ;;
    *) rm -rf "$one" ;;
  esac
done
say "$name is ready at http://@@{address}, with release $release"
