# Sourced by tests/run: brings what the tests need and exports where it is. Everything here can be run again; what is
# already there is left alone.
#
#   HOTSPARE_NR4, HOTSPARE_NR5   folders whose node_modules hold Node-RED 4.x and 5.x
#   HOTSPARE_NODE22              the Node.js that Node-RED 5.x needs (Node-RED 4.x runs on the machine's own)
#   HOTSPARE_NRL                 folder whose node_modules hold FlowFuse's nr-launcher

cache=${XDG_CACHE_HOME:-$HOME/.cache}/hotspare

die() {
    printf 'tests/run: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

setup() {
    need_rust
    need_root
    need_packages
    need_npm_folder nr4 --ignore-scripts
    need_npm_folder nr5
    need_npm_folder launcher --ignore-scripts
    export HOTSPARE_NR4=$npm_nr4 HOTSPARE_NR5=$npm_nr5 HOTSPARE_NRL=$npm_launcher
    export HOTSPARE_NODE22=$npm_nr5/node_modules/node/bin/node
    [[ -x $HOTSPARE_NODE22 ]] || die "no Node.js at $HOTSPARE_NODE22: remove $npm_nr5 and run again"
}

need_rust() {
    command -v cargo >/dev/null || die 'cargo is missing: install Rust (with rustfmt and clippy), then run again'
    cargo fmt --version >/dev/null 2>&1 || die 'rustfmt is missing: rustup component add rustfmt'
    cargo clippy --version >/dev/null 2>&1 || die 'clippy is missing: rustup component add clippy'
}

# Tests that cut networks need root. Without it, each test program is started through sudo.
need_root() {
    ((EUID == 0)) && return
    command -v sudo >/dev/null || die 'run as root, or install sudo: some tests make network namespaces'
    sudo -v || die 'sudo was refused: some tests make network namespaces'
    local triple
    triple=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${triple}_RUNNER=sudo -E env PATH=$PATH"
}

# One line per program a test needs: the program, or a file, and the Debian package that has it.
packages='
haproxy haproxy
nginx nginx-light
etcd etcd-server
etcdctl etcd-client
mosquitto mosquitto
mosquitto_sub mosquitto-clients
ip iproute2
nft nftables
promtool prometheus
keepalived keepalived
systemd-analyze systemd
python3 python3
/usr/share/doc/python3-venv python3-venv
faketime faketime
protoc protobuf-compiler
/usr/include/google/protobuf/empty.proto libprotobuf-dev
curl curl
jq jq
cc build-essential
node nodejs
npm npm
'

need_packages() {
    local have package missing=()
    while read -r have package; do
        [[ -z $have ]] && continue
        [[ -e $have ]] || PATH=$PATH:/usr/sbin:/sbin command -v "$have" >/dev/null || missing+=("$package")
    done <<<"$packages"
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "missing: ${missing[*]} (installed by name on Debian only)"
    echo "tests/run: installing ${missing[*]}"
    # Only the programs are wanted: no service is started by their installation.
    local policy=/usr/sbin/policy-rc.d ours=
    if [[ ! -e $policy ]]; then
        ours=1
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod +x $policy
    fi
    as_root apt-get -qq update &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y "${missing[@]}" >/dev/null
    local result=$?
    [[ $ours ]] && as_root rm -f $policy
    ((result == 0)) || die "apt-get could not install ${missing[*]}"
}

# need_npm_folder NAME [FLAG]: installs tests/npm/NAME by its lock file, once per content of that file, and sets
# npm_NAME to the folder. Install scripts run only where they are needed (the npm package `node` links its binary).
need_npm_folder() {
    local name=$1 flags=("${@:2}") key folder
    key=$(cat tests/npm/"$name"/package.json tests/npm/"$name"/package-lock.json | sha256sum | cut -c1-16)
    folder=$cache/npm/$name-$key
    if [[ ! -e $folder/complete ]]; then
        echo "tests/run: npm ci for $name into $folder"
        rm -rf "$folder"
        mkdir -p "$folder"
        cp tests/npm/"$name"/package.json tests/npm/"$name"/package-lock.json "$folder"/
        (cd "$folder" && npm ci --no-audit --no-fund --loglevel=error "${flags[@]}") || die "npm ci failed for tests/npm/$name"
        touch "$folder/complete"
    fi
    printf -v "npm_$name" %s "$folder"
}

# Bans, licences and sources need no network. cargo-deny is built once (about a minute) into the cache.
check_dependencies() {
    local deny
    deny=$(command -v cargo-deny || echo "$cache/tools/bin/cargo-deny")
    if [[ ! -x $deny ]]; then
        echo 'tests/run: building cargo-deny, once'
        CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --root "$cache/tools" cargo-deny || return 1
    fi
    "$deny" --locked check --hide-inclusion-graph bans licenses sources
}
