# Sourced by tests/run: brings what the tests need and exports where it is. Everything here can be run again; what is
# already there is left alone.
#
#   HOTSPARE_NR4, HOTSPARE_NR5   folders whose node_modules hold Node-RED 4.x and 5.x
#   HOTSPARE_NODE22              the Node.js that Node-RED 5.x needs (Node-RED 4.x runs on the machine's own)
#   HOTSPARE_DASHBOARD           folder whose node_modules hold FlowFuse's dashboard nodes
#   HOTSPARE_NRL                 folder whose node_modules hold FlowFuse's nr-launcher
#   HOTSPARE_WEBSOCKETS          Python environment with Autobahn's websocket cases and a websocket server

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
    need_npm_folder dashboard --ignore-scripts
    need_npm_folder launcher --ignore-scripts
    need_venv websockets
    export HOTSPARE_NR4=$npm_nr4 HOTSPARE_NR5=$npm_nr5 HOTSPARE_NRL=$npm_launcher HOTSPARE_DASHBOARD=$npm_dashboard
    export HOTSPARE_WEBSOCKETS=$venv_websockets
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
chromium chromium
systemd-analyze systemd
python3 python3
/usr/share/doc/python3-venv python3-venv
faketime faketime
slowhttptest slowhttptest
protoc protobuf-compiler
/usr/include/google/protobuf/empty.proto libprotobuf-dev
valgrind valgrind
curl curl
openssl openssl
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

# need_venv NAME: a Python environment with what tests/NAME/requirements.txt lists, made once per content of that file;
# sets venv_NAME to it.
need_venv() {
    local name=$1 list=tests/$1/requirements.txt folder
    folder=$cache/python/$name-$(sha256sum "$list" | cut -c1-16)
    if [[ ! -e $folder/complete ]]; then
        echo "tests/run: pip install for $name into $folder"
        rm -rf "$folder"
        python3 -m venv "$folder" && "$folder/bin/pip" --quiet --disable-pip-version-check install -r "$list" ||
            die "pip failed for $list"
        touch "$folder/complete"
    fi
    printf -v "venv_$name" %s "$folder"
}

# need_tool NAME: a program of crates.io, built once (about a minute) into the cache where the machine has none.
need_tool() {
    PATH=$PATH:$cache/tools/bin
    command -v "$1" >/dev/null && return
    echo "tests/run: building $1, once"
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --root "$cache/tools" "$1"
}

# Bans, licences and sources need no network; advisories need a database that not every machine can fetch.
check_dependencies() {
    need_tool cargo-deny || return
    cargo-deny --locked check --hide-inclusion-graph bans licenses sources || return
    if GIT_TERMINAL_PROMPT=0 timeout 60 cargo-deny --locked fetch db; then
        cargo-deny --locked check --hide-inclusion-graph advisories
    else
        echo 'tests/run: advisories: NOT checked, their database on GitHub could not be fetched'
    fi
}
