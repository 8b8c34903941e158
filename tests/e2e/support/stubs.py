"""Generates the client from `proto/`, as a user of the API would with grpcio-tools."""

import sys
from importlib import resources

from grpc_tools import protoc

from support.paths import ROOT


def generate(folder: str) -> None:
    """Writes the generated modules into `folder` and makes them importable."""
    proto = ROOT / "proto"
    files = sorted(str(path) for path in proto.rglob("*.proto"))
    well_known = str(resources.files("grpc_tools") / "_proto")
    status = protoc.main(
        [
            "protoc",
            f"-I{proto}",
            f"-I{well_known}",
            f"--python_out={folder}",
            f"--grpc_python_out={folder}",
            *files,
        ]
    )
    if status != 0:
        raise RuntimeError(f"protoc exited with {status}")
    sys.path.insert(0, folder)
