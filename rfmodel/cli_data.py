"""`rfmodel data ls | verify | download`."""

from __future__ import annotations

from typing import Annotated

import typer

from rfmodel.cli_options import DataFolder
from rfmodel.errors import InputError
from rfmodel.terminal import plain

data_app = typer.Typer(no_args_is_help=True, help="Find, verify and download data sets.")


@data_app.command("ls")
def data_list(data: DataFolder = None) -> None:
    """List the data sets, and which of them are found."""
    from rfmodel import tables

    tables.show_data(data)


@data_app.command("verify")
def data_verify(name: Annotated[str, typer.Argument(help="cifar10 or cifar100.")], data: DataFolder = None) -> None:
    """Check the files of a data set against the published sizes and checksums."""
    from rfmodel import datasets, tables

    tables.show_files(name, datasets.verify(name, data))


@data_app.command("download")
def data_download(name: Annotated[str, typer.Argument(help="cifar10 or cifar100.")], data: DataFolder = None) -> None:
    """Download a data set from its published address, with its checksum."""
    from rfmodel import datasets
    from rfmodel.progress import transfer

    if data is None:
        raise InputError(f"where should {name} go? give --data DIR, or set RFMODEL_DATA")
    with transfer(name) as progress:
        path = datasets.download(name, data, progress)
    typer.echo(plain(f"{name}: {path}"))
