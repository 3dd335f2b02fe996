"""Addresses of assets: signed where needed, and written without their signatures."""

import pytest

from pipeline.errors import ParamsError
from pipeline.sources.stac.hrefs import scrubbed, signer, unsigned, without_signature

AZURE = "https://store.net/a/B02.tif?st=2024&se=2025&sp=rl&sv=2021&sr=c&skoid=1&sktid=2&skt=3&ske=4&sks=b&skv=5&sig=x%3D"


@pytest.mark.parametrize(("href", "expected"), [
    (AZURE, "https://store.net/a/B02.tif"),
    ("https://b.s3.com/k.tif?X-Amz-Algorithm=A&X-Amz-Signature=f&X-Amz-Expires=9", "https://b.s3.com/k.tif"),
    ("https://d.cloudfront.net/k.tif?Policy=p&Signature=s&Key-Pair-Id=k", "https://d.cloudfront.net/k.tif"),
    ("https://api.org/read?asset=B02&token=abc&page=2", "https://api.org/read?asset=B02&page=2"),
    ("https://me:secret@host:8080/k.tif#x", "https://host:8080/k.tif"),
    ("s3://bucket/key.tif", "s3://bucket/key.tif"), ("relative/key.tif", "relative/key.tif"),
])
def test_signatures_go_and_the_rest_stays(href: str, expected: str) -> None:
    assert unsigned(href) == expected


def sign(href: str) -> str:
    return href + "?sig=abc"


def broken(href: str) -> int:
    return 1


def test_signing_functions_are_found_by_name() -> None:
    name = "tests.unit.sources.stac.test_hrefs"
    assert signer("")("https://a") == "https://a"
    assert signer(f"{name}:sign")("https://a") == "https://a?sig=abc"
    with pytest.raises(ParamsError, match=r"takes an href and returns it signed: .*broken returned int"):
        signer(f"{name}:broken")("https://a")


@pytest.mark.parametrize(("name", "message"), [
    ("no_such_package.sub:sign", "must be an importable package.module:function: got 'no_such_package.sub:sign'"),
    ("json:sign", "got 'json:sign'"), ("json:__name__", "'json:__name__' is none")])
def test_signing_functions_that_are_refused(name: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        signer(name)


def test_messages_hold_no_signature() -> None:
    href = "https://a/k.tif"
    assert without_signature(f"'{href}?sig=abc' not\nrecognized", href, f"{href}?sig=abc") == f"'{href}' not recognized"
    assert without_signature("failed with sig=abc", href, f"{href}?sig=abc") == "failed with ..."
    assert scrubbed("no answer from url: /search?page=2&token=abc (x) and 'https://me:pw@host/k?SIG=a%3D'") == (
        "no answer from url: /search?page=2&token=... (x) and 'https://host/k?SIG=...'")
    assert scrubbed("https://host/a@b?page=2") == "https://host/a@b?page=2"
