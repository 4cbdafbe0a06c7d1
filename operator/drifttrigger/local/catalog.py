"""Which binaries make the control plane, at which versions, and how each is built.

Beside them the tools that the installation is tested with, in a folder of their own, so that who
only runs a cluster need not build them.

The modules under `gomod/` pin every byte (go.sum); this table pins the flags. Both are part of the
cache's key, so that a change of either is a new folder and never a half-new one.
"""

import hashlib
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

GOMOD = Path(__file__).parent / "gomod"

KUBERNETES = "1.37.2"
ETCD = "3.6.16"
KWOK = "0.8.0"
# Prometheus' module is numbered 0.316.0 for the release 3.16.0.
PROMETHEUS = "3.16.0"
HELM = "4.3.1"
KUBECONFORM = "0.8.0"

_STRIP = "-s -w"
_MAJOR, _MINOR, _ = KUBERNETES.split(".")
_KUBERNETES_LDFLAGS = " ".join(
    [
        _STRIP,
        f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES}",
        f"-X k8s.io/component-base/version.gitMajor={_MAJOR}",
        f"-X k8s.io/component-base/version.gitMinor={_MINOR}",
    ]
)
_HELM_LDFLAGS = f"{_STRIP} -X helm.sh/helm/v4/internal/version.version=v{HELM}"
_KUBECONFORM_LDFLAGS = f"{_STRIP} -X main.version=v{KUBECONFORM}"
_PROMETHEUS_LDFLAGS = f"{_STRIP} -X github.com/prometheus/common/version.Version={PROMETHEUS}"
# Without the tag, dozens of cloud SDKs are linked in for service discovery that is not used here.
_PROMETHEUS_TAGS = "remove_all_sd,netgo,stringlabels"


@dataclass(frozen=True, slots=True)
class Binary:
    """One program of the control plane.

    Args:
        name: File name.
        version: The only version that is accepted from PATH.
        module: Folder under `gomod/` that pins its sources.
        package: Go package of its `main`.
        ldflags: Flags of the linker.
        tags: Go build tags, comma-separated; empty means none.
        version_arguments: Arguments that make it print its version.
    """

    name: str
    version: str
    module: str
    package: str
    ldflags: str = _STRIP
    tags: str = ""
    version_arguments: tuple[str, ...] = ("--version",)


def _kubernetes(name: str, *, version_arguments: tuple[str, ...] = ("--version",)) -> Binary:
    return Binary(
        name=name,
        version=KUBERNETES,
        module="kubernetes",
        package=f"k8s.io/kubernetes/cmd/{name}",
        ldflags=_KUBERNETES_LDFLAGS,
        version_arguments=version_arguments,
    )


def _prometheus(name: str) -> Binary:
    return Binary(
        name=name,
        version=PROMETHEUS,
        module="prometheus",
        package=f"github.com/prometheus/prometheus/cmd/{name}",
        ldflags=_PROMETHEUS_LDFLAGS,
        tags=_PROMETHEUS_TAGS,
    )


BINARIES: tuple[Binary, ...] = (
    Binary(name="etcd", version=ETCD, module="etcd", package="go.etcd.io/etcd/server/v3"),
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubectl", version_arguments=("version", "--client")),
    Binary(name="kwok", version=KWOK, module="kwok", package="sigs.k8s.io/kwok/cmd/kwok"),
    _prometheus("prometheus"),
    _prometheus("promtool"),
)
TOOLS: tuple[Binary, ...] = (
    Binary(
        name="helm",
        version=HELM,
        module="helm",
        package="helm.sh/helm/v4/cmd/helm",
        ldflags=_HELM_LDFLAGS,
        version_arguments=("version", "--short"),
    ),
    Binary(
        name="kubeconform",
        version=KUBECONFORM,
        module="kubeconform",
        package="github.com/yannh/kubeconform/cmd/kubeconform",
        ldflags=_KUBECONFORM_LDFLAGS,
        version_arguments=("-v",),
    ),
)
_TITLES = {
    "kubernetes": f"k8s{KUBERNETES}",
    "etcd": f"etcd{ETCD}",
    "kwok": f"kwok{KWOK}",
    "prometheus": f"prometheus{PROMETHEUS}",
    "helm": f"helm{HELM}",
    "kubeconform": f"kubeconform{KUBECONFORM}",
}


def go_platform() -> tuple[str, str]:
    """Name this machine as Go does.

    Returns:
        GOOS and GOARCH, as in `("linux", "amd64")`.
    """
    machine = platform.machine().lower()
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return ("darwin" if sys.platform == "darwin" else "linux"), arch


def cache_key(binaries: Iterable[Binary] = BINARIES, *, modules: Path = GOMOD) -> str:
    """Name the folder that holds exactly these binaries.

    Args:
        binaries: What the folder holds.
        modules: Folder of the pinning modules.

    Returns:
        Versions and platform in clear, then a hash of go.mod, go.sum and all build flags.
    """
    digest = hashlib.sha256()
    wanted = tuple(binaries)
    for binary in wanted:
        digest.update(repr(binary).encode())
    used = {binary.module for binary in wanted}
    for module in sorted(used):
        for name in ("go.mod", "go.sum"):
            digest.update((modules / module / name).read_bytes())
    goos, goarch = go_platform()
    versions = "-".join(title for module, title in _TITLES.items() if module in used)
    return f"{versions}-{goos}-{goarch}-{digest.hexdigest()[:12]}"
