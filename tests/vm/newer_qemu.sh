#!/bin/sh
# A QEMU that connects again after its peer has gone, where the machine's own is older than 8.0:
#
#     tests/vm/newer_qemu.sh FOLDER      makes FOLDER/qemu, a program
#
# It is that of Debian 13 with that release's own libraries, unpacked beside the machine's packages,
# none of which change. Prints the program's version.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/root"
mirror=$(grep -hoE 'https?://[^ ]+/debian/?$' /etc/apt/sources.list.d/*.sources \
  /etc/apt/sources.list 2>/dev/null | head -1)
[ -n "$mirror" ] || { echo "no mirror of Debian in /etc/apt/sources.list.d" >&2; exit 1; }
cat >"$folder/own.sources" <<SOURCES
Types: deb
URIs: $mirror
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
own() {
  apt-get -qq -o Dir::Etc::sourcelist="$folder/own.sources" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::State::Lists="$folder/lists" -o Dir::Cache="$folder/cache" \
    -o Dir::State::status=/dev/null "$@" >/dev/null
}
own update
own install --yes --download-only --no-install-recommends qemu-system-x86
for package in "$folder"/cache/archives/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
rm -rf "$folder/cache" "$folder/lists"
lib=$folder/root/usr/lib/x86_64-linux-gnu
share=$folder/root/usr/share
cat >"$folder/qemu" <<PROGRAM
#!/bin/sh
exec $lib/ld-linux-x86-64.so.2 --library-path $lib $folder/root/usr/bin/qemu-system-x86_64 \\
  -L $share/qemu -L $share/seabios "\$@"
PROGRAM
chmod +x "$folder/qemu"
"$folder/qemu" --version | head -1
