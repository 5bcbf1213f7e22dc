"""`sweeper data fetch`: bring a public data set here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from sweeper.errors import DataError

if TYPE_CHECKING:
    from sweeper.data.fetch import Fetched, OnArchive

_EVERY_SECONDS = 10.0
_NAMED = 3


@click.command("fetch")
@click.argument("name", metavar="NAME")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to put it in.")
@click.option("--from", "url", metavar="URL", help="Where the archives lie [the competition's public bucket].")
@click.option("--md5", metavar="HEX", help="What that of the archive must be [the published one].")
@click.option("--accept-licence", is_flag=True, help="You accept the terms of use, which are printed first.")
def command(name: str, to: Path, url: str | None, md5: str | None, accept_licence: bool) -> None:
    """Fetch NAME, a part of iNaturalist 2017 such as inat2017-fungi.

    The one archive of 186 GB is streamed and not stored; only the part's images are kept. A command that was
    interrupted goes on where it was when it is given again.
    """
    from sweeper.data.fetch import LICENCE, MD5, URL, Origin, fetch_inat2017, part_named

    part = part_named(name)
    click.echo(LICENCE)
    if not accept_licence:
        raise DataError("The terms above must be accepted before anything is fetched; add `--accept-licence`.")
    with _shown(Console(stderr=True)) as on_progress:
        origin = Origin(url=(url or URL).rstrip("/"), md5=md5 or MD5)
        fetched = fetch_inat2017(part, to.absolute(), origin=origin, on_progress=on_progress)
    _report(part, to, fetched)


def _report(part: str, to: Path, fetched: Fetched) -> None:
    click.echo(f"{fetched.images:,} images of {part} are in `{to}`, {fetched.written:,} of them new.")
    if fetched.missing:
        named = ", ".join(f"`{name}`" for name in fetched.missing[:_NAMED])
        more = ", ..." if len(fetched.missing) > _NAMED else ""
        click.echo(f"{len(fetched.missing):,} that the JSON files list are not in the archive: {named}{more}.")
    if fetched.md5 is not None:
        click.echo(f"The archive's md5 is {fetched.md5}, as it must be.")
    elif fetched.written:
        click.echo(
            "The archive's CRC-32 and length are right from its first byte to its last. Its md5 could not be compared: "
            "it needs all bytes in one process, and an earlier one read a part of them."
        )
    click.echo(f"Use it as `data: {{source: inat2017, root: {to}, supercategory: {part}}}`.")


@contextmanager
def _shown(console: Console) -> Iterator[OnArchive]:
    """Gives what shows the progress: a bar in a terminal, a line every few seconds elsewhere."""
    if not console.is_terminal:
        told = time.monotonic()

        def line(done: int, total: int, images: int) -> None:
            nonlocal told
            if time.monotonic() - told >= _EVERY_SECONDS or done == total:
                told = time.monotonic()
                console.print(f"{done / 1e9:,.2f} of {total / 1e9:,.2f} GB read, {images:,} images")

        yield line
        return
    columns = (*Progress.get_default_columns()[:2], DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("reading the archive", total=None)

        def bar(done: int, total: int, images: int) -> None:
            progress.update(task, completed=done, total=total, description=f"{images:,} images")

        yield bar
